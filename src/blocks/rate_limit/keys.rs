//! The words of many keys, bounded.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use hashbrown::HashTable;

use super::core::{Gcra, NEVER_USED};
use crate::ground::primitives::atomic::{AtomicUsize, Ordering};
use crate::ground::primitives::{Hashing, Mutex, MutexGuard};
use crate::ground::time::Instant;

/// Buckets that keys beyond the bound share, all shards together; one at least for each shard.
const SHARED: usize = 1_024;
/// One lock per this many keys, so that a table of a shard is small: it doubles while it is locked.
const KEYS_PER_SHARD: usize = 1_024;
const MOST_SHARDS: usize = 4_096;
/// Places of the table looked at for idle keys by one insertion: so many that a map that only
/// grows is walked faster than it grows; few, so that nobody pauses.
const LOOKED_AT: usize = 8;

/// Key → word. A key that isn't there has a full bucket (the word of the shared bucket it would
/// use, which is full unless the map is), so a key whose bucket is full may be forgotten; not if
/// it has a quota of its own.
///
/// 1. At most `max` entries; further keys share [`SHARED`] buckets by hash: never a free pass,
///    never a lock-out.
/// 2. The hash is seeded per map, since keys come from outside.
/// 3. Each shard's lock guards its entries, its part of the shared buckets, and the quotas that
///    these are told in. Lock order: a limiter's rooms before a shard; never two shards. Of the
///    user's code only `Eq` and the making of a key run under it.
#[derive(Debug)]
pub(super) struct Keys<K> {
    shards: Box<[Mutex<Shard<K>>]>,
    hasher: Hashing,
    len: AtomicUsize,
    max: usize,
    idle: Duration,
}

#[derive(Debug)]
struct Shard<K> {
    table: HashTable<Entry<K>>,
    /// Of every key that has none of its own.
    quota: Gcra,
    own: Vec<Gcra>,
    /// Places of `own` that nobody uses.
    free: Vec<u32>,
    shared: Box<[u64]>,
    /// Where the walk for idle entries goes on.
    cursor: usize,
    writes: u32,
}

#[derive(Debug)]
struct Entry<K> {
    key: K,
    word: u64,
    /// What the table needs to know again when it grows.
    hash: u32,
    /// Its place in [`Shard::own`], or [`NO_OWN`].
    own: u32,
}

const NO_OWN: u32 = u32::MAX;

/// What a quota of a key's own takes, in a list that may be twice as long: see `max_keys`.
const _: () = assert!(size_of::<Gcra>() == 32);

/// One key's word, locked.
#[derive(Debug)]
pub(super) struct Held<'a, K> {
    keys: &'a Keys<K>,
    shard: MutexGuard<'a, Shard<K>>,
    hash: u64,
    /// Its place in the table.
    found: Option<usize>,
    /// The entry to be is counted.
    is_counted: bool,
    /// The key of the entry to be. Dropped after the unlock, as the next ones.
    new: Option<K>,
    /// Dropped after the unlock (fields are, in this order): a key is the caller's. While the rooms
    /// are locked too, they [leave](Self::leave) first.
    forgotten: Vec<K>,
}

