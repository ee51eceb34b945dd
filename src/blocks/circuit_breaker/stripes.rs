//! What threads count without meeting: successes, and calls in flight. See the room's invariants
//! 2 to 4.

use crate::ground::metrics::Counter;
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::stripe::{Padded, STRIPES};

/// So many epochs are counted at once.
pub(super) const SLOTS: u64 = 8;

/// Above it stands which epoch a word counts for; 0: none.
const TAG: u32 = 56;
/// One success; below it stand the calls in flight.
const SUCCESS: u64 = 1 << 24;
const IN_FLIGHT: u64 = SUCCESS - 1;
const SUCCESSES: u64 = (1 << TAG) - SUCCESS;

/// A word for each stripe and each of the last [`SLOTS`] epochs.
#[derive(Debug)]
pub(super) struct Stripes(Box<[Padded<Stripe>; STRIPES]>);

#[derive(Debug)]
struct Stripe {
    words: [AtomicU64; SLOTS as usize],
    refused: Counter,
}

impl Default for Stripe {
    fn default() -> Self {
        Self { words: std::array::from_fn(|_| AtomicU64::new(0)), refused: Counter::default() }
    }
}

/// What an epoch leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub(super) struct Counted {
    pub(super) successes: u64,
    pub(super) in_flight: u64,
}

impl Stripes {
    pub(super) fn new() -> Self {
        Self(Box::default())
    }

    /// A call begins. `false`: the epoch is over, or as many are in flight as a word can count.
    #[inline(always)]
    pub(super) fn begin(&self, stripe: usize, epoch: u64) -> bool {
        self.change(stripe, epoch, IN_FLIGHT, 1)
    }

    /// A call that began here and then has succeeded. `false`: that epoch is over.
    #[inline(always)]
    pub(super) fn succeed_begun(&self, stripe: usize, epoch: u64) -> bool {
        self.change(stripe, epoch, SUCCESSES, SUCCESS - 1)
    }

    /// A call has succeeded that was not counted when it began.
    #[inline(always)]
    pub(super) fn succeed(&self, stripe: usize, epoch: u64) -> bool {
        self.change(stripe, epoch, SUCCESSES, SUCCESS)
    }

    /// A call that began here and then has ended otherwise.
    pub(super) fn end(&self, stripe: usize, epoch: u64) -> bool {
        self.change(stripe, epoch, u64::MAX, 1_u64.wrapping_neg())
    }

    /// Adds to the word while it counts for the epoch and not all bits of `full` are set.
    #[inline(always)]
    fn change(&self, stripe: usize, epoch: u64, full: u64, by: u64) -> bool {
        let word = self.word(stripe, epoch);
        // Relaxed, here and below: the word says all there is to know; the exchange checks it.
        let mut was = word.load(Ordering::Relaxed);
        while was >> TAG == tag(epoch) && was & full != full {
            let changed = was.wrapping_add(by);
            match word.compare_exchange_weak(was, changed, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => was = now,
            }
        }
        false
    }

    /// Under the lock: from now on the epoch is counted. The one before in its place is retired.
    pub(super) fn open(&self, epoch: u64) {
        for stripe in 0..STRIPES {
            // Relaxed: nobody changes a word without a tag, and who sees the old one goes to the
            // lock.
            self.word(stripe, epoch).store(tag(epoch) << TAG, Ordering::Relaxed);
        }
    }

    /// Under the lock: from now on nothing is counted for the epoch.
    pub(super) fn retire(&self, epoch: u64) -> Counted {
        self.fold(epoch, |word| word.swap(0, Ordering::Relaxed))
    }

    /// Under the lock: takes the successes out, so that there is room for more.
    pub(super) fn gather(&self, epoch: u64) -> u64 {
        self.fold(epoch, |word| word.fetch_and(!SUCCESSES, Ordering::Relaxed)).successes
    }

    /// What is counted for the epoch, which is not retired.
    pub(super) fn look(&self, epoch: u64) -> Counted {
        self.fold(epoch, |word| word.load(Ordering::Relaxed))
    }

    fn fold(&self, epoch: u64, each: impl Fn(&AtomicU64) -> u64) -> Counted {
        (0..STRIPES).map(|stripe| each(self.word(stripe, epoch))).fold(
            Counted::default(),
            |sum, word| Counted {
                successes: sum.successes + (word & SUCCESSES) / SUCCESS,
                in_flight: sum.in_flight + (word & IN_FLIGHT),
            },
        )
    }

    #[inline]
    pub(super) fn refused(&self, stripe: usize) {
        self.0[stripe].refused.add(1);
    }

    pub(super) fn all_refused(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.refused.get()).sum()
    }

    #[inline(always)]
    fn word(&self, stripe: usize, epoch: u64) -> &AtomicU64 {
        &self.0[stripe].words[(epoch % SLOTS) as usize]
    }
}

/// Of the epochs that share a word, 128 in a row have different ones; none has 0.
#[inline(always)]
fn tag(epoch: u64) -> u64 {
    epoch / SLOTS % 128 + 128
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_word_counts_for_its_epoch_only() {
        let stripes = Stripes::new();
        assert!(!stripes.begin(0, 9) && !stripes.succeed(0, 9) && !stripes.end(0, 9));
        stripes.open(9);
        assert!(stripes.begin(0, 9) && stripes.begin(1, 9) && stripes.begin(1, 9));
        assert!(!stripes.begin(0, 1) && !stripes.begin(0, 17), "others that share the word");
        assert!(stripes.succeed_begun(1, 9) && stripes.succeed(2, 9) && stripes.end(0, 9));
        assert_eq!(stripes.look(9), Counted { successes: 2, in_flight: 1 });
        assert_eq!(stripes.gather(9), 2);
        assert_eq!(stripes.retire(9), Counted { successes: 0, in_flight: 1 });
        assert!(!stripes.end(1, 9));
        assert_eq!(stripes.retire(9), Counted::default());
    }

    #[test]
    fn a_full_word_takes_no_more() {
        let stripes = Stripes::new();
        stripes.open(3);
        let word = &stripes.0[5].words[3];
        word.fetch_add(SUCCESSES | IN_FLIGHT, Ordering::Relaxed);
        assert!(!stripes.begin(5, 3) && !stripes.succeed_begun(5, 3) && !stripes.succeed(5, 3));
        assert!(stripes.end(5, 3) && stripes.begin(5, 3));
        assert_eq!(stripes.gather(3), u64::from(u32::MAX));
        assert!(stripes.succeed_begun(5, 3));
        assert_eq!(stripes.look(3), Counted { successes: 1, in_flight: IN_FLIGHT - 1 });
    }

    #[test]
    fn epochs_that_share_a_word_have_other_tags() {
        for lap in 0..1_000 {
            let tags: std::collections::HashSet<_> =
                (lap..lap + 128).map(|lap| tag(lap * SLOTS)).collect();
            assert_eq!(tags.len(), 128);
            assert!(tags.iter().all(|tag| (128..256).contains(tag)));
        }
    }
}
