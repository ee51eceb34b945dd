//! A breaker for each backend, made when it is first asked for.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::breaker::CircuitBreaker;
use super::config::CircuitBreakerConfig;
use super::core::State;
use super::metrics::CircuitBreakerSnapshot;
use crate::ground::config_error::ConfigError;
use crate::ground::primitives::{Hashing, Mutex};
use crate::ground::rng::Rng;
use crate::ground::time::{self, Instant};

/// Breakers that keys beyond the bound share.
const SHARED: usize = 64;
/// Entries looked at for idleness by one that comes: more than one, so that a table that only
/// grows is walked faster than it grows; few, so that nobody pauses.
const LOOKED_AT: usize = 4;

/// How a [`BreakerRegistry`] keeps its breakers. Plain data; checked by [`BreakerRegistry::new`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct BreakerRegistryConfig {
    /// What each breaker is made from. Default: its own default.
    pub breaker: CircuitBreakerConfig,
    /// How many keys have a breaker of their own, of about 2 KiB; further ones share 64 breakers.
    /// Default: 10,000.
    pub max_keys: NonZeroUsize,
    /// A breaker that nobody holds and nobody has asked for this long may be forgotten, with all
    /// it knows, when another key comes: at once if its circuit is closed; if it is open or
    /// half-open, only when there is no place left and no closed one to forget, and then the one
    /// that was not asked for the longest. One that is forced is kept. Default: 10 min, twice the
    /// longest opening.
    pub idle_after: Duration,
}

impl Default for BreakerRegistryConfig {
    fn default() -> Self {
        Self {
            breaker: CircuitBreakerConfig::default(),
            max_keys: const { NonZeroUsize::MIN.saturating_add(9_999) },
            idle_after: Duration::from_secs(600),
        }
    }
}

impl BreakerRegistryConfig {
    /// Sets [`breaker`](Self::breaker).
    #[must_use]
    pub fn with_breaker(self, breaker: CircuitBreakerConfig) -> Self {
        Self { breaker, ..self }
    }

    /// Sets [`max_keys`](Self::max_keys).
    #[must_use]
    pub fn with_max_keys(self, max_keys: NonZeroUsize) -> Self {
        Self { max_keys, ..self }
    }

    /// Sets [`idle_after`](Self::idle_after).
    #[must_use]
    pub fn with_idle_after(self, idle_after: Duration) -> Self {
        Self { idle_after, ..self }
    }
}

/// A [`CircuitBreaker`] for each key: one failing backend opens its own circuit only.
///
/// Bounded: keys beyond [`max_keys`](BreakerRegistryConfig::max_keys) share 64 breakers by their
/// hash, so that no key goes unwatched and none is locked out but by its neighbours. Breakers that
/// nobody uses are forgotten when others come (see
/// [`idle_after`](BreakerRegistryConfig::idle_after)). There is no task and no timer.
///
/// # Examples
/// ```
/// use headworks::circuit_breaker::{BreakerRegistry, BreakerRegistryConfig, State};
///
/// let breakers = BreakerRegistry::<String>::new(BreakerRegistryConfig::default())?;
/// let (good, bad) = ("good.example".to_owned(), "bad.example".to_owned());
/// for _ in 0..10 {
///     breakers.get(&good).try_acquire()?.success();
///     breakers.get(&bad).try_acquire()?.failure();
/// }
/// assert_eq!(breakers.get(&good).state(), State::Closed);
/// assert_eq!(breakers.get(&bad).state(), State::Open);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BreakerRegistry<K> {
    config: BreakerRegistryConfig,
    hasher: Hashing,
    table: Mutex<Table<K>>,
}

/// Two keys of the same 64-bit hash can't both have an entry: the second one shares.
#[derive(Debug)]
struct Table<K> {
    by_hash: HashMap<u64, usize, Hashing>,
    entries: Vec<Entry<K>>,
    /// Where the walk for idle entries goes on.
    cursor: usize,
    lap: Lap,
    shared: Vec<Option<CircuitBreaker>>,
    forgotten: u64,
}

