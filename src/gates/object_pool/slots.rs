//! What each thread has for itself in a pool: two magazines, touched without any atomic operation.
//! The same scheme as in J. Bonwick and J. Adams, "Magazines and Vmem", USENIX 2001, section 3.
//!
//! 1. *One thread.* The part of a slot is touched only through the [`Number`] of its index, and so
//!    by one thread at a time (`thread_number.rs`, 1 and 4); what one thread did there is seen by
//!    the next that has the number (`thread_number.rs`, 3).
//! 2. *One borrow.* A part is borrowed in [`Slots::part`] only, for a function of this file that
//!    moves values and magazines and calls nothing else: no code of a user's runs, nothing is
//!    allocated or dropped meanwhile. So no second borrow begins inside of the first.
//! 3. A slot is made by the thread that has its number, once, and stays until the pool is dropped.
//! 4. The counts beside a part are written by that one thread, and read by any.
#![allow(unsafe_code, reason = "a pool is worth it only if it beats the allocator's own caches")]

use std::mem;
use std::sync::OnceLock;

use super::magazine::Magazine;
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::primitives::cell::UnsafeCell;
use crate::ground::thread_number::{NUMBERS, Number};

/// One for each number. Until a thread comes, nothing but a pointer.
pub(super) struct Slots<T>(Box<[OnceLock<Box<Slot<T>>>; NUMBERS]>);

/// Alone on its cache lines: two, for they are fetched in pairs.
#[repr(align(128))]
struct Slot<T> {
    part: UnsafeCell<Part<T>>,
    popped: AtomicU64,
    pushed: AtomicU64,
}

struct Part<T> {
    loaded: Magazine<T>,
    /// Empty or full, mostly: so that a thread at the edge of a magazine does not exchange one with
    /// each operation.
    previous: Magazine<T>,
    /// The epoch in which `previous` was first looked at after it was needed.
    rests_since: u64,
}

/// In place of an epoch: not looked at since.
const NEEDED: u64 = u64::MAX;

// SAFETY: no reference to a value is handed out, only values are moved from thread to thread; and
// a part is touched by one thread at a time (invariant 1).
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self(Box::new(std::array::from_fn(|_| OnceLock::new())))
    }

    /// Has this thread's slot made, if there is none yet.
    pub(super) fn open(&self, me: Number) {
        self.0[me.index()].get_or_init(|| {
            let part = Part {
                loaded: Magazine::absent(),
                previous: Magazine::absent(),
                rests_since: NEEDED,
            };
            let zero = || AtomicU64::new(0);
            Box::new(Slot { part: UnsafeCell::new(part), popped: zero(), pushed: zero() })
        });
    }

    /// A value, if this thread has one.
    #[inline]
    pub(super) fn pop(&self, me: Number) -> Option<T> {
        let slot = self.0[me.index()].get()?;
        let value = Self::part(slot, me, Part::pop)?;
        count(&slot.popped);
        Some(value)
    }

    /// Keeps the value, if this thread has room. How many it has kept so far, if so.
    #[inline]
    pub(super) fn push(&self, me: Number, value: T) -> Result<u64, T> {
        let Some(slot) = self.0[me.index()].get() else { return Err(value) };
        Self::part(slot, me, |part| part.push(value))?;
        Ok(count(&slot.pushed))
    }

    /// Whether a magazine comes back for the next one that is given.
    pub(super) fn brings(&self, me: Number, side: Side) -> bool {
        self.with(me, |part| match side {
            Side::Empty => !part.loaded.is_absent(),
            Side::Full => !part.previous.is_absent(),
        })
        .unwrap_or(false)
    }

    /// Nothing is left: gives this thread a magazine, for an empty one or none. Only if its slot
    /// is open.
    pub(super) fn load(&self, me: Number, full: Magazine<T>) -> Magazine<T> {
        let Some(slot) = self.0[me.index()].get() else { return full };
        Self::part(slot, me, |part| mem::replace(&mut part.loaded, full))
    }

    /// No room is left: gives this thread an empty magazine, for a full one or none. Only if its
    /// slot is open.
    pub(super) fn unload(&self, me: Number, empty: Magazine<T>) -> Magazine<T> {
        let Some(slot) = self.0[me.index()].get() else { return empty };
        Self::part(slot, me, |part| {
            part.rests_since = NEEDED;
            let loaded = mem::replace(&mut part.loaded, empty);
            mem::replace(&mut part.previous, loaded)
        })
    }

    /// The magazine that this thread did not need for a whole epoch.
    pub(super) fn shelve(&self, me: Number, epoch: u64) -> Option<Magazine<T>> {
        self.with(me, |part| part.shelve(epoch)).flatten()
    }

    /// Values that went out, and came in, by this way.
    pub(super) fn counts(&self) -> (u64, u64) {
        let slots = self.0.iter().filter_map(OnceLock::get);
        // Relaxed: statistics.
        let counts = slots
            .map(|slot| (slot.popped.load(Ordering::Relaxed), slot.pushed.load(Ordering::Relaxed)));
        counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// Every magazine that is here.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Magazine<T>> + '_ {
        self.0.iter_mut().filter_map(OnceLock::take).flat_map(|slot| {
            let Part { loaded, previous, .. } = slot.part.into_inner();
            [loaded, previous]
        })
    }

    fn with<R>(&self, me: Number, act: impl FnOnce(&mut Part<T>) -> R) -> Option<R> {
        let slot = self.0[me.index()].get()?;
        Some(Self::part(slot, me, act))
    }

    /// `slot` is that of `me`.
    #[inline]
    fn part<R>(slot: &Slot<T>, _me: Number, act: impl FnOnce(&mut Part<T>) -> R) -> R {
        // SAFETY: this thread has the number of the slot (invariant 1), and no borrow of the part
        // is alive, for `act` is one of those that begin none (invariant 2).
        slot.part.with_mut(|part| act(unsafe { &mut *part }))
    }
}

/// Which magazine is asked about: the one that would go out when none is left, or no room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Empty,
    Full,
}

/// One more, on a count that nobody else writes.
#[inline]
fn count(so_far: &AtomicU64) -> u64 {
    // Relaxed: a statistic, and not a read-modify-write, for there is one writer.
    let now = so_far.load(Ordering::Relaxed) + 1;
    so_far.store(now, Ordering::Relaxed);
    now
}

impl<T> Part<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        if self.loaded.is_empty() {
            if self.previous.is_empty() {
                return None;
            }
            self.swap();
        }
        self.loaded.pop()
    }

    #[inline]
    fn push(&mut self, value: T) -> Result<(), T> {
        if self.loaded.is_full() {
            if self.previous.is_full() {
                return Err(value);
            }
            self.swap();
        }
        self.loaded.push(value);
        Ok(())
    }

    fn swap(&mut self) {
        mem::swap(&mut self.loaded, &mut self.previous);
        self.rests_since = NEEDED;
    }

    /// In an epoch: what rested for the whole of another.
    fn shelve(&mut self, epoch: u64) -> Option<Magazine<T>> {
        if self.previous.is_empty() || self.rests_since == NEEDED {
            self.rests_since = epoch;
        }
        let has_rested = epoch.saturating_sub(self.rests_since) >= 2;
        has_rested.then(|| mem::replace(&mut self.previous, Magazine::absent()))
    }
}
