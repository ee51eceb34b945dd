//! One bucket that many threads take from: a [`Gcra`] word behind compare-and-swap, and a quota
//! that can be changed meanwhile.

use super::core::{Gcra, NEVER_USED, TAG_BITS};
use super::error::Denied;
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::refused::Scope;
use crate::ground::stripe::Padded;
use crate::ground::time::Instant;

/// Places for quotas, as many as the tag of a word can tell apart.
const QUOTAS: usize = 1 << TAG_BITS;

/// In the shape of a place, above the bits of a unit: the lease, and the burst.
const LEASE: u32 = 8;
const BURST: u32 = 32;

/// Each transition is one compare-and-swap from the word that the decision was made on, so
/// decisions are as if made one after the other; a refusal writes nothing.
///
/// 1. The lowest bits of the word tell which place holds the quota that it is told in: that of the
///    quota's *generation*, the number of the change that made it. A change writes the next place
///    first, then, by one compare-and-swap, the word in its units, and the generation last. There
///    is one change at a time.
/// 2. A place is written again four changes later. So what was read of it is one quota if the
///    generation, or the one before, is the same afterwards.
/// 3. A quota is that of the word if the word is the same after it was read: by the exchange, or
///    by a second load. It could be the same and yet another generation's only if the bucket came
///    to be full, or empty to just that part, at the same quarter of a nanosecond after four
///    changes. Of full buckets a change sees to it that no two have one word: so they are told
///    as full for as many units as their generation.
/// 4. The quota is loaded by the generation, not by the word, which only confirms it: or every
///    decision would wait for the last one's exchange before it could load a quota.
///
/// Orderings: who reads a word of a place (Acquire) that the fourth change after wrote (Release)
/// sees the third one's generation, and so finds (2) that it has changed. The word's change is
/// a Release and its loads are Acquires, so that what is in its place is seen. Else the word is all
/// the state there is.
#[derive(Debug)]
pub(super) struct Bucket {
    /// On a line of its own: what else is read for a decision stays where every thread has it.
    word: Padded<AtomicU64>,
    generation: AtomicU64,
    places: [Place; QUOTAS],
}

/// A word, and the quota that it is told in.
struct Read {
    seen: u64,
    generation: u64,
    quota: Gcra,
}

#[derive(Debug, Default)]
struct Place {
    each: AtomicU64,
    shape: AtomicU64,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(quota: &Gcra) -> Self {
        let places: [Place; QUOTAS] = Default::default();
        places[0].write(quota);
        Self {
            word: Padded::new(AtomicU64::new(NEVER_USED)),
            generation: AtomicU64::new(0),
            places,
        }
    }

    #[inline]
    fn seen(&self) -> u64 {
        self.word.load(Ordering::Acquire)
    }

    /// The word without its tag, and the quota that it is told in.
    #[inline]
    pub(super) fn look(&self) -> (u64, Gcra) {
        let read = self.read_surely();
        (bare(read.seen), read.quota)
    }

    /// The generation of the quota, and the lease by it.
    pub(super) fn lease(&self) -> (u32, u8) {
        let read = self.read_surely();
        (read.generation as u32, read.quota.lease)
    }

    #[inline]
    fn read_surely(&self) -> Read {
        let mut seen = self.seen();
        loop {
            let read = self.read(seen);
            seen = self.seen();
            if seen == read.seen {
                return read;
            }
        }
    }

    /// The quota of the word, and its generation: surely so only if the word is the same
    /// afterwards (3). Another word if it was changed meanwhile.
    #[inline]
    fn read(&self, seen: u64) -> Read {
        let generation = self.generation.load(Ordering::Acquire);
        let quota = self.places[tag(generation) as usize].read();
        // Relaxed: after what was read by Acquire.
        if tag(seen) == tag(generation) && self.generation.load(Ordering::Relaxed) == generation {
            return Read { seen, generation, quota };
        }
        self.read_again()
    }

    /// While the quota changes: the word is ahead of the generation, or of what was read.
    #[cold]
    fn read_again(&self) -> Read {
        loop {
            let seen = self.seen();
            let known = self.generation.load(Ordering::Acquire);
            let generation = if tag(seen) == tag(known) { known } else { known + 1 };
            let quota = self.places[tag(generation) as usize].read();
            let is_one = self.generation.load(Ordering::Relaxed) == known;
            if is_one && tag(seen) == tag(generation) {
                return Read { seen, generation, quota };
            }
        }
    }

    /// Takes `cost` tokens, if they are there and nobody else takes meanwhile.
    #[inline]
    pub(super) fn try_take(&self, now: Instant, cost: u32) -> bool {
        let Read { seen, quota, .. } = self.read(self.seen());
        let next = quota.try_take(bare(seen), quota.word(now), cost);
        next.is_some_and(|next| self.exchange(seen, next | tag(seen), Ordering::Relaxed).is_ok())
    }

