//! One bucket that many threads take from: a [`Gcra`] word behind compare-and-swap, and a quota
//! that can be changed meanwhile.

use super::core::{Gcra, NEVER_USED, Short, TAG_BITS};
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::time::Instant;

/// Places for quotas, as many as the tag of a word can tell apart.
const QUOTAS: usize = 1 << TAG_BITS;

/// In the shape of a place, above the bits of a unit: the lease, the generation, and the burst.
const LEASE: u32 = 8;
const GENERATION: u32 = 16;
const BURST: u32 = 32;
/// Above the units of a token: the generation again. A token a day has 2⁴⁹ units.
const EACH: u32 = 49;
/// So much of a generation each word of a place repeats.
const REPEATED: u64 = (1 << (u64::BITS - EACH)) - 1;

/// Each transition is one compare-and-swap from the word that the decision was made on, so
/// decisions are as if made one after the other; a refusal writes nothing.
///
/// 1. The lowest bits of the word tell which place holds the quota that it is told in. A change
///    writes the next place first and then, by one compare-and-swap, the word in its units.
/// 2. A place is written again four changes later. Each word of it repeats the *generation*, the
///    number of the change: a mix of two is not taken for a quota.
/// 3. A quota is that of the word if the word is the same after it was read: by the exchange, or
///    by a second load. It could be the same and yet another generation's only if the bucket came
///    to be full, or empty to just that part, at the same quarter of a nanosecond after four
///    changes. Of full buckets a change sees to it that no two have one word: so they are told
///    as full for as many units as their generation.
///
/// Orderings: who reads a word of a place (Acquire) that the fourth change after wrote (Release)
/// sees the third one's word, and so finds (3) that the word is not the same. The word's change is
/// a Release and its loads are Acquires, so that what is in its place is seen. Else the word is all
/// the state there is.
#[derive(Debug)]
pub(super) struct Bucket {
    word: AtomicU64,
    places: [Place; QUOTAS],
}

#[derive(Debug)]
struct Place {
    each: AtomicU64,
    shape: AtomicU64,
    generation: AtomicU64,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(quota: &Gcra) -> Self {
        let places = std::array::from_fn(|at| Place::new(quota, at as u64));
        Self { word: AtomicU64::new(NEVER_USED), places }
    }

    #[inline]
    fn seen(&self) -> u64 {
        self.word.load(Ordering::Acquire)
    }

    /// The word without its tag, and the quota that it is told in.
    #[inline]
    pub(super) fn look(&self) -> (u64, Gcra) {
        let mut seen = self.seen();
        loop {
            let looked = self.read(&mut seen);
            if self.is_still(&mut seen) {
                return looked;
            }
        }
    }

    /// The generation of the quota, and the lease by it.
    pub(super) fn lease(&self) -> (u32, u8) {
        let mut seen = self.seen();
        loop {
            let (_, quota) = self.read(&mut seen);
            let generation = self.generation(seen);
            if self.is_still(&mut seen) {
                return (generation as u32, quota.lease);
            }
        }
    }

    /// Whether the word is the same; else it is read anew.
    #[inline]
    fn is_still(&self, seen: &mut u64) -> bool {
        let before = std::mem::replace(seen, self.seen());
        before == *seen
    }

    /// What is only surely the quota of the word if that is the same afterwards (3). It is read
    /// anew if its place has been written since.
    #[inline]
    fn read(&self, seen: &mut u64) -> (u64, Gcra) {
        loop {
            let tag = tag(*seen);
            if let Some(quota) = self.places[tag as usize].read(tag) {
                return (*seen - tag, quota);
            }
            *seen = self.seen();
        }
    }

    fn generation(&self, word: u64) -> u64 {
        self.places[tag(word) as usize].generation.load(Ordering::Acquire)
    }