impl<K: Eq + Hash> Keys<K> {
    pub(super) fn new(max: usize, idle: Duration, quota: Gcra) -> Self {
        let shards = (max / KEYS_PER_SHARD).next_power_of_two().clamp(1, MOST_SHARDS);
        let shard = || {
            Mutex::new(Shard {
                table: HashTable::new(),
                quota,
                own: Vec::new(),
                free: Vec::new(),
                shared: vec![NEVER_USED; (SHARED / shards).max(1)].into_boxed_slice(),
                cursor: 0,
                writes: 0,
            })
        };
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            hasher: Hashing::default(),
            len: AtomicUsize::new(0),
            max,
            idle,
        }
    }

    pub(super) fn len(&self) -> usize {
        // Relaxed, here and below: a bound kept by one counter; it guards no memory.
        self.len.load(Ordering::Relaxed)
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    #[inline]
    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    #[inline]
    pub(super) fn lock<Q>(&self, key: &Q) -> Held<'_, K>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let hash = self.hash(key);
        // Other bits than the table's.
        let shard = (hash >> 32) as usize & (self.shards.len() - 1);
        let shard = self.shards[shard].lock();
        let found = shard.table.find_bucket_index(spread(hash as u32), |entry| {
            entry.hash == hash as u32 && entry.key.borrow() == key
        });
        Held { keys: self, shard, hash, found, is_counted: false, new: None, forgotten: Vec::new() }
    }

    /// Another quota for all that have none of their own, one shard after the other. One at a time.
    pub(super) fn set_quota(&self, quota: &Gcra, now: Instant) {
        for shard in &self.shards {
            let shard = &mut *shard.lock();
            let from = std::mem::replace(&mut shard.quota, *quota);
            for entry in shard.table.iter_mut().filter(|entry| entry.own == NO_OWN) {
                entry.word = from.convert(entry.word, quota, now);
            }
            let word_now = from.word(now);
            for word in &mut shard.shared {
                // A full one is that of keys which aren't remembered, and so are new.
                let is_full = from.is_full(*word, word_now);
                *word = if is_full { NEVER_USED } else { from.convert(*word, quota, now) };
            }
        }
    }
}

/// A hash of the table's kind, which uses the lowest and the highest bits.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