    /// Takes `cost` tokens, or says why not. (Inlined, as all on the way of a refusal: it is large,
    /// and copying it costs more than the decision.)
    #[inline(always)]
    pub(super) fn take(&self, now: Instant, cost: u32) -> Result<(), Denied> {
        let mut last = self.seen();
        loop {
            let Read { seen, quota, .. } = self.read(last);
            let next = match quota.take(bare(seen), quota.word(now), cost, 0) {
                Ok(next) => next | tag(seen),
                Err(short) => {
                    last = self.seen();
                    if last == seen {
                        return Err(Denied::by(Scope::Global, &quota, short, cost, now));
                    }
                    continue;
                }
            };
            match self.exchange(seen, next, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(newer) => last = newer,
            }
        }
    }

    /// Takes `cost` tokens and `more`, or without these if there are not so many, or if the quota
    /// is of another generation by now: how many more it were.
    pub(super) fn take_more(
        &self,
        now: Instant,
        cost: u32,
        more: u32,
        generation: u32,
    ) -> Result<u32, Denied> {
        let mut last = self.seen();
        loop {
            let Read { seen, generation: of, quota } = self.read(last);
            let (word, at) = (bare(seen), quota.word(now));
            let more = if of as u32 == generation { more } else { 0 };
            let taken = match quota.take(word, at, cost.saturating_add(more), 0) {
                Ok(next) => Ok((next, more)),
                Err(_) => quota.take(word, at, cost, 0).map(|next| (next, 0)),
            };
            let (next, more) = match taken {
                Ok(taken) => taken,
                Err(short) => {
                    last = self.seen();
                    if last == seen {
                        return Err(Denied::by(Scope::Global, &quota, short, cost, now));
                    }
                    continue;
                }
            };
            match self.exchange(seen, next | tag(seen), Ordering::Relaxed) {
                Ok(_) => return Ok(more),
                Err(newer) => last = newer,
            }
        }
    }

    /// Gives `cost` tokens back, never above the burst.
    pub(super) fn give_back(&self, now: Instant, cost: u32) {
        let mut last = self.seen();
        loop {
            let Read { seen, quota, .. } = self.read(last);
            let next = quota.give_back(bare(seen), quota.word(now), cost) | tag(seen);
            match self.exchange(seen, next, Ordering::Relaxed) {
                Ok(_) => return,
                Err(newer) => last = newer,
            }
        }
    }

    /// The generation after the next change.
    pub(super) fn next_generation(&self) -> u64 {
        // There is one change at a time.
        self.generation.load(Ordering::Acquire) + 1
    }

    /// Another quota: what is there stays there. One at a time.
    pub(super) fn change(&self, to: &Gcra, now: Instant) {
        let mut last = self.seen();
        let generation = self.next_generation();
        let next_tag = tag(generation);
        self.places[next_tag as usize].write(to);
        loop {
            let Read { seen, quota, .. } = self.read(last);
            let next = match quota.convert(bare(seen), to, now) {
                NEVER_USED => full_by(to, now, generation),
                next => next,
            };
            match self.exchange(seen, next | next_tag, Ordering::Release) {
                Ok(_) => return self.generation.store(generation, Ordering::Release),
                Err(newer) => last = newer,
            }
        }
    }

    #[inline]
    fn exchange(&self, seen: u64, next: u64, success: Ordering) -> Result<u64, u64> {
        self.word.compare_exchange_weak(seen, next, success, Ordering::Acquire)
    }
}

/// Of a word, and of a generation.
#[inline]
fn tag(word: u64) -> u64 {
    word % QUOTAS as u64
}

/// A word without its tag.
#[inline]
fn bare(word: u64) -> u64 {
    word - tag(word)
}

/// The word of a full bucket that none of 65,536 changes in a row gives another time at one `now`.
fn full_by(quota: &Gcra, now: Instant, generation: u64) -> u64 {
    let since = (1 + generation % (1 << 16)) << TAG_BITS;
    match quota.word(now).wrapping_sub(since) {
        NEVER_USED => NEVER_USED.wrapping_sub(1 << TAG_BITS),
        word => word,
    }
}

impl Place {
    #[inline]
    fn read(&self) -> Gcra {
        let shape = self.shape.load(Ordering::Acquire);
        let each = self.each.load(Ordering::Acquire);
        Gcra::of(each, (shape >> BURST) as u32, shape as u8, (shape >> LEASE) as u8)
    }

    fn write(&self, quota: &Gcra) {
        let shape = u64::from(quota.burst) << BURST
            | u64::from(quota.lease) << LEASE
            | u64::from(quota.bits);
        self.each.store(quota.each, Ordering::Release);
        self.shape.store(shape, Ordering::Release);
    }
}