/// One round of the walk over all entries.
#[derive(Debug, Default)]
struct Lap {
    /// Entries left to be looked at.
    left: usize,
    /// A closed one has left.
    has_forgotten: bool,
    /// Of those that are idle but not closed the one that nobody asked for the longest: hash and
    /// since when. (It opened no later than that, for whoever holds a permit holds the breaker.)
    longest: Option<(u64, Instant)>,
}

/// Whether an entry may be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// It is in use, or forced.
    No,
    /// It is idle, and would know nothing that a new one doesn't.
    Closed,
    /// It is idle, and knows of a failing backend.
    NotClosed,
}

impl<K> Entry<K> {
    /// Nobody listens to a breaker that nobody holds, so a look at it wakes nobody.
    fn rest(&self, now: Instant, idle_after: Duration) -> Rest {
        let is_idle = now.saturating_duration_since(self.last_used) >= idle_after;
        let breaker = &self.named.breaker;
        if !is_idle || breaker.is_held() || Arc::strong_count(&self.named) > 1 {
            return Rest::No;
        }
        match breaker.state_at(now) {
            _ if breaker.is_forced_at(now) => Rest::No,
            State::Closed => Rest::Closed,
            State::Open | State::HalfOpen => Rest::NotClosed,
        }
    }
}

#[derive(Debug)]
struct Entry<K> {
    hash: u64,
    last_used: Instant,
    named: Arc<Named<K>>,
}

#[derive(Debug)]
struct Named<K> {
    key: K,
    breaker: CircuitBreaker,
}

impl<K: Clone + Eq + Hash> BreakerRegistry<K> {
    /// Without a breaker yet.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work.
    pub fn new(config: BreakerRegistryConfig) -> Result<Self, ConfigError> {
        config.breaker.check()?;
        let table = Table {
            by_hash: HashMap::default(),
            entries: Vec::new(),
            cursor: 0,
            lap: Lap::default(),
            shared: vec![None; SHARED],
            forgotten: 0,
        };
        Ok(Self { config, hasher: Hashing::default(), table: Mutex::new(table) })
    }

    /// The breaker of this key. Who keeps it keeps it from being forgotten.
    ///
    /// # Cost
    /// One short lock, in which keys of the same hash are compared; a key that comes for the first
    /// time is cloned, and its breaker is allocated, beside the lock.
    pub fn get(&self, key: &K) -> CircuitBreaker {
        self.get_at(key, time::now())
    }

    pub(super) fn get_at(&self, key: &K, now: Instant) -> CircuitBreaker {
        let hash = self.hasher.hash_one(key);
        let (found, left) = self.table.lock().look(hash, key, now, &self.config);
        drop(left);
        if let Some(breaker) = found {
            return breaker;
        }
        let breaker =
            CircuitBreaker::unchecked(self.config.breaker.clone(), Rng::from_entropy(), now);
        let named = Arc::new(Named { key: key.clone(), breaker });
        let new = Entry { hash, last_used: now, named };
        // What leaves is dropped after the lock: keys are the caller's.
        let (breaker, left) = self.table.lock().insert(new, &self.config);
        drop(left);
        breaker
    }

    /// How many keys have a breaker of their own.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.lock().entries.len()
    }

    /// Whether no key has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many breakers were forgotten because nobody used them.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.table.lock().forgotten
    }

    /// Every key that has a breaker of its own, with what that tells; in no particular order.
    ///
    /// # Cost
    /// O(keys); the lock is held for a copy of the list only.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(K, CircuitBreakerSnapshot)> {
        let all: Vec<_> =
            self.table.lock().entries.iter().map(|entry| Arc::clone(&entry.named)).collect();
        all.iter().map(|named| (named.key.clone(), named.breaker.snapshot())).collect()
    }
}

