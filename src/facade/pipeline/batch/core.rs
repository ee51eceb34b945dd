//! Who is in line, and who goes together. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::config::BatchConfig;
use crate::Priority;
use crate::ground::time::{self, Instant};

/// The line of one batched phase.
#[derive(Debug)]
pub(super) struct Core<T> {
    /// By class, lowest first; each in the order they came.
    lanes: [VecDeque<Item<T>>; 4],
    waiting: usize,
    bytes: usize,
    last: u64,
    config: BatchConfig,
}

#[derive(Debug)]
pub(super) struct Item<T> {
    pub(super) id: u64,
    bytes: usize,
    since: Instant,
    pub(super) what: T,
}

/// Where somebody stands in line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) id: u64,
    class: Priority,
    /// From when on its age counts.
    pub(super) since: Instant,
}

impl<T> Core<T> {
    pub(super) fn new(config: BatchConfig) -> Self {
        let lanes = std::array::from_fn(|_| VecDeque::new());
        Self { lanes, waiting: 0, bytes: 0, last: 0, config }
    }

    /// One more; `Err` gives it back when the line is full.
    pub(super) fn push(
        &mut self,
        what: T,
        class: Priority,
        bytes: usize,
        now: Instant,
    ) -> Result<Place, T> {
        if self.waiting >= self.config.max_waiting {
            return Err(what);
        }
        self.last += 1;
        self.waiting += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        let id = self.last;
        let lane = &mut self.lanes[class as usize];
        // Threads read the clock before they come here: whoever stands in front is never younger.
        let since = lane.back().map_or(now, |last| now.max(last.since));
        lane.push_back(Item { id, bytes, since, what });
        Ok(Place { id, class, since })
    }

    /// It leaves; `None` when it has gone with a batch.
    pub(super) fn remove(&mut self, place: Place) -> Option<T> {
        let lane = &mut self.lanes[place.class as usize];
        // In the order of their numbers.
        let at = lane.binary_search_by_key(&place.id, |item| item.id).ok()?;
        let item = lane.remove(at)?;
        self.forget(&item);
        Some(item.what)
    }

    /// The next batch, if one is due at `now`: to be asked until there is none.
    pub(super) fn take(&mut self, now: Instant) -> Option<Vec<Item<T>>> {
        let full = self.waiting >= self.config.max_items || self.bytes >= self.config.max_bytes;
        let urgent = !self.lanes[Priority::Urgent as usize].is_empty();
        if self.waiting == 0 || !(full || urgent || self.is_old(now)) {
            return None;
        }
        let (mut batch, mut bytes) = (Vec::new(), 0_usize);
        while batch.len() < self.config.max_items {
            let Some(lane) = self.lanes.iter_mut().rev().find(|lane| !lane.is_empty()) else {
                break;
            };
            let next = lane.front().map_or(0, |item| item.bytes);
            bytes = bytes.saturating_add(next);
            // A single one may be larger.
            if bytes > self.config.max_bytes && !batch.is_empty() {
                break;
            }
            if let Some(item) = lane.pop_front() {
                self.forget(&item);
                batch.push(item);
            }
        }
        Some(batch)
    }

    /// Whether somebody has waited for as long as anybody may.
    fn is_old(&self, now: Instant) -> bool {
        let old = |item: &Item<T>| self.due(item.since).is_some_and(|due| due <= now);
        self.lanes.iter().filter_map(VecDeque::front).any(old)
    }

    /// When who came then has waited for long enough; `None` is never.
    pub(super) fn due(&self, since: Instant) -> Option<Instant> {
        let age: Duration = self.config.max_age;
        time::later(since, age)
    }

    fn forget(&mut self, item: &Item<T>) {
        self.waiting -= 1;
        self.bytes = self.bytes.saturating_sub(item.bytes);
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }
}
