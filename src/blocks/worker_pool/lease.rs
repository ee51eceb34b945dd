//! What goes on beside the lock: seats for callers of `run`, and tasks that their submitters run.
//!
//! While nobody waits, the core leases a few of its free seats to the stripe of a thread: somebody
//! there takes one and gives it back with one atomic operation each, on a line that no other thread
//! writes. A stripe also has a slot (`node/slot.rs`), in which a task that was submitted with such a
//! seat lies until its handle, or a worker, takes it.
//!
//! 1. A leased seat is taken, for the core. Leased are those in the words and those in callers'
//!    hands, or of tasks that lie in a slot or came out of it; `Core` counts all together, under its
//!    lock.
//! 2. A word is `OPEN` only while the queue is empty: before anybody joins it, or is told that there
//!    is no seat, the core recalls, which closes every word and takes the seats in it. So nobody waits
//!    beside a leased seat, and nobody takes one ahead of who waits. The same goes for a slot: before
//!    anybody is admitted through the lock, the slots are closed, and what lies there joins the
//!    queue. So a task that lies in a slot is ahead of, and counts against, whoever comes after it.
//! 3. Who gives a seat back to a word that is not open must go through the lock, which collects it.
//!    Giving and looking are one operation, as closing and taking are: either the recall finds the
//!    seat, or who gives it back finds the recall.
//! 4. Claims are counted in the word itself, endings beside it: so the ledger can still be checked.
//!    A task that is moved under the lock takes its claim along: the core counts those.

use std::time::Duration;

use super::config::Sample;
use crate::Ending;
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::stripe::{Padded, STRIPES};
use crate::ground::time::{self, Instant};

/// Seats may be taken here.
const OPEN: u64 = 1;
/// Above the flag: the free seats, fewer than 2^17.
const SEAT: u64 = 1 << 1;
/// Above those: the claims since the last collection.
const CLAIM: u64 = 1 << 18;

/// The leases of a pool. `S`: what lies beside the lock.
#[derive(Debug)]
pub(super) struct Leases<S>(Box<[Padded<Stripe<S>>; STRIPES]>);

#[derive(Debug)]
struct Stripe<S> {
    word: AtomicU64,
    slot: S,
    /// Endings of what was claimed here.
    completed: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    /// Claims that came to nothing.
    withdrawn: AtomicU64,
    /// What has begun here: by this number it is timed or not.
    begun: AtomicU64,
    /// How many of those that ran to their end were timed, and what they took together.
    timed: AtomicU64,
    took_ns: AtomicU64,
}

impl<S: Default> Default for Stripe<S> {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            word: zero(),
            slot: S::default(),
            completed: zero(),
            failed: zero(),
            cancelled: zero(),
            withdrawn: zero(),
            begun: zero(),
            timed: zero(),
            took_ns: zero(),
        }
    }
}

/// A look at all stripes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// In the words.
    pub(super) seats: u32,
    /// In the words: since they were last collected.
    pub(super) claims: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) withdrawn: u64,
    pub(super) timed: u64,
    pub(super) took_ns: u64,
}

impl Tally {
    /// Claims that are over.
    pub(super) fn over(&self) -> u64 {
        self.completed + self.failed + self.cancelled + self.withdrawn
    }
}

/// What has come back to the lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "seats and claims are only here now"]
pub(super) struct Collected {
    pub(super) seats: u32,
    pub(super) claims: u64,
}

/// What a caller has to do who gave his seat back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Gave {
    Done,
    /// Go through the lock: somebody waits, or nothing is leased any more.
    Collect,
}

impl<S: Default> Leases<S> {
    pub(super) fn new() -> Self {
        Self(Box::default())
    }

    #[inline]
    pub(super) fn slot(&self, stripe: usize) -> &S {
        &self.0[stripe].slot
    }

    /// Takes a seat beside the lock.
    #[inline]
    pub(super) fn claim(&self, stripe: usize) -> bool {
        let word = &self.0[stripe].word;
        // Relaxed: the exchange below checks it.
        let mut was = word.load(Ordering::Relaxed);
        loop {
            // Of claims that were never collected there may be 2^45.
            if was & OPEN == 0 || seats(was) == 0 || was >> 63 != 0 {
                return false;
            }
            // Acquire: pairs with `give`, so that what was done on the seat before is seen.
            match word.compare_exchange_weak(
                was,
                was - SEAT + CLAIM,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => was = now,
            }
        }
    }