    /// Takes `cost` tokens, or says why not, and by which quota.
    #[inline]
    pub(super) fn take(&self, now: Instant, cost: u32) -> Result<(), (Gcra, Short)> {
        let mut seen = self.seen();
        loop {
            let (word, quota) = self.read(&mut seen);
            let next = match quota.take(word, quota.word(now), cost, 0) {
                Ok(next) => next | tag(seen),
                Err(short) if self.is_still(&mut seen) => return Err((quota, short)),
                Err(_) => continue,
            };
            match self.exchange(seen, next, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(newer) => seen = newer,
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
    ) -> Result<u32, (Gcra, Short)> {
        let mut seen = self.seen();
        loop {
            let (word, quota) = self.read(&mut seen);
            let at = quota.word(now);
            let is_current = self.generation(seen) as u32 == generation;
            let more = if is_current { more } else { 0 };
            let taken = match quota.take(word, at, cost.saturating_add(more), 0) {
                Ok(next) => Ok((next, more)),
                Err(_) => quota.take(word, at, cost, 0).map(|next| (next, 0)),
            };
            let (next, more) = match taken {
                Ok(taken) => taken,
                Err(short) if self.is_still(&mut seen) => return Err((quota, short)),
                Err(_) => continue,
            };
            match self.exchange(seen, next | tag(seen), Ordering::Relaxed) {
                Ok(_) => return Ok(more),
                Err(newer) => seen = newer,
            }
        }
    }

    /// Gives `cost` tokens back, never above the burst.
    pub(super) fn give_back(&self, now: Instant, cost: u32) {
        let mut seen = self.seen();
        loop {
            let (word, quota) = self.read(&mut seen);
            let next = quota.give_back(word, quota.word(now), cost) | tag(seen);
            match self.exchange(seen, next, Ordering::Relaxed) {
                Ok(_) => return,
                Err(newer) => seen = newer,
            }
        }
    }

    /// The generation after the next change.
    pub(super) fn next_generation(&self) -> u64 {
        // Only a change changes the tag, and there is one at a time.
        self.generation(self.seen()) + 1
    }

    /// Another quota: what is there stays there. One at a time.
    pub(super) fn change(&self, to: &Gcra, now: Instant) {
        let mut seen = self.seen();
        let generation = self.next_generation();
        let next_tag = tag(generation);
        self.places[next_tag as usize].write(to, generation);
        loop {
            let (word, quota) = self.read(&mut seen);
            let next = match quota.convert(word, to, now) {
                NEVER_USED => full_by(to, now, generation),
                next => next,
            };
            match self.exchange(seen, next | next_tag, Ordering::Release) {
                Ok(_) => return,
                Err(newer) => seen = newer,
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

/// The word of a full bucket that no other change gives, at whatever `now`.
fn full_by(quota: &Gcra, now: Instant, generation: u64) -> u64 {
    let since = (1 + generation % (1 << 16)) << TAG_BITS;
    match quota.word(now).wrapping_sub(since) {
        NEVER_USED => NEVER_USED.wrapping_sub(1 << TAG_BITS),
        word => word,
    }
}

impl Place {
    fn new(quota: &Gcra, generation: u64) -> Self {
        let zero = || AtomicU64::new(0);
        let place = Self { each: zero(), shape: zero(), generation: zero() };
        place.write(quota, generation);
        place
    }

    /// `None`: it is being written.
    #[inline]
    fn read(&self, tag_of_word: u64) -> Option<Gcra> {
        let (each, shape) = (self.each.load(Ordering::Acquire), self.shape.load(Ordering::Acquire));
        let generation = each >> EACH;
        let is_whole = shape >> GENERATION & REPEATED == generation;
        if !is_whole || tag(generation) != tag_of_word {
            return None;
        }
        let (each, burst) = (each % (1 << EACH), (shape >> BURST) as u32);
        let all = each * u64::from(burst);
        Some(Gcra { each, all, burst, bits: shape as u8, lease: (shape >> LEASE) as u8 })
    }

    fn write(&self, quota: &Gcra, generation: u64) {
        debug_assert!(quota.each < 1 << EACH && quota.all == quota.each * u64::from(quota.burst));
        let repeated = generation & REPEATED;
        let shape = u64::from(quota.burst) << BURST
            | repeated << GENERATION
            | u64::from(quota.lease) << LEASE
            | u64::from(quota.bits);
        self.each.store(repeated << EACH | quota.each, Ordering::Release);
        self.shape.store(shape, Ordering::Release);
        self.generation.store(generation, Ordering::Release);
    }
}
