//! The entries, and what is being loaded.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter, sync};

use super::config::CacheConfig;
use super::core::{Age, Rules};
use super::entry::Entry;
use super::error::LoadError;
use super::metrics::{CacheSnapshot, Metrics, Shape};
use super::tier::Second;
use crate::ConfigError;
use crate::ground::joint::Joint;
use crate::ground::primitives::{Hashing, Mutex};
use crate::ground::rng::Rng;
use crate::ground::time::{Instant, Now};

pub(super) type Loaded<V> = Result<Arc<Entry<V>>, LoadError>;
pub(super) type Weigher<K, V> = Box<dyn Fn(&K, &V) -> u64 + Send + Sync>;
pub(super) type Negative = Box<dyn Fn(&LoadError) -> Option<Duration> + Send + Sync>;
type Entries<K, V> = sync::Cache<K, Arc<Entry<V>>, ByEntry, Hashing, Outside>;

/// What is not plain data.
pub(super) struct Parts<K, V> {
    pub(super) weigher: Option<Weigher<K, V>>,
    pub(super) negative: Option<Negative>,
    pub(super) second: Option<Second<K, V>>,
    pub(super) rng: Rng,
}

pub(super) struct Table<K, V> {
    pub(super) config: CacheConfig,
    pub(super) rules: Rules,
    pub(super) metrics: Arc<Metrics>,
    pub(super) second: Option<Second<K, V>>,
    weigher: Option<Weigher<K, V>>,
    negative: Option<Negative>,
    entries: Entries<K, V>,
    /// Before the locks inside `entries`: whatever is put or removed is so under this one, so that
    /// a load that was begun before never overwrites it.
    pub(super) flights: Mutex<Flights<K, V>>,
    rng: Mutex<Rng>,
}

/// The loads under way, by key. Each has somebody who waits for it, so there are no more of them
/// than callers.
pub(super) struct Flights<K, V> {
    pub(super) by_key: HashMap<K, Flight<V>, Hashing>,
    pub(super) last: u64,
}

pub(super) struct Flight<V> {
    pub(super) id: u64,
    pub(super) joint: Arc<Joint<Loaded<V>>>,
}

/// What made room, and what was replaced: perhaps the last ones who hold it, if somebody who found it
/// expired has taken it out meanwhile.
#[must_use = "dropped where no lock is held"]
pub(super) struct Evicted<K, V> {
    _out: Vec<(K, Arc<Entry<V>>)>,
    _old: Option<Arc<Entry<V>>>,
}

/// What a key has.
pub(super) enum Look<V> {
    Fresh(Arc<Entry<V>>),
    Stale(Arc<Entry<V>>),
    Absent,
}

impl<K: Hash + Eq, V> Table<K, V> {
    pub(super) fn new(config: CacheConfig, parts: Parts<K, V>) -> Result<Self, ConfigError> {
        config.check()?;
        let options = OptionsBuilder::new()
            .shards(config.shards)
            .estimated_items_capacity(config.expected_entries)
            .weight_capacity(config.capacity)
            .build();
        let options = options.map_err(|_| {
            ConfigError::invalid("cache.capacity", config.capacity, "what can be divided by shards")
        })?;
        let flights = Flights { by_key: HashMap::with_hasher(Hashing::default()), last: 0 };
        Ok(Self {
            rules: Rules::of(&config),
            metrics: Arc::default(),
            second: parts.second,
            weigher: parts.weigher,
            negative: parts.negative,
            entries: Entries::with_options(options, ByEntry, Hashing::default(), Outside),
            flights: Mutex::new(flights),
            rng: Mutex::new(parts.rng),
            config,
        })
    }

