//! The idle values of one pool: those of threads, and the depot. Nothing of a user's runs in here:
//! values come in and go out by value.

use super::config::Limits;
use super::depot::{Depot, Victims};
use super::magazine::Magazine;
use super::slots::{Side, Slots};
use crate::ground::primitives::Mutex;
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::thread_number::Number;
use crate::ground::time::Instant;

/// So many values are kept between two looks at the clock, which costs as much as three of them.
const LOOK: u64 = 64;

pub(super) struct Stock<T> {
    slots: Slots<T>,
    depot: Mutex<Depot<T>>,
    room: usize,
    epoch: AtomicU64,
    /// When the depot is to be looked at next.
    due_ns: AtomicU64,
    since: Instant,
}

/// What became of a value that came back.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Pushed<T> {
    Kept,
    /// Kept; and it is time to [look](Stock::look_at) at the clock.
    Look,
    /// There is no room for it.
    Full(T),
}

impl<T> Pushed<T> {
    #[inline]
    fn kept(so_far: u64) -> Self {
        if so_far.is_multiple_of(LOOK) { Self::Look } else { Self::Kept }
    }
}

impl<T> Stock<T> {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            slots: Slots::new(),
            depot: Mutex::new(Depot::new(limits)),
            room: limits.room,
            epoch: AtomicU64::new(0),
            due_ns: AtomicU64::new(limits.epoch_ns),
            since: now,
        }
    }

    /// An idle value, if one is within reach of this thread.
    #[inline]
    pub(super) fn pop(&self, me: Option<Number>) -> Option<T> {
        match me.and_then(|me| self.slots.pop(me)) {
            None => self.pop_shared(me),
            own => own,
        }
    }

    /// Keeps a value.
    #[inline]
    pub(super) fn push(&self, me: Option<Number>, value: T) -> Pushed<T> {
        match me {
            Some(me) => match self.slots.push(me, value) {
                Ok(so_far) => Pushed::kept(so_far),
                Err(value) => self.push_shared(Some(me), value),
            },
            None => self.push_shared(None, value),
        }
    }

    #[cold]
    fn pop_shared(&self, me: Option<Number>) -> Option<T> {
        if let Some(me) = me {
            self.slots.open(me);
        }
        let brings = me.is_some_and(|me| self.slots.brings(me, Side::Empty));
        let mut depot = self.depot.lock();
        let Some(me) = me.filter(|_| depot.lends(brings)) else { return depot.pop() };
        let full = depot.take_full()?;
        depot.put(self.slots.load(me, full));
        drop(depot);
        self.slots.pop(me)
    }

    #[cold]
    fn push_shared(&self, me: Option<Number>, value: T) -> Pushed<T> {
        if let Some(me) = me {
            self.slots.open(me);
        }
        let brings = me.is_some_and(|me| self.slots.brings(me, Side::Full));
        let mut depot = self.depot.lock();
        let lends = me.is_some() && depot.lends(brings);
        if depot.orders(lends) {
            drop(depot);
            let empty = Magazine::new(self.room);
            depot = self.depot.lock();
            depot.add(empty);
        }
        let pushed = if let Some(me) = me
            && depot.lends(brings)
            && let Some(empty) = depot.take_empty()
        {
            depot.put(self.slots.unload(me, empty));
            drop(depot);
            self.slots.push(me, value)
        } else {
            depot.push(value)
        };
        pushed.map_or_else(Pushed::Full, Pushed::kept)
    }

    fn ns(&self, now: Instant) -> u64 {
        now.nanos_since(self.since)
    }

    /// Now and then, by who uses the pool: some of what is too much, at most a magazine. To be
    /// given to [`restore`](Self::restore).
    pub(super) fn look_at(&self, me: Option<Number>, now: Instant) -> Option<Victims<T>> {
        // Relaxed: late is soon enough.
        let epoch = self.epoch.load(Ordering::Relaxed);
        if let Some(magazine) = me.and_then(|me| self.slots.shelve(me, epoch)) {
            self.depot.lock().put(magazine);
        }
        let now_ns = self.ns(now);
        (now_ns >= self.due_ns.load(Ordering::Relaxed)).then(|| self.victims(now_ns)).flatten()
    }

    fn victims(&self, now_ns: u64) -> Option<Victims<T>> {
        let mut depot = self.depot.lock();
        depot.turn(now_ns);
        let victims = depot.victims();
        // Relaxed: as above; written under the lock.
        self.epoch.store(depot.epoch(), Ordering::Relaxed);
        self.due_ns.store(depot.due_ns(), Ordering::Relaxed);
        victims
    }

    /// What is left of victims.
    pub(super) fn restore(&self, magazine: Magazine<T>) {
        let gone = self.depot.lock().restore(magazine);
        drop(gone);
    }

    /// Values that went out, and came in.
    pub(super) fn counts(&self) -> (u64, u64) {
        let (popped, pushed) = self.depot.lock().counts();
        let own = self.slots.counts();
        (popped + own.0, pushed + own.1)
    }

    /// Every value that is idle.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Magazine<T>> + '_ {
        self.slots.drain().chain(self.depot.get_mut().drain())
    }

    #[cfg(test)]
    pub(super) fn in_depot(&self) -> usize {
        self.depot.lock().stored()
    }
}
