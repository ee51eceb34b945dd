//! Where magazines are exchanged, and values of threads that have none: a pure core. Its owner holds
//! a lock around it, and drops what comes out after the unlock.
//!
//! Which values are too many is learned as in Bonwick and Adams (section 3.6, the working set): the
//! fewest that were here at any time of an epoch were not needed in it. They are the victims of the
//! next epoch, in which they are dropped, a magazine at a time, unless they are needed after all.

use std::collections::VecDeque;
use std::mem;

use super::config::Limits;
use super::magazine::Magazine;

#[derive(Debug)]
pub(super) struct Depot<T> {
    limits: Limits,
    /// None of them is empty; those that were needed last are at the back.
    full: VecDeque<Magazine<T>>,
    empty: Vec<Magazine<T>>,
    /// Of the threads that have no magazine.
    front: Magazine<T>,
    /// Magazines that there are, at threads and under way too.
    made: usize,
    /// Magazines that are at threads.
    lent: usize,
    /// Values here.
    stored: usize,
    /// The fewest in this epoch.
    low: usize,
    /// Values of `stored` that nobody needed in the last epoch.
    victims: usize,
    epoch: u64,
    epoch_ends_ns: u64,
    /// Values that went out, and came in, without a thread's magazine.
    popped: u64,
    pushed: u64,
}

/// The `count` oldest of a magazine are to be dropped, and it is to be [restored](Depot::restore).
#[derive(Debug)]
#[must_use]
pub(super) struct Victims<T> {
    pub(super) magazine: Magazine<T>,
    pub(super) count: usize,
}

impl<T> Depot<T> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            full: VecDeque::with_capacity(limits.magazines),
            empty: Vec::with_capacity(limits.magazines),
            front: Magazine::absent(),
            made: 0,
            lent: 0,
            stored: 0,
            low: 0,
            victims: 0,
            epoch: 0,
            epoch_ends_ns: limits.epoch_ns,
            popped: 0,
            pushed: 0,
        }
    }

    /// Whether a thread may have a magazine; it `has_one` to give for it.
    pub(super) fn lends(&self, has_one: bool) -> bool {
        has_one || self.lent < self.limits.lent
    }

    /// A magazine with values, for a thread.
    pub(super) fn take_full(&mut self) -> Option<Magazine<T>> {
        let magazine = match self.full.pop_back() {
            Some(full) => full,
            None if self.front.is_empty() => return None,
            None => mem::replace(&mut self.front, Magazine::absent()),
        };
        self.stored -= magazine.len();
        self.lent += 1;
        self.needed();
        Some(magazine)
    }

    /// An empty one, for a thread.
    pub(super) fn take_empty(&mut self) -> Option<Magazine<T>> {
        let magazine = self.empty.pop()?;
        self.lent += 1;
        Some(magazine)
    }

    /// What a thread gives for another, or of itself; perhaps none.
    pub(super) fn put(&mut self, magazine: Magazine<T>) {
        if magazine.is_absent() {
            return;
        }
        self.lent -= 1;
        self.stored += magazine.len();
        if magazine.is_empty() {
            self.empty.push(magazine);
        } else {
            self.full.push_back(magazine);
        }
    }

    /// A value without a magazine.
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.front.is_empty() {
            let full = self.full.pop_back()?;
            self.set_front(full);
        }
        let value = self.front.pop()?;
        self.stored -= 1;
        self.popped += 1;
        self.needed();
        Some(value)
    }

    /// Keeps a value, without a magazine, if there is room. How many it has kept so, if so.
    pub(super) fn push(&mut self, value: T) -> Result<u64, T> {
        if self.front.is_full() {
            let Some(empty) = self.empty.pop() else { return Err(value) };
            self.set_front(empty);
        }
        self.front.push(value);
        self.stored += 1;
        self.pushed += 1;
        Ok(self.pushed)
    }

    fn set_front(&mut self, magazine: Magazine<T>) {
        let before = mem::replace(&mut self.front, magazine);
        if before.is_absent() {
            return;
        }
        if before.is_empty() {
            self.empty.push(before);
        } else {
            self.full.push_back(before);
        }
    }

    /// Whether one more magazine is wanted and allowed, for a thread or else for the front. If so
    /// it is to be made, outside of the lock, and [added](Self::add).
    pub(super) fn orders(&mut self, for_thread: bool) -> bool {
        let is_wanted = self.empty.is_empty() && (for_thread || self.front.is_full());
        let orders = is_wanted && self.made < self.limits.magazines;
        self.made += usize::from(orders);
        orders
    }

    /// A magazine that was ordered.
    pub(super) fn add(&mut self, empty: Magazine<T>) {
        self.empty.push(empty);
    }

    fn needed(&mut self) {
        self.low = self.low.min(self.stored);
        self.victims = self.victims.min(self.stored.saturating_sub(self.limits.floor));
    }

    /// Begins the next epoch, if this one is over.
    pub(super) fn turn(&mut self, now_ns: u64) {
        if now_ns >= self.epoch_ends_ns {
            self.epoch += 1;
            self.epoch_ends_ns = now_ns.saturating_add(self.limits.epoch_ns);
            self.victims = self.low.saturating_sub(self.limits.floor);
            self.low = self.stored;
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When there is something to do next: at once while there are victims.
    pub(super) fn due_ns(&self) -> u64 {
        if self.victims > 0 { 0 } else { self.epoch_ends_ns }
    }

    /// Some of the victims: the oldest magazine, or what is to go of it.
    pub(super) fn victims(&mut self) -> Option<Victims<T>> {
        if self.victims == 0 {
            return None;
        }
        let magazine = match self.full.pop_front() {
            Some(oldest) => oldest,
            None => mem::replace(&mut self.front, Magazine::absent()),
        };
        let count = self.victims.min(magazine.len());
        self.victims -= count;
        self.stored -= magazine.len();
        self.low = self.low.min(self.stored);
        Some(Victims { magazine, count })
    }

    /// What is left of a magazine whose victims were dropped. An empty one is not kept: gives back
    /// its memory.
    pub(super) fn restore(&mut self, magazine: Magazine<T>) -> Option<Magazine<T>> {
        if magazine.is_empty() {
            self.made -= 1;
            return Some(magazine);
        }
        self.stored += magazine.len();
        self.low += magazine.len();
        self.full.push_front(magazine);
        None
    }

    /// Values that went out, and came in, without a thread's magazine.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.popped, self.pushed)
    }

    /// Every magazine that is here.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Magazine<T>> + '_ {
        let front = mem::replace(&mut self.front, Magazine::absent());
        self.full.drain(..).chain([front])
    }

    #[cfg(test)]
    pub(super) fn stored(&self) -> usize {
        let stored = self.full.iter().map(Magazine::len).sum::<usize>() + self.front.len();
        assert_eq!(stored, self.stored);
        let here = self.full.len() + self.empty.len() + usize::from(!self.front.is_absent());
        assert_eq!(here + self.lent, self.made);
        assert!(self.made <= self.limits.magazines, "{} made", self.made);
        stored
    }
}