    /// What there is; what has expired is dropped.
    #[inline]
    pub(super) fn look<Q>(&self, key: &Q, now: impl Now) -> Look<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let Some(entry) = self.entries.get(key) else { return Look::Absent };
        match entry.look(&self.rules, now) {
            Age::Fresh => Look::Fresh(entry),
            Age::Stale => Look::Stale(entry),
            Age::Gone => {
                if self.entries.remove_if(key, |there| Arc::ptr_eq(there, &entry)).is_some() {
                    self.metrics.expired.add(1);
                }
                Look::Absent
            }
        }
    }

    /// As it is, under whatever lock: the caller drops what it gets outside of it.
    pub(super) fn peek<Q>(&self, key: &Q) -> Option<Arc<Entry<V>>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.entries.peek(key)
    }

    pub(super) fn value(
        &self,
        key: &K,
        value: V,
        most: Option<Duration>,
        now: Instant,
    ) -> Arc<Entry<V>> {
        let weight = self.weigher.as_ref().map_or(1, |weigh| weigh(key, &value));
        let times = self.rules.value(now, most, &mut self.rng.lock());
        Arc::new(Entry::new(Ok(value), times, weight, now))
    }

    /// `None` where it is not to be remembered.
    pub(super) fn error(&self, error: &LoadError, now: Instant) -> Option<Arc<Entry<V>>> {
        let worth = self.negative.as_ref()?(error)?;
        // As heavy as an entry is on average, so that errors alone are bounded as well.
        let weight = self.config.capacity / self.config.expected_entries as u64;
        let times = self.rules.error(now, worth);
        Some(Arc::new(Entry::new(Err(error.clone()), times, weight, now)))
    }

    /// Puts it, whatever is being loaded: that is given to those who wait for it, and not kept.
    pub(super) fn put(&self, all: impl IntoIterator<Item = (K, Arc<Entry<V>>)>) {
        for (key, entry) in all {
            let left = {
                let mut flights = self.flights.lock();
                (flights.by_key.remove_entry(&key), self.insert(key, entry))
            };
            // Before the next one comes, however many there are.
            drop(left);
        }
    }

    /// Under `flights`.
    pub(super) fn insert(&self, key: K, entry: Arc<Entry<V>>) -> Evicted<K, V> {
        let (old, mut out) = (self.entries.peek(&key), Vec::new());
        self.entries.insert_with_lifecycle(key, entry, &mut out);
        // Who is replaced comes out, too, and is no eviction.
        let is_old = |it: &Arc<_>| old.as_ref().is_some_and(|old| Arc::ptr_eq(old, it));
        self.metrics.evicted.add(out.iter().filter(|(_, it)| !is_old(it)).count() as u64);
        Evicted { _out: out, _old: old }
    }

    /// Whether there was something.
    pub(super) fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (flight, entry) = {
            let mut flights = self.flights.lock();
            (flights.by_key.remove_entry(key), self.entries.remove(key))
        };
        drop(flight);
        entry.is_some()
    }

    pub(super) fn clear(&self) {
        let flights = {
            let mut flights = self.flights.lock();
            std::mem::replace(&mut flights.by_key, HashMap::with_hasher(Hashing::default()))
        };
        drop(flights);
        // One by one, so that each is dropped outside of the lock.
        self.entries.drain().for_each(drop);
    }

    pub(super) fn snapshot(&self) -> CacheSnapshot {
        self.metrics.snapshot(Shape {
            name: self.config.name.clone(),
            entries: self.entries.len(),
            weight: self.entries.weight(),
            capacity: self.entries.capacity(),
        })
    }
}

/// An entry knows its weight.
#[derive(Clone)]
struct ByEntry;

impl<K, V> Weighter<K, Arc<Entry<V>>> for ByEntry {
    fn weight(&self, _: &K, entry: &Arc<Entry<V>>) -> u64 {
        entry.weight
    }
}

/// What is evicted leaves the lock before it is dropped.
#[derive(Clone)]
struct Outside;

impl<K, V> Lifecycle<K, Arc<Entry<V>>> for Outside {
    type RequestState = Vec<(K, Arc<Entry<V>>)>;

    fn on_evict(&self, out: &mut Self::RequestState, key: K, entry: Arc<Entry<V>>) {
        out.push((key, entry));
    }
}