impl<K: Eq> Table<K> {
    /// The breaker of a key, unless one has to be made; and what is to be dropped after the lock.
    fn look(
        &mut self,
        hash: u64,
        key: &K,
        now: Instant,
        config: &BreakerRegistryConfig,
    ) -> (Option<CircuitBreaker>, Vec<Entry<K>>) {
        let shared = hash as usize % SHARED;
        if let Some(&at) = self.by_hash.get(&hash) {
            let entry = &mut self.entries[at];
            if entry.named.key == *key {
                entry.last_used = entry.last_used.max(now);
                return (Some(entry.named.breaker.clone()), Vec::new());
            }
            return (self.shared[shared].clone(), Vec::new());
        }
        let left = self.forget_idle(now, config);
        let is_full = self.entries.len() >= config.max_keys.get();
        (self.shared[shared].clone().filter(|_| is_full), left)
    }

    /// The breaker to use, and what is to be dropped after the lock.
    fn insert(
        &mut self,
        new: Entry<K>,
        config: &BreakerRegistryConfig,
    ) -> (CircuitBreaker, Vec<Entry<K>>) {
        // Somebody may have come in between.
        let (found, mut left) = self.look(new.hash, &new.named.key, new.last_used, config);
        if let Some(breaker) = found {
            left.push(new);
            return (breaker, left);
        }
        let breaker = new.named.breaker.clone();
        let is_full = self.entries.len() >= config.max_keys.get();
        if is_full || self.by_hash.contains_key(&new.hash) {
            self.shared[new.hash as usize % SHARED] = Some(breaker.clone());
            left.push(new);
            return (breaker, left);
        }
        self.by_hash.insert(new.hash, self.entries.len());
        self.entries.push(new);
        (breaker, left)
    }

    /// A few steps of the walk: closed ones leave on the way, and at the end of a lap that found no
    /// place one that isn't.
    fn forget_idle(&mut self, now: Instant, config: &BreakerRegistryConfig) -> Vec<Entry<K>> {
        let mut left = Vec::new();
        for _ in 0..LOOKED_AT.min(self.entries.len()) {
            if self.cursor >= self.entries.len() {
                self.cursor = 0;
            }
            let Some(entry) = self.entries.get(self.cursor) else { break };
            match entry.rest(now, config.idle_after) {
                Rest::Closed => {
                    left.push(self.forget(self.cursor));
                    self.lap.has_forgotten = true;
                    continue;
                }
                Rest::NotClosed => {
                    let (hash, since) = (entry.hash, entry.last_used);
                    let is_longer = self.lap.longest.is_none_or(|(_, longest)| since < longest);
                    if is_longer {
                        self.lap.longest = Some((hash, since));
                    }
                }
                Rest::No => {}
            }
            self.cursor += 1;
            self.lap.left = self.lap.left.saturating_sub(1);
            if self.lap.left == 0 {
                left.extend(self.end_lap(now, config));
            }
        }
        left
    }

    fn end_lap(&mut self, now: Instant, config: &BreakerRegistryConfig) -> Option<Entry<K>> {
        let new = Lap { left: self.entries.len(), ..Lap::default() };
        let lap = std::mem::replace(&mut self.lap, new);
        let is_full = self.entries.len() >= config.max_keys.get();
        let (hash, _) = lap.longest.filter(|_| is_full && !lap.has_forgotten)?;
        let at = *self.by_hash.get(&hash)?;
        // Somebody may have come back to it since.
        let is_at_rest = self.entries.get(at)?.rest(now, config.idle_after) == Rest::NotClosed;
        is_at_rest.then(|| self.forget(at))
    }

    fn forget(&mut self, at: usize) -> Entry<K> {
        let entry = self.entries.swap_remove(at);
        self.by_hash.remove(&entry.hash);
        if let Some(moved) = self.entries.get(at) {
            self.by_hash.insert(moved.hash, at);
        }
        self.forgotten += 1;
        entry
    }
}
