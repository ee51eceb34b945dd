//! Permits lent to stripes, where threads do not meet. See the room's invariants 6 to 8.

use std::num::NonZeroU32;

use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::stripe::{Padded, STRIPES};

/// Permits taken past a stripe before it asks for a loan: so what a recall costs is spread over
/// as many acquisitions, should loans be recalled as soon as they are made.
const PATIENCE: u64 = 16;

/// Above the permits of a stripe: the most that it takes back.
const MOST: u32 = 32;

#[derive(Debug)]
pub(super) struct Stripes(Box<[Padded<Stripe>; STRIPES]>);

#[derive(Debug)]
struct Stripe {
    /// The free permits in the lower half, the most of them in the upper; all zero while closed,
    /// so that there is nothing to take and no room to give.
    word: AtomicU64,
    /// Acquisitions that found nothing here.
    passed: AtomicU64,
}

impl Default for Stripe {
    fn default() -> Self {
        Self { word: AtomicU64::new(0), passed: AtomicU64::new(0) }
    }
}

/// What a stripe may be lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loan {
    pub(super) permits: NonZeroU32,
    /// The most that it keeps of what is given back there; not less than `permits`.
    pub(super) most: u32,
}

impl Stripes {
    pub(super) fn new() -> Self {
        Self(Box::default())
    }

    /// Takes beside the lock and beside the word.
    #[inline]
    pub(super) fn take(&self, stripe: usize, permits: NonZeroU32) -> bool {
        let word = &self.0[stripe].word;
        // Relaxed: the exchange below checks it.
        let mut was = word.load(Ordering::Relaxed);
        while held(was) >= permits.get() {
            let taken = was - u64::from(permits.get());
            // Acquire: pairs with `give` and `lend`, so that what was done under the permit
            // before is seen by whoever holds it now.
            match word.compare_exchange_weak(was, taken, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => was = now,
            }
        }
        false
    }

    /// Gives back beside the word; not if the stripe is closed, or has as many as it keeps.
    #[inline]
    pub(super) fn give(&self, stripe: usize, permits: NonZeroU32) -> bool {
        let word = &self.0[stripe].word;
        // Relaxed: the exchange below checks it; and who reads that it is closed goes to the
        // shared word, by a read-modify-write that can't miss who waits.
        let mut was = word.load(Ordering::Relaxed);
        while was >> MOST >= u64::from(held(was)) + u64::from(permits.get()) {
            let given = was + u64::from(permits.get());
            // Release: pairs with `take` and `recall`. Acquire: with `lend`, so that whoever gives
            // here knows that something is lent.
            match word.compare_exchange_weak(was, given, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => was = now,
            }
        }
        false
    }

    /// Somebody took its permits past this stripe. Whether to ask for a loan.
    #[inline]
    pub(super) fn passed(&self, stripe: usize) -> bool {
        let passed = &self.0[stripe].passed;
        // Relaxed, and no read-modify-write: threads that share a stripe may lose a count.
        let now = passed.load(Ordering::Relaxed) + 1;
        passed.store(now, Ordering::Relaxed);
        now.is_multiple_of(PATIENCE)
    }

    /// Under the lock, and the permits have been taken from the shared word.
    pub(super) fn lend(&self, stripe: usize, loan: Loan) {
        let word = &self.0[stripe].word;
        let permits = u64::from(loan.permits.get());
        // Relaxed: opened and closed under the lock only.
        if word.load(Ordering::Relaxed) == 0 {
            // Nobody changes a closed word beside the lock. Release: as in `give`.
            word.store(u64::from(loan.most) << MOST | permits, Ordering::Release);
        } else {
            word.fetch_add(permits, Ordering::Release);
        }
    }

    /// Under the lock: closes every stripe and takes what is in it.
    pub(super) fn recall(&self) -> u64 {
        // Acquire: pairs with `give`. Release: the chain goes on to whoever takes them next.
        self.0.iter().map(|stripe| u64::from(held(stripe.word.swap(0, Ordering::AcqRel)))).sum()
    }
}

/// The lower half.
fn held(word: u64) -> u32 {
    word as u32
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use super::*;

    fn n(permits: u32) -> NonZeroU32 {
        NonZeroU32::new(permits).expect("the tests take at least one")
    }

    #[test]
    fn a_closed_stripe_has_nothing_and_keeps_nothing() {
        let stripes = Stripes::new();
        assert!(!stripes.take(0, n(1)) && !stripes.give(0, n(1)));
        stripes.lend(0, Loan { permits: n(2), most: 3 });
        assert!(!stripes.take(1, n(1)) && !stripes.take(0, n(3)));
        assert!(stripes.take(0, n(2)) && !stripes.take(0, n(1)));
        assert_eq!(stripes.recall(), 0);
        assert!(!stripes.give(0, n(1)), "closed, though it was lent from here");
    }

    #[test]
    fn a_stripe_keeps_no_more_than_its_most() {
        let stripes = Stripes::new();
        stripes.lend(7, Loan { permits: n(2), most: 3 });
        assert!(stripes.give(7, n(1)) && !stripes.give(7, n(1)) && !stripes.give(7, n(u32::MAX)));
        assert!(stripes.take(7, n(3)));
        stripes.lend(7, Loan { permits: n(3), most: 3 });
        assert_eq!(stripes.recall(), 3);
        assert_eq!(stripes.recall(), 0);
    }

    #[test]
    fn a_loan_is_asked_for_now_and_then() {
        let stripes = Stripes::new();
        let asked = (0..4 * PATIENCE).filter(|_| stripes.passed(3));
        assert_eq!(asked.count(), 4);
    }
}