impl<K: Eq + Hash> Held<'_, K> {
    #[inline]
    fn entry(&self) -> Option<&Entry<K>> {
        self.shard.table.get_bucket(self.found?)
    }

    #[inline]
    pub(super) fn word(&self) -> u64 {
        match self.entry() {
            Some(entry) => entry.word,
            None => self.shard.shared[self.shared()],
        }
    }

    /// What its word is told in.
    #[inline]
    pub(super) fn quota(&self) -> Gcra {
        match self.entry() {
            Some(entry) => self.shard.quota_of(entry),
            None => self.shard.quota,
        }
    }

    /// Unlocks; the keys that are not needed any more go to `spent`.
    #[inline]
    pub(super) fn leave(mut self, spent: &mut Vec<K>) {
        spent.extend(self.new.take());
        if !self.forgotten.is_empty() {
            spent.append(&mut self.forgotten);
        }
    }

    fn shared(&self) -> usize {
        (self.hash >> 48) as usize % self.shard.shared.len()
    }

    #[inline]
    pub(super) fn is_absent(&self) -> bool {
        self.found.is_none()
    }

    /// Makes an entry for a key that has none, if there is room or somebody idle to forget. It is
    /// there once it is [written](Self::write). Making the key is the caller's code, which may
    /// panic: so it comes before anything is taken.
    #[cold]
    pub(super) fn prepare(&mut self, now: Instant, key: impl FnOnce() -> K) {
        if self.is_absent() && self.make_room(now) {
            self.is_counted = true;
            self.new = Some(key());
        }
    }

    /// Writes the word down: in the key's entry, in the one prepared for it, else in the shared
    /// bucket.
    #[inline]
    pub(super) fn write(&mut self, word: u64, now: Instant) {
        let Some(found) = self.found else { return self.write_new(word) };
        if let Some(entry) = self.shard.table.get_bucket_mut(found) {
            entry.word = word;
        }
        self.shard.writes = self.shard.writes.wrapping_add(1);
        // Where nobody new comes, idle keys still go.
        if self.shard.writes.is_multiple_of(16) {
            self.forget(2, self.keys.idle, now);
        }
    }

    #[cold]
    fn write_new(&mut self, word: u64) {
        if let Some(key) = self.new.take() {
            let hash = self.hash as u32;
            let entry = Entry { key, word, hash, own: NO_OWN };
            let entry =
                self.shard.table.insert_unique(spread(hash), entry, |entry| spread(entry.hash));
            self.found = Some(entry.bucket_index());
            self.is_counted = false;
        } else {
            let shared = self.shared();
            self.shard.shared[shared] = word;
        }
    }

    /// Counts one more entry, if there may be one.
    fn make_room(&mut self, now: Instant) -> bool {
        let keys = self.keys;
        let one_more = |len| (len < keys.max).then_some(len + 1);
        let count =
            || keys.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        self.forget(LOOKED_AT, keys.idle, now);
        count() || (self.forget(LOOKED_AT, Duration::ZERO, now) && count())
    }

    /// Looks at the next places of the table and forgets those whose bucket has been full for so
    /// long.
    #[cold]
    fn forget(&mut self, looked_at: usize, idle: Duration, now: Instant) -> bool {
        let shard = &mut *self.shard;
        let word_now = shard.quota.word(now);
        let mut forgot = false;
        for _ in 0..looked_at.min(shard.table.num_buckets()) {
            if shard.cursor >= shard.table.num_buckets() {
                shard.cursor = 0;
                shard.shrink();
            }
            if let Ok(place) = shard.table.get_bucket_entry(shard.cursor) {
                let Entry { word, own, .. } = *place.get();
                let is_idle = shard.quota.is_full(word, word_now)
                    && shard.quota.full_for(word, word_now) >= idle;
                if own == NO_OWN && is_idle {
                    self.forgotten.push(place.remove().0.key);
                    self.keys.len.fetch_sub(1, Ordering::Relaxed);
                    forgot = true;
                }
            }
            shard.cursor += 1;
        }
        forgot
    }

    /// Gives tokens back, never above the burst. Not to a shared bucket: what it lacks others may
    /// have taken.
    pub(super) fn give_back(&mut self, now: Instant, cost: u32) {
        let quota = self.quota();
        if let Some(entry) = self.found.and_then(|at| self.shard.table.get_bucket_mut(at)) {
            entry.word = quota.give_back(entry.word, quota.word(now), cost);
        }
    }

    /// A quota of its own from now on. A key that wasn't there is made, with a full bucket, or with
    /// what was left in the bucket that it shared; `false` if there is no room.
    pub(super) fn set_own(&mut self, quota: Gcra, now: Instant, key: K) -> bool {
        let mut is_new = false;
        if self.is_absent() && self.make_room(now) {
            let shared = self.word();
            is_new = self.shard.quota.is_full(shared, self.shard.quota.word(now));
            (self.is_counted, self.new) = (true, Some(key));
            // A full one's word is told in the former quota.
            self.write_new(if is_new { NEVER_USED } else { shared });
        } else {
            self.forgotten.push(key);
        }
        let shard = &mut *self.shard;
        let Some(entry) = self.found.and_then(|at| shard.table.get_bucket_mut(at)) else {
            return false;
        };
        let from = if entry.own == NO_OWN { shard.quota } else { shard.own[entry.own as usize] };
        if !is_new {
            entry.word = from.convert(entry.word, &quota, now);
        }
        if entry.own != NO_OWN {
            shard.own[entry.own as usize] = quota;
        } else if let Some(free) = shard.free.pop() {
            entry.own = free;
            shard.own[free as usize] = quota;
        } else {
            entry.own = shard.own.len() as u32;
            shard.own.push(quota);
        }
        true
    }

    /// The quota of all again.
    pub(super) fn clear_own(&mut self, now: Instant) {
        let shard = &mut *self.shard;
        let entry = self.found.and_then(|at| shard.table.get_bucket_mut(at));
        if let Some(entry) = entry.filter(|entry| entry.own != NO_OWN) {
            let from = shard.own[entry.own as usize];
            entry.word = from.convert(entry.word, &shard.quota, now);
            shard.free.push(std::mem::replace(&mut entry.own, NO_OWN));
        }
    }
}

impl<K> Shard<K> {
    #[inline]
    fn quota_of(&self, entry: &Entry<K>) -> Gcra {
        if entry.own == NO_OWN { self.quota } else { self.own[entry.own as usize] }
    }

    /// Gives memory back after a crowd has gone.
    fn shrink(&mut self) {
        if self.table.len() < self.table.capacity() / 8 {
            self.table.shrink_to(self.table.len() * 2, |entry| spread(entry.hash));
        }
    }
}

impl<K> Drop for Held<'_, K> {
    fn drop(&mut self) {
        if self.is_counted {
            self.keys.len.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