    /// Gives a claimed seat back, with how it ended.
    #[inline]
    pub(super) fn give(&self, stripe: usize, ending: Ending) -> Gave {
        let Stripe { completed, failed, cancelled, .. } = &*self.0[stripe];
        let count = match ending {
            Ending::Completed => completed,
            Ending::Failed => failed,
            _ => cancelled,
        };
        // Release: who reads the ending in `look` sees the claim before it.
        count.fetch_add(1, Ordering::Release);
        self.put_back(stripe)
    }

    /// Gives a claimed seat back that was not used.
    #[cold]
    pub(super) fn withdraw(&self, stripe: usize) -> Gave {
        // Release: as in `give`.
        self.0[stripe].withdrawn.fetch_add(1, Ordering::Release);
        self.put_back(stripe)
    }

    #[inline]
    fn put_back(&self, stripe: usize) -> Gave {
        let word = &self.0[stripe].word;
        // Release: pairs with `claim` and `recall`. Acquire: with the lock's holder who closed it.
        let was = word.fetch_add(SEAT, Ordering::AcqRel);
        if was & OPEN == 0 { Gave::Collect } else { Gave::Done }
    }

    /// When what begins here begins, if it is one that is timed.
    #[inline]
    pub(super) fn begin(&self, stripe: usize, sample: Sample) -> Option<Instant> {
        sample.includes_next(&self.0[stripe].begun).then(time::now)
    }

    /// One that was timed has run to its end.
    pub(super) fn took(&self, stripe: usize, took: Duration) {
        let Stripe { timed, took_ns, .. } = &*self.0[stripe];
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Relaxed: a statistic.
        took_ns.fetch_add(ns, Ordering::Relaxed);
        timed.fetch_add(1, Ordering::Relaxed);
    }

    /// Under the lock: opens a stripe. Its claims so far, and whether there is a seat in it.
    pub(super) fn open(&self, stripe: usize) -> (u64, bool) {
        let word = &self.0[stripe].word;
        // AcqRel, here and below: as in `give`.
        word.fetch_or(OPEN, Ordering::AcqRel);
        let was = word.fetch_and(CLAIM - 1, Ordering::AcqRel);
        (was / CLAIM, seats(was) != 0)
    }

    /// Under the lock: one seat more for this stripe.
    pub(super) fn lend(&self, stripe: usize) {
        self.0[stripe].word.fetch_add(SEAT, Ordering::AcqRel);
    }

    /// Under the lock: whether anything could be claimed.
    #[cfg(all(test, not(headworks_loom)))]
    pub(super) fn is_open(&self) -> bool {
        // Relaxed: opened and closed under the lock only.
        self.0.iter().any(|stripe| stripe.word.load(Ordering::Relaxed) & OPEN != 0)
    }

    /// Under the lock: closes every word and takes what is in it.
    pub(super) fn recall(&self) -> Collected {
        let mut all = Collected::default();
        for stripe in self.0.iter() {
            // AcqRel: as in `give`.
            let was = stripe.word.swap(0, Ordering::AcqRel);
            all.seats += seats(was);
            all.claims += was / CLAIM;
        }
        all
    }

    /// Under the lock: the seats that nobody has claimed. Others come and go meanwhile.
    pub(super) fn idle(&self) -> u32 {
        // Relaxed: a statistic.
        self.0.iter().map(|stripe| seats(stripe.word.load(Ordering::Relaxed))).sum()
    }

    /// Under the lock, which changes nothing. What is over is read first: each was claimed before.
    pub(super) fn look(&self) -> Tally {
        let mut all = Tally::default();
        for stripe in self.0.iter() {
            // Acquire: pairs with `give`. What is over is seen as claimed in the word.
            all.completed += stripe.completed.load(Ordering::Acquire);
            all.failed += stripe.failed.load(Ordering::Acquire);
            all.cancelled += stripe.cancelled.load(Ordering::Acquire);
            all.withdrawn += stripe.withdrawn.load(Ordering::Acquire);
            all.timed += stripe.timed.load(Ordering::Relaxed);
            all.took_ns = all.took_ns.wrapping_add(stripe.took_ns.load(Ordering::Relaxed));
            let was = stripe.word.load(Ordering::Acquire);
            all.seats += seats(was);
            all.claims += was / CLAIM;
        }
        all
    }
}

fn seats(word: u64) -> u32 {
    // Fewer than 2^17.
    ((word % CLAIM) / SEAT) as u32
}
