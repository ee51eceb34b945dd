//! One bucket that many threads take from: a [`Gcra`] word behind compare-and-swap, and a quota
//! that can be changed meanwhile.

use super::core::{Gcra, NEVER_USED, Short, TAG_BITS};
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::time::Instant;

/// Places for quotas, as many as the tag of a word can tell apart.
const QUOTAS: usize = 1 << TAG_BITS;

/// Above the bits of a unit in a place: the lease, and the burst.
const LEASE: u32 = 16;
const BURST: u32 = 32;

/// Each transition is one compare-and-swap from the word that the decision was made on, so
/// decisions are as if made one after the other; a refusal writes nothing.
///
/// The lowest bits of the word tell which place holds the quota that it is told in. A change
/// writes the next place first and then, by one compare-and-swap, the word in its units, so nobody
/// reads a word by another quota than its own. A place is written again three changes later: who
/// sleeps over these between its two loads and the exchange finds the word changed, unless it
/// has come back to the same instant by the same quota to a quarter of a nanosecond.
///
/// Relaxed, but for the word's change (Release) and its loads (Acquire), which order what is in
/// the places: the word is all the state there is.
#[derive(Debug)]
pub(super) struct Bucket {
    word: AtomicU64,
    /// The tag that the word has had since the last change.
    tag: AtomicU64,
    places: [Place; QUOTAS],
}

#[derive(Debug, Default)]
struct Place {
    each: AtomicU64,
    all: AtomicU64,
    furthest: AtomicU64,
    shape: AtomicU64,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(quota: &Gcra) -> Self {
        let place = || {
            let place = Place::default();
            place.write(quota);
            place
        };
        let places = std::array::from_fn(|_| place());
        Self { word: AtomicU64::new(NEVER_USED), tag: AtomicU64::new(0), places }
    }

    /// The word without its tag, and the quota that it is told in.
    #[inline]
    pub(super) fn look(&self) -> (u64, Gcra) {
        // Acquire, here and below: pairs with `change`.
        self.read(self.word.load(Ordering::Acquire))
    }

    /// The tag of the quota, and the lease by it.
    pub(super) fn lease(&self) -> (u64, u16) {
        let seen = self.word.load(Ordering::Acquire);
        (tag(seen), self.read(seen).1.lease)
    }

    #[inline]
    fn read(&self, word: u64) -> (u64, Gcra) {
        // That of the word, but known without it: or every decision would wait for the last one's
        // exchange before it could load a quota.
        let known = self.tag.load(Ordering::Relaxed) % QUOTAS as u64;
        let tag = tag(word);
        if tag == known {
            (word - known, self.places[known as usize].read())
        } else {
            self.read_by(tag, word)
        }
    }

    /// While the quota changes.
    #[cold]
    fn read_by(&self, tag: u64, word: u64) -> (u64, Gcra) {
        (word - tag, self.places[tag as usize].read())
    }

    /// Takes `cost` tokens. `Err`: what [`why`](Self::why) not is told of.
    #[inline]
    pub(super) fn take(&self, now: Instant, cost: u32) -> Result<(), u64> {
        let seen = self.word.load(Ordering::Acquire);
        match self.try_take(seen, now, cost)? {
            Ok(()) => Ok(()),
            Err(newer) => self.take_from(newer, now, cost),
        }
    }

    /// Others take too.
    #[cold]
    fn take_from(&self, mut seen: u64, now: Instant, cost: u32) -> Result<(), u64> {
        while let Err(newer) = self.try_take(seen, now, cost)? {
            seen = newer;
        }
        Ok(())
    }

    /// Takes from this word, if it is still that one; `Err`: it says no.
    #[inline]
    fn try_take(&self, seen: u64, now: Instant, cost: u32) -> Result<Result<(), u64>, u64> {
        let (word, quota) = self.read(seen);
        let next = quota.try_take(word, quota.word(now), cost).ok_or(seen)?;
        Ok(self.exchange(seen, next | tag(seen), Ordering::Relaxed).map(drop))
    }

