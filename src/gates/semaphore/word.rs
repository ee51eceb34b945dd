//! The permits and two flags in one atomic word. See the room's invariants 1 to 3.

use std::num::NonZeroU32;

use crate::ground::primitives::atomic::{AtomicU64, Ordering};

/// Somebody waits, or is about to: everybody goes through the lock.
const WAITERS: u64 = 1;
/// Nothing is granted any more.
const CLOSED: u64 = 2;
/// Above the flags: the free permits, in two's complement.
const SHIFT: u32 = 2;

/// What a taker beside the lock got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Took {
    /// The permits.
    Taken,
    /// Nothing: closed.
    Closed,
    /// Nothing: not enough is free, or somebody waits.
    Wait,
}

/// What a giver has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Gave {
    /// Nothing.
    Done,
    /// Lock the line and serve it.
    Serve,
}

/// How the word stood at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Negative: so many have to come back before anybody is granted again.
    pub(super) free: i64,
    pub(super) closed: bool,
}

impl Standing {
    fn of(word: u64) -> Self {
        Self { free: free(word), closed: word & CLOSED != 0 }
    }

    /// What can be granted.
    pub(super) fn grantable(self) -> u32 {
        u32::try_from(self.free.max(0)).unwrap_or(u32::MAX)
    }
}

#[derive(Debug)]
pub(super) struct Word(AtomicU64);

impl Word {
    pub(super) fn new(permits: u32) -> Self {
        Self(AtomicU64::new(change(i64::from(permits))))
    }

    /// Takes beside the lock.
    pub(super) fn try_take(&self, permits: NonZeroU32) -> Took {
        // Relaxed: the exchange below checks it.
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word & CLOSED != 0 {
                return Took::Closed;
            }
            if word & WAITERS != 0 || free(word) < i64::from(permits.get()) {
                return Took::Wait;
            }
            let taken = word.wrapping_sub(change(permits.get().into()));
            // Acquire: pairs with the release in `give`, so that what was done under the permit
            // before is seen by whoever holds it now.
            let swap =
                self.0.compare_exchange_weak(word, taken, Ordering::Acquire, Ordering::Relaxed);
            match swap {
                Ok(_) => return Took::Taken,
                Err(now) => word = now,
            }
        }
    }

    /// Gives back, with the lock or without.
    pub(super) fn give(&self, permits: NonZeroU32) -> Gave {
        // Release: pairs with the acquires of the takers. Acquire: who serves the line sees what
        // the one before it left there. One operation gives and looks (invariant 2).
        let was = self.0.fetch_add(change(permits.get().into()), Ordering::AcqRel);
        if was & WAITERS == 0 { Gave::Done } else { Gave::Serve }
    }

    /// How it stands. Under the lock, with `WAITERS` set, free permits can only grow.
    pub(super) fn look(&self) -> Standing {
        // Acquire: pairs with `give`.
        Standing::of(self.0.load(Ordering::Acquire))
    }

    /// Under the lock: from here on nobody takes beside it, and every giver comes through it.
    pub(super) fn hold(&self) -> Standing {
        // AcqRel: as in `give`; sets before it looks (invariant 2).
        Standing::of(self.0.fetch_or(WAITERS, Ordering::AcqRel))
    }

    /// Under the lock, and nobody waits: the fast path is open again.
    pub(super) fn release(&self) {
        // Release: who then takes beside the lock sees what was done under it.
        self.0.fetch_and(!WAITERS, Ordering::AcqRel);
    }

    /// Under the lock: takes what is grantable by `hold` or `look`.
    pub(super) fn take(&self, permits: NonZeroU32) {
        // AcqRel: keeps the chain from the giver to the one who is granted, whose cell hands on.
        self.0.fetch_sub(change(permits.get().into()), Ordering::AcqRel);
    }

    /// Under the lock: so many permits more, or fewer.
    pub(super) fn grow(&self, by: i64) {
        self.0.fetch_add(change(by), Ordering::AcqRel);
    }

    /// Under the lock: nothing is granted any more. Whether it was open until now.
    pub(super) fn close(&self) -> bool {
        self.0.fetch_or(CLOSED, Ordering::AcqRel) & CLOSED == 0
    }
}

/// Flags fall out at the bottom; the sign stays.
fn free(word: u64) -> i64 {
    (word as i64) >> SHIFT
}

/// What adding wrapping to the word changes the free permits by so many.
fn change(permits: i64) -> u64 {
    (permits << SHIFT) as u64
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use super::*;

    fn n(permits: u32) -> NonZeroU32 {
        NonZeroU32::new(permits).expect("the tests take at least one")
    }

    #[test]
    fn the_word_counts_below_zero_and_keeps_its_flags() {
        let word = Word::new(u32::MAX);
        assert_eq!(word.try_take(n(u32::MAX)), Took::Taken);
        assert_eq!(word.try_take(n(1)), Took::Wait);
        word.grow(-i64::from(u32::MAX) + 3);
        assert_eq!(word.look().free, 3 - i64::from(u32::MAX));
        assert_eq!(word.look().grantable(), 0);
        assert_eq!(word.hold(), Standing { free: 3 - i64::from(u32::MAX), closed: false });
        assert_eq!(word.give(n(u32::MAX)), Gave::Serve);
        assert_eq!(word.look(), Standing { free: 3, closed: false });
        assert_eq!(word.try_take(n(1)), Took::Wait, "somebody waits");
        word.release();
        assert_eq!(word.try_take(n(1)), Took::Taken);
        assert!(word.close());
        assert!(!word.close());
        assert_eq!(word.try_take(n(1)), Took::Closed);
        assert_eq!(word.give(n(1)), Gave::Done);
        assert_eq!(word.look(), Standing { free: 3, closed: true });
    }
}
