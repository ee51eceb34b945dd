//! Documents that wait to be told to the pipeline: the highest class first, then as their files were
//! taken. Pure.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::ground::primitives::Hashing;
use crate::ground::time::{self, Instant};
use crate::retry::Backoff;
use crate::{Priority, Reason, Scope};

/// The number of a file, in the order in which they were taken.
pub(super) type FileNo = u64;

/// A document: its file, and its place in it.
pub(super) type DocumentNo = (FileNo, usize);

/// For who refuses and does not say when to come back.
const AGAIN: Backoff =
    Backoff { first: Duration::from_millis(100), factor: 2.0, most: Duration::from_secs(10) };

/// Longest time before somebody who was refused asks again, whatever was said.
const LONGEST: Duration = Duration::from_secs(60);

/// A tenant's quota is remembered of so many tenants at once.
const MOST_HELD: usize = 1024;

/// What is needed of a document to find its turn.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) key: Arc<str>,
    pub(super) tenant: Arc<str>,
    pub(super) class: Priority,
}

/// Nothing of a class, or above all classes, is tried before.
#[derive(Clone, Copy, Debug)]
struct Gate {
    until: Instant,
    /// What stands in the way is a place, which an end may free sooner.
    is_for_room: bool,
}

/// However many wait, and whoever is held: one step costs the logarithm of it.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// By tenant, and class.
    waiting: HashMap<Arc<str>, [BTreeSet<DocumentNo>; 4], Hashing>,
    /// By class, the first document of each tenant that is not held.
    fronts: [BTreeSet<(DocumentNo, Arc<str>)>; 4],
    count: usize,
    by_key: HashMap<Arc<str>, BTreeSet<DocumentNo>, Hashing>,
    gates: [Option<Gate>; 4],
    held: HashMap<Arc<str>, Instant, Hashing>,
    /// The same, by time.
    held_until: BTreeSet<(Instant, Arc<str>)>,
    /// Refusals in a row that did not say when to come back.
    unsaid: u32,
}

impl Line {
    pub(super) fn enter(&mut self, no: DocumentNo, standing: &Standing) {
        self.change(standing, |lane| lane.insert(no).into());
        self.by_key.entry(Arc::clone(&standing.key)).or_default().insert(no);
    }

    pub(super) fn leave(&mut self, no: DocumentNo, standing: &Standing) {
        self.change(standing, |lane| -isize::from(lane.remove(&no)));
        if let Some(same) = self.by_key.get_mut(&standing.key) {
            same.remove(&no);
            if same.is_empty() {
                self.by_key.remove(&standing.key);
            }
        }
    }

    /// Changes a lane, by so many, and what stands at its front.
    fn change(
        &mut self,
        standing: &Standing,
        act: impl FnOnce(&mut BTreeSet<DocumentNo>) -> isize,
    ) {
        let (tenant, class) = (&standing.tenant, standing.class as usize);
        let lanes = self.waiting.entry(Arc::clone(tenant)).or_default();
        let before = lanes[class].first().copied();
        self.count = self.count.saturating_add_signed(act(&mut lanes[class]));
        let after = lanes[class].first().copied();
        if lanes.iter().all(BTreeSet::is_empty) {
            self.waiting.remove(tenant);
        }
        if before != after && !self.held.contains_key(tenant) {
            let front = &mut self.fronts[class];
            if let Some(no) = before {
                front.remove(&(no, Arc::clone(tenant)));
            }
            front.extend(after.map(|no| (no, Arc::clone(tenant))));
        }
    }

    /// Those of this key that stand before this document.
    pub(super) fn older(&self, key: &str, no: DocumentNo) -> Vec<DocumentNo> {
        let same = self.by_key.get(key);
        same.map(|same| same.range(..no).copied().collect()).unwrap_or_default()
    }

    /// Whose turn it is: of a file before `barrier`, whose class and tenant are not held.
    pub(super) fn next(&mut self, barrier: FileNo, now: Instant) -> Option<DocumentNo> {
        while let Some((until, tenant)) = self.held_until.first().cloned()
            && until <= now
        {
            self.let_go(until, &tenant);
        }
        for gate in &mut self.gates {
            *gate = gate.filter(|gate| gate.until > now);
        }
        let open = self.fronts.iter().zip(&self.gates).rev().filter(|(_, gate)| gate.is_none());
        let mut first = open.filter_map(|(front, _)| front.first().map(|(no, _)| *no));
        first.find(|no| no.0 < barrier)
    }

    /// Nothing of this tenant is tried before.
    fn hold(&mut self, tenant: &Arc<str>, until: Instant) {
        if let Some(before) = self.held.insert(Arc::clone(tenant), until) {
            self.held_until.remove(&(before, Arc::clone(tenant)));
        }
        self.held_until.insert((until, Arc::clone(tenant)));
        let Some(lanes) = self.waiting.get(tenant) else { return };
        for (front, lane) in self.fronts.iter_mut().zip(lanes) {
            if let Some(no) = lane.first() {
                front.remove(&(*no, Arc::clone(tenant)));
            }
        }
    }

    fn let_go(&mut self, until: Instant, tenant: &Arc<str>) {
        self.held_until.remove(&(until, Arc::clone(tenant)));
        self.held.remove(tenant);
        let Some(lanes) = self.waiting.get(tenant) else { return };
        for (front, lane) in self.fronts.iter_mut().zip(lanes) {
            front.extend(lane.first().map(|no| (*no, Arc::clone(tenant))));
        }
    }

    /// One was refused, and may be accepted later: what else need not be tried until when.
    pub(super) fn refused(
        &mut self,
        standing: &Standing,
        reason: Reason,
        after: Option<Duration>,
        now: Instant,
    ) {
        self.unsaid = if after.is_none() { self.unsaid.saturating_add(1) } else { 0 };
        let after = after.unwrap_or_else(|| AGAIN.ceiling(self.unsaid)).min(LONGEST);
        let until = time::later(now, after.max(Duration::from_millis(1))).unwrap_or(now);
        match reason {
            Reason::RateLimited { scope: Scope::Key } if self.held.len() < MOST_HELD => {
                self.hold(&standing.tenant, until);
            }
            // Who finds no place leaves none for those below.
            Reason::QueueFull | Reason::Evicted => {
                let gate = Gate { until, is_for_room: reason == Reason::QueueFull };
                self.gates[..=standing.class as usize].fill(Some(gate));
            }
            _ => self.gates.fill(Some(Gate { until, is_for_room: false })),
        }
    }

    pub(super) fn admitted(&mut self) {
        self.unsaid = 0;
    }

    /// Something has ended, so there may be a place: one try each.
    pub(super) fn room_came_free(&mut self) {
        for gate in &mut self.gates {
            *gate = gate.filter(|gate| !gate.is_for_room);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// When somebody's time comes who is held.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        if self.waiting.is_empty() {
            return None;
        }
        let gates = self.gates.iter().flatten().map(|gate| gate.until);
        let held = self.held_until.iter().map(|(until, _)| *until);
        let held = held.filter(|until| *until > now).take(1);
        gates.filter(|until| *until > now).chain(held).min()
    }
}