    /// Why so many could not be taken, and by which quota.
    pub(super) fn why(&self, seen: u64, now: Instant, cost: u32) -> (Gcra, Short) {
        let (word, quota) = self.read(seen);
        // Nothing is short if the quota's place has been written again since: then at once.
        let short = quota.take(word, quota.word(now), cost, 0).err().unwrap_or(Short::Early(0));
        (quota, short)
    }

    /// Takes `cost` tokens and `more`, or without these if there are not so many, or if the quota
    /// is not that of the tag any more: how many more it were.
    pub(super) fn take_more(
        &self,
        now: Instant,
        cost: u32,
        more: u32,
        of: u64,
    ) -> Result<u32, (Gcra, Short)> {
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let (word, quota) = self.read(seen);
            let at = quota.word(now);
            let more = if tag(seen) == of { more } else { 0 };
            let taken = match quota.take(word, at, cost.saturating_add(more), 0) {
                Ok(next) => Ok((next, more)),
                Err(_) => quota.take(word, at, cost, 0).map(|next| (next, 0)),
            };
            let (next, more) = taken.map_err(|short| (quota, short))?;
            match self.exchange(seen, next | tag(seen), Ordering::Relaxed) {
                Ok(_) => return Ok(more),
                Err(newer) => seen = newer,
            }
        }
    }

    /// Gives `cost` tokens back, never above the burst.
    pub(super) fn give_back(&self, now: Instant, cost: u32) {
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            let (word, quota) = self.read(seen);
            let next = quota.give_back(word, quota.word(now), cost) | tag(seen);
            match self.exchange(seen, next, Ordering::Relaxed) {
                Ok(_) => return,
                Err(newer) => seen = newer,
            }
        }
    }

    /// The tag after the next change.
    pub(super) fn next_tag(&self) -> u64 {
        // Only a change changes the tag.
        (tag(self.word.load(Ordering::Acquire)) + 1) % QUOTAS as u64
    }

    /// Another quota: what is there stays there. One at a time.
    pub(super) fn change(&self, to: &Gcra, now: Instant) {
        let mut seen = self.word.load(Ordering::Acquire);
        let next_tag = self.next_tag();
        self.places[next_tag as usize].write(to);
        loop {
            let (word, quota) = self.read(seen);
            let next = quota.convert(word, to, now) | next_tag;
            match self.exchange(seen, next, Ordering::Release) {
                Ok(_) => return self.tag.store(next_tag, Ordering::Relaxed),
                Err(newer) => seen = newer,
            }
        }
    }

    #[inline]
    fn exchange(&self, seen: u64, next: u64, success: Ordering) -> Result<u64, u64> {
        self.word.compare_exchange_weak(seen, next, success, Ordering::Acquire)
    }
}

#[inline]
fn tag(word: u64) -> u64 {
    word % QUOTAS as u64
}

impl Place {
    #[inline]
    fn read(&self) -> Gcra {
        let shape = self.shape.load(Ordering::Relaxed);
        Gcra {
            each: self.each.load(Ordering::Relaxed),
            all: self.all.load(Ordering::Relaxed),
            furthest: self.furthest.load(Ordering::Relaxed),
            burst: (shape >> BURST) as u32,
            bits: shape as u8,
            lease: (shape >> LEASE) as u16,
        }
    }

    fn write(&self, quota: &Gcra) {
        self.each.store(quota.each, Ordering::Relaxed);
        self.all.store(quota.all, Ordering::Relaxed);
        self.furthest.store(quota.furthest, Ordering::Relaxed);
        let shape = u64::from(quota.burst) << BURST
            | u64::from(quota.lease) << LEASE
            | u64::from(quota.bits);
        self.shape.store(shape, Ordering::Relaxed);
    }
}
