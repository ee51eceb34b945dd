//! The permits and four flags in one atomic word. See the room's invariants 1 to 3.

use std::num::NonZeroU32;

use crate::ground::primitives::atomic::{AtomicU64, Ordering};

/// Somebody waits, or holds the lock and may be about to: everybody goes through the lock.
const WAITERS: u64 = 1;
/// Nothing is granted any more.
const CLOSED: u64 = 2;
/// Somebody waited when the lock was last let go: who would not wait is refused at once.
const LINE: u64 = 4;
/// Permits are lent to stripes: fewer are free here than there are.
const LENT: u64 = 8;
/// Above the flags: the free permits, in two's complement.
const SHIFT: u32 = 4;

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
    /// Nothing yet: only under the lock can it be seen whether enough is free.
    Look,
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
    /// Some are lent to stripes, and not among the free.
    pub(super) lent: bool,
}

impl Standing {
    fn of(word: u64) -> Self {
        Self { free: free(word), closed: word & CLOSED != 0, lent: word & LENT != 0 }
    }

    /// With so many more.
    pub(super) fn with(self, permits: u32) -> Self {
        Self { free: self.free + i64::from(permits), ..self }
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
            if word & WAITERS != 0 {
                return if word & LINE != 0 { Took::Wait } else { Took::Look };
            }
            if free(word) < i64::from(permits.get()) {
                return if word & LENT != 0 { Took::Look } else { Took::Wait };
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
    pub(super) fn give(&self, permits: u32) -> Gave {
        // Release: pairs with the acquires of the takers. Acquire: who serves the line sees what
        // the one before it left there. One operation gives and looks (invariant 2).
        let was = self.0.fetch_add(change(permits.into()), Ordering::AcqRel);
        if was & WAITERS == 0 { Gave::Done } else { Gave::Serve }
    }

    /// Whether somebody waited when the lock was last let go.
    #[inline]
    pub(super) fn has_line(&self) -> bool {
        // Relaxed: a hint; whoever acts on it takes the lock.
        self.0.load(Ordering::Relaxed) & LINE != 0
    }

    /// How it stands. Under the lock, with `WAITERS` set, free permits can only grow.
    pub(super) fn look(&self) -> Standing {
        // Acquire: pairs with `give`.
        Standing::of(self.0.load(Ordering::Acquire))
    }

    /// Under the lock: from here on nobody takes beside it, and every giver comes through it.
    pub(super) fn hold(&self) -> Standing {
        // Acquire: as in `look`. Flags change under the lock only: once set it need not be set.
        let word = self.0.load(Ordering::Acquire);
        if word & WAITERS != 0 {
            return Standing::of(word);
        }
        // AcqRel: as in `give`; sets before it looks (invariant 2).
        Standing::of(self.0.fetch_or(WAITERS, Ordering::AcqRel))
    }

    /// Under the lock, which is about to be let go, and nobody waits: the fast path is open again.
    pub(super) fn release(&self) {
        // Release: who then takes beside the lock sees what was done under it.
        self.0.fetch_and(!(WAITERS | LINE), Ordering::AcqRel);
    }

    /// Under the lock, which is about to be let go, and somebody waits.
    pub(super) fn keep_held(&self) {
        // Relaxed, both: the flag is changed under the lock only, and but a hint.
        if self.0.load(Ordering::Relaxed) & LINE == 0 {
            self.0.fetch_or(LINE, Ordering::Relaxed);
        }
    }

    /// Under the lock: takes for a stripe, and remembers that something is lent. Not when somebody
    /// waits, or fewer are free.
    #[must_use]
    pub(super) fn lend(&self, permits: NonZeroU32) -> bool {
        let lent = |word: u64| {
            let may = word & (WAITERS | CLOSED) == 0 && free(word) >= i64::from(permits.get());
            may.then(|| word.wrapping_sub(change(permits.get().into())) | LENT)
        };
        // Acquire: as in `try_take`; the stripe hands on.
        self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, lent).is_ok()
    }

    /// Under the lock, held, and something was lent: so many came back, and nothing is lent any
    /// more. In one operation, so that nobody finds the permits neither here nor there.
    pub(super) fn take_back(&self, permits: u64) -> Standing {
        // Less than `u32::MAX` permits for each of few stripes. AcqRel: as in `give`.
        let change = change(permits as i64).wrapping_sub(LENT);
        Standing::of(self.0.fetch_add(change, Ordering::AcqRel).wrapping_add(change))
    }

    /// Under the lock: takes what is grantable by `hold` or `look`.
    pub(super) fn take(&self, permits: u32) {
        // AcqRel: keeps the chain from the giver to the one who is granted, whom the lock tells.
        self.0.fetch_sub(change(permits.into()), Ordering::AcqRel);
    }

    /// Under the lock: so many permits more, or fewer.
    pub(super) fn grow(&self, by: i64) {
        self.0.fetch_add(change(by), Ordering::AcqRel);
    }

    /// Under the lock: nothing is granted any more.
    pub(super) fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
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

    fn standing(free: i64) -> Standing {
        Standing { free, closed: false, lent: false }
    }

    #[test]
    fn the_word_counts_below_zero_and_keeps_its_flags() {
        let word = Word::new(u32::MAX);
        assert_eq!(word.try_take(n(u32::MAX)), Took::Taken);
        assert_eq!(word.try_take(n(1)), Took::Wait);
        word.grow(-i64::from(u32::MAX) + 3);
        assert_eq!(word.look().free, 3 - i64::from(u32::MAX));
        assert_eq!(word.look().grantable(), 0);
        assert_eq!(word.hold(), standing(3 - i64::from(u32::MAX)));
        assert_eq!(word.give(u32::MAX), Gave::Serve);
        assert_eq!(word.look(), standing(3));
        assert_eq!(word.try_take(n(1)), Took::Look, "somebody holds the lock");
        word.keep_held();
        assert_eq!(word.try_take(n(1)), Took::Wait, "somebody waits");
        word.release();
        assert_eq!(word.try_take(n(1)), Took::Taken);
        word.close();
        assert_eq!(word.try_take(n(1)), Took::Closed);
        assert_eq!(word.give(1), Gave::Done);
        assert_eq!(word.look(), Standing { closed: true, ..standing(3) });
    }

    #[test]
    fn what_is_lent_is_not_free_and_is_not_forgotten() {
        let word = Word::new(3);
        assert!(!word.lend(n(4)));
        assert!(word.lend(n(2)));
        assert_eq!(word.try_take(n(2)), Took::Look, "the others may lie in a stripe");
        assert_eq!(word.hold(), Standing { lent: true, ..standing(1) });
        assert!(!word.lend(n(1)), "somebody may be about to wait");
        assert_eq!(word.take_back(1), standing(2));
        word.release();
        assert_eq!(word.try_take(n(3)), Took::Wait, "it is in somebody's hands");
        word.close();
        assert!(!word.lend(n(1)));
    }
}
