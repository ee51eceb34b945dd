//! The words of many keys, bounded.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::time::Duration;

use super::core::{Gcra, NEVER_USED};
use crate::ground::primitives::atomic::{AtomicUsize, Ordering};
use crate::ground::primitives::{Hashing, Mutex, MutexGuard};

/// Buckets that keys beyond the bound share, all shards together.
const SHARED: usize = 1_024;
/// One lock per this many keys, so that short lists aren't split.
const KEYS_PER_SHARD: usize = 1_024;
const MOST_SHARDS: usize = 64;
/// Entries looked at for idleness by one insertion: more than one, so that a map that only grows
/// is walked faster than it grows; few, so that nobody pauses.
const LOOKED_AT: usize = 4;

/// Key → word. A key that isn't there has a full bucket (the word of the shared bucket it would
/// use, which is full unless the map is), so a key whose bucket is full may be forgotten.
///
/// 1. At most `max` entries; further keys share [`SHARED`] buckets by hash: never a free pass,
///    never a lock-out.
/// 2. The hash is seeded per map, since keys come from outside. Two keys of the same 64-bit hash
///    can't both have an entry: the second one uses its shared bucket.
/// 3. Each shard's lock guards its entries and its part of the shared buckets. Lock order: a
///    limiter's rooms before a shard; never two shards.
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
    by_hash: HashMap<u64, u32, BuildHasherDefault<AsIs>>,
    entries: Vec<Entry<K>>,
    /// Where the walk for idle entries goes on.
    cursor: usize,
    writes: u32,
    shared: Box<[u64]>,
}

#[derive(Debug)]
struct Entry<K> {
    hash: u64,
    word: u64,
    key: K,
}

/// One key's word, locked.
#[derive(Debug)]
pub(super) struct Held<'a, K> {
    keys: &'a Keys<K>,
    shard: MutexGuard<'a, Shard<K>>,
    hash: u64,
    found: Found,
    /// The entry to be is counted.
    is_counted: bool,
    /// The key of the entry to be. Dropped after the unlock, as the next ones.
    new: Option<K>,
    /// Dropped after the unlock (fields are, in this order): a key is the caller's.
    forgotten: Vec<K>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Entry(u32),
    Absent,
    /// Another key has its hash.
    Taken,
}

impl<K: Eq + Hash> Keys<K> {
    pub(super) fn new(max: usize, idle: Duration) -> Self {
        let shards = (max / KEYS_PER_SHARD).next_power_of_two().clamp(1, MOST_SHARDS);
        let shard = || {
            Mutex::new(Shard {
                by_hash: HashMap::default(),
                entries: Vec::new(),
                cursor: 0,
                writes: 0,
                shared: vec![NEVER_USED; SHARED / shards].into_boxed_slice(),
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

    pub(super) fn lock<Q>(&self, key: &Q) -> Held<'_, K>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        // The map below uses the lowest and the highest bits.
        let shard = (hash >> 40) as usize % self.shards.len();
        let shard = self.shards[shard].lock();
        let found = match shard.by_hash.get(&hash) {
            None => Found::Absent,
            Some(&at) if shard.entries[at as usize].key.borrow() == key => Found::Entry(at),
            Some(_) => Found::Taken,
        };
        let forgotten = Vec::new();
        Held { keys: self, shard, hash, found, is_counted: false, new: None, forgotten }
    }
}

impl<K: Eq + Hash> Held<'_, K> {
    pub(super) fn word(&self) -> u64 {
        match self.found {
            Found::Entry(at) => self.shard.entries[at as usize].word,
            Found::Absent | Found::Taken => self.shard.shared[self.shared()],
        }
    }

    fn shared(&self) -> usize {
        (self.hash >> 48) as usize % self.shard.shared.len()
    }

    /// Nobody has an entry by this hash.
    pub(super) fn is_absent(&self) -> bool {
        self.found == Found::Absent
    }

    /// Makes an entry for a key that has none, if there is room or somebody idle to forget. It is
    /// there once it is [written](Self::write). Making the key is the caller's code, which may
    /// panic: so it comes before anything is taken.
    pub(super) fn prepare(&mut self, gcra: &Gcra, now: u64, key: impl FnOnce() -> K) {
        if self.is_absent() && self.make_room(gcra, now) {
            self.is_counted = true;
            self.new = Some(key());
        }
    }

    /// Writes the word down: in the key's entry, in the one prepared for it, else in the shared
    /// bucket.
    pub(super) fn write(mut self, word: u64, gcra: &Gcra, now: u64) {
        match (self.found, self.new.take()) {
            (Found::Entry(at), _) => {
                self.shard.entries[at as usize].word = word;
                self.shard.writes = self.shard.writes.wrapping_add(1);
                // Where nobody new comes, idle keys still go.
                if self.shard.writes.is_multiple_of(16) {
                    self.forget(1, self.keys.idle, gcra, now);
                }
            }
            (Found::Absent, Some(key)) => {
                let at = self.shard.entries.len() as u32;
                let hash = self.hash;
                self.shard.by_hash.insert(hash, at);
                self.shard.entries.push(Entry { hash, word, key });
                self.is_counted = false;
            }
            (Found::Absent | Found::Taken, _) => {
                let shared = self.shared();
                self.shard.shared[shared] = word;
            }
        }
    }

    /// Counts one more entry, if there may be one.
    fn make_room(&mut self, gcra: &Gcra, now: u64) -> bool {
        let keys = self.keys;
        let one_more = |len| (len < keys.max).then_some(len + 1);
        let count =
            || keys.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        self.forget(LOOKED_AT, keys.idle, gcra, now);
        count() || (self.forget(LOOKED_AT, Duration::ZERO, gcra, now) && count())
    }

    /// Looks at the next entries and forgets those whose bucket has been full for so long.
    fn forget(&mut self, looked_at: usize, idle: Duration, gcra: &Gcra, now: u64) -> bool {
        let shard = &mut *self.shard;
        let mut forgot = false;
        for _ in 0..looked_at.min(shard.entries.len()) {
            if shard.cursor >= shard.entries.len() {
                shard.cursor = 0;
            }
            let word = shard.entries[shard.cursor].word;
            if !gcra.is_full(word, now) || gcra.full_for(word, now) < idle {
                shard.cursor += 1;
                continue;
            }
            let gone = shard.entries.swap_remove(shard.cursor);
            shard.by_hash.remove(&gone.hash);
            if let Some(moved) = shard.entries.get(shard.cursor) {
                shard.by_hash.insert(moved.hash, shard.cursor as u32);
            }
            self.keys.len.fetch_sub(1, Ordering::Relaxed);
            self.forgotten.push(gone.key);
            forgot = true;
        }
        forgot
    }

    /// Gives tokens back, never above the burst. Not to a shared bucket: what it lacks others may
    /// have taken.
    pub(super) fn give_back(&mut self, gcra: &Gcra, now: u64, cost: u32) {
        if let Found::Entry(at) = self.found {
            let entry = &mut self.shard.entries[at as usize];
            entry.word = gcra.give_back(entry.word, now, cost);
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

/// Passes on what is a hash already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only `u64` keys come here, by `write_u64`; anything else must still be a hash.
        for &byte in bytes {
            self.0 = (self.0.rotate_left(8) ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
