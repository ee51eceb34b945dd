//! The handle.

use std::borrow::Borrow;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::builder::CacheBuilder;
use super::config::CacheConfig;
use super::entry::Entry;
use super::error::LoadError;
use super::flight::{Boarded, Boarding};
use super::lead::{Lead, Lookup};
use super::metrics::CacheSnapshot;
use super::renewals::{Begun, Renewals};
use super::table::{Look, Table};
use super::tier::TierError;
use crate::ConfigError;
use crate::ground::joint::Turn;
use crate::ground::time::{self, Glance, Instant, Now};

/// One who waits, its load, and what it may be told if that fails.
struct Waits<K: Hash + Eq, V, F> {
    flight: Boarding<K, V>,
    load: F,
    stale: Option<Arc<Entry<V>>>,
}

/// How long a renewal may take.
const RENEWAL: Duration = Duration::from_secs(60);

/// Values by key, loaded once for all who want them.
///
/// Clones share everything; the last one's drop ends the loads that renew stale values. A key is
/// given as whatever it [borrows](Borrow) as: a `String` as a `&str`. Values are cloned out: large
/// ones belong in an `Arc`.
///
/// ```
/// use headworks::cache::{Cache, CacheConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let lengths: Cache<String, usize> = Cache::new(CacheConfig::default())?;
/// let load = || async { Ok::<_, std::io::Error>("default/web".len()) };
/// let (one, other) = tokio::join!(
///     lengths.get_or_load("default/web", load),
///     lengths.get_or_load("default/web", load),
/// );
/// assert_eq!((one?, other?), (11, 11));
/// assert_eq!(lengths.get("default/web"), Some(11));
/// assert_eq!(lengths.snapshot().loaded, 1);
/// # Ok(())
/// # }
/// ```
pub struct Cache<K, V> {
    pub(super) table: Arc<Table<K, V>>,
    pub(super) renewals: Arc<Renewals>,
}

impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self { table: Arc::clone(&self.table), renewals: Arc::clone(&self.renewals) }
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("config", &self.table.config).finish_non_exhaustive()
    }
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A cache that weighs each entry as 1 and remembers no errors.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] names the field, what it is and what it may be.
    pub fn new(config: CacheConfig) -> Result<Self, ConfigError> {
        Self::builder(config).build()
    }

    /// For a cache that weighs its entries, remembers errors, or has a second tier.
    #[must_use]
    pub fn builder(config: CacheConfig) -> CacheBuilder<K, V> {
        CacheBuilder::new(config)
    }

    /// The value, if it is there, stale or not. A remembered error is `None`.
    ///
    /// # Cost
    /// One look-up under a shared lock, one clone; a look at the clock where values expire.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.get_at(key, &Glance::default())
    }

    pub(super) fn get_at<Q>(&self, key: &Q, now: impl Now) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        match self.table.look(key, now) {
            Look::Fresh(entry) => self.hit(&entry).ok(),
            Look::Stale(entry) => self.stale_hit(&entry).ok(),
            Look::Absent => {
                self.table.metrics.misses.add(1);
                None
            }
        }
    }

    /// [`get`](Self::get) for each, in their order, at one time.
    pub fn get_many<'a, Q>(&self, keys: impl IntoIterator<Item = &'a Q>) -> Vec<Option<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized + 'a,
    {
        let now = Glance::default();
        keys.into_iter().map(|key| self.get_at(key, &now)).collect()
    }

    /// Puts a value, in the place of the one there, if any. A load of this key that is under way is
    /// given to those who wait for it and not kept: it may be older.
    ///
    /// # Cost
    /// Two locks, one allocation, and what is evicted.
    pub fn set(&self, key: K, value: V) {
        self.set_at(key, value, time::now());
    }

    pub(super) fn set_at(&self, key: K, value: V, now: Instant) {
        let entry = self.table.value(&key, value, None, now);
        self.table.put([(key, entry)]);
    }

    /// [`set`](Self::set) for each, at one time.
    pub fn set_many(&self, all: impl IntoIterator<Item = (K, V)>) {
        self.set_many_at(all, time::now());
    }

    pub(super) fn set_many_at(&self, all: impl IntoIterator<Item = (K, V)>, now: Instant) {
        self.table.put(all.into_iter().map(|(key, value)| {
            let entry = self.table.value(&key, value, None, now);
            (key, entry)
        }));
    }

    /// Removes what is there; whether there was something. A load of this key that is under way is
    /// given to those who wait for it and not kept.
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.table.remove(key)
    }

    /// [`set`](Self::set), in the second tier as well. Here it is done whatever happens there.
    ///
    /// # Errors
    /// [`TierError`]: it is not known to be in the second tier. Other processes may have an older one.
    ///
    /// # Cancel safety
    /// It is set here at the first poll; in the second tier it may be or not.
    pub async fn store(&self, key: K, value: V) -> Result<(), TierError> {
        self.set(key.clone(), value.clone());
        match &self.table.second {
            Some(second) => second.set(&key, &value, &self.table.metrics).await,
            None => Ok(()),
        }
    }

    /// [`remove`](Self::remove), from the second tier as well, and once more here behind that: a
    /// load may have found it there meanwhile. What other processes keep by themselves they keep
    /// for its time.
    ///
    /// # Errors
    /// [`TierError`]: it is not known to be gone from the second tier. Repeat it.
    ///
    /// # Cancel safety
    /// It is removed here at the first poll; in the second tier it may be or not.
    pub async fn invalidate(&self, key: &K) -> Result<(), TierError> {
        self.remove(key);
        let Some(second) = &self.table.second else { return Ok(()) };
        let deleted = second.delete(key, &self.table.metrics).await;
        self.remove(key);
        deleted
    }

    /// Removes everything here, as [`remove`](Self::remove) does. What is put meanwhile may stay or not.
    pub fn clear(&self) {
        self.table.clear();
    }

    /// The value: the one there, or what `load` gives; everybody who wants this key meanwhile waits
    /// for the same load.
    ///
    /// The load is driven by those who wait for it, there is no task. It goes on when the one who
    /// brought it leaves, and is dropped with the last. When it panics, the one who brought it
    /// panics, and another one's `load` is called. An error is given to all who wait.
    ///
    /// A stale value ([`CacheConfig::stale_for`]) is given out at once; the first to find it renews
    /// it in a task of the cache, with its `load`. Outside of a tokio runtime it waits instead, and has
    /// the stale value if the load fails.
    ///
    /// With a [second tier](CacheBuilder::second_tier) `load` is called, but its future is polled only
    /// if that has nothing.
    ///
    /// A load that asks the same cache for the same key waits for itself, for ever.
    ///
    /// # Errors
    /// [`LoadError`]: what the load failed with, now or, if such errors are
    /// [remembered](CacheBuilder::negative), earlier.
    ///
    /// # Cancel safety
    /// Nothing is lost: the load goes on if somebody else waits for it.
    ///
    /// # Cost
    /// A hit as [`get`](Self::get). A miss: two locks, and some allocations beside the load's. Each
    /// wake-up of a load wakes all who wait for it.
    pub async fn get_or_load<Q, E, F, Fut>(&self, key: &Q, load: F) -> Result<V, LoadError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        let Waits { mut flight, load, stale } = match self.find(key, load) {
            Ok(known) => return known,
            Err(waits) => waits,
        };
        let loaded = loop {
            match flight.turn().await {
                Turn::Done(loaded) => break loaded,
                Turn::Lead if flight.is_current() => break flight.lead(load()).await,
                // What it waited for was overtaken by a `set` or `remove`.
                Turn::Lead => match self.wait(key, time::now()) {
                    Ok(known) => return known,
                    Err(newer) => flight = newer,
                },
            }
        };
        match (loaded, stale) {
            (Err(_), Some(stale)) => stale.get(),
            (loaded, _) => loaded.and_then(|entry| entry.get()),
        }
    }

    /// What is there, or the place of one who waits, and its load back.
    fn find<Q, E, F, Fut>(
        &self,
        key: &Q,
        mut load: F,
    ) -> Result<Result<V, LoadError>, Waits<K, V, F>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        let now = Glance::default();
        let mut stale = None;
        match self.table.look(key, &now) {
            Look::Fresh(entry) => return Ok(self.hit(&entry)),
            Look::Stale(entry) => match self.renew(key, &entry, load, (&now).get()) {
                None => return Ok(self.stale_hit(&entry)),
                Some(back) => (load, stale) = (back, Some(entry)),
            },
            Look::Absent => {}
        }
        self.wait(key, (&now).get()).map_err(|flight| Waits { flight, load, stale })
    }

    fn wait<Q>(&self, key: &Q, now: Instant) -> Result<Result<V, LoadError>, Boarding<K, V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let metrics = &self.table.metrics;
        let flight = match self.table.board(key, now) {
            Boarded::Found(entry) => return Ok(self.hit(&entry)),
            Boarded::First(flight) => flight,
            Boarded::Joined(flight) => {
                metrics.joined.add(1);
                flight
            }
        };
        metrics.misses.add(1);
        Err(flight)
    }

    /// Sees to it that a stale value is renewed. Gives `load` back where nobody could.
    fn renew<Q, E, F, Fut>(&self, key: &Q, stale: &Entry<V>, load: F, now: Instant) -> Option<F>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        let mut load = Some(load);
        let begun = self.renewals.begin(|| {
            if !self.may_renew(stale, now) {
                return None;
            }
            let Boarded::First(mut flight) = self.table.board(key, now) else { return None };
            let load = load.take()?();
            Some(async move {
                let renewed = async {
                    if let Turn::Lead = flight.turn().await {
                        // Its end is counted; whoever waits for it has been told.
                        let _ = flight.lead(load).await;
                    }
                };
                // Whoever waits for it goes on by himself then.
                let _ = time::until(time::later(now, RENEWAL), renewed).await;
            })
        });
        match begun {
            Begun::Yes => None,
            Begun::Full => {
                self.table.metrics.renewals_skipped.add(1);
                None
            }
            Begun::Nowhere => load,
        }
    }

    /// For loads that can't outlive the caller, or shouldn't: what is there, or what another one is
    /// loading, or the right to load it in the caller's own future. Who is cancelled drops its
    /// [`Lead`], and the next of those who wait has it.
    ///
    /// There is no renewal in the background: of those who find a stale value the first leads
    /// ([`Lead::stale`] is what it found), and the others are given the stale value meanwhile; also,
    /// should it fail, for [`revalidate_pause`](CacheConfig::revalidate_pause).
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn get_or_lead<Q>(&self, key: &Q) -> Lookup<K, V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let Waits { mut flight, stale, .. } = match self.find_or_lead(key) {
            Ok(known) => return Lookup::Known(known),
            Err(waits) => waits,
        };
        loop {
            match flight.turn().await {
                Turn::Done(loaded) => return Lookup::Known(loaded.and_then(|entry| entry.get())),
                Turn::Lead if flight.is_current() => {
                    return Lookup::Lead(Lead::new(flight, stale));
                }
                Turn::Lead => match self.wait(key, time::now()) {
                    Ok(known) => return Lookup::Known(known),
                    Err(newer) => flight = newer,
                },
            }
        }
    }

    fn find_or_lead<Q>(&self, key: &Q) -> Result<Result<V, LoadError>, Waits<K, V, ()>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now = Glance::default();
        match self.table.look(key, &now) {
            Look::Fresh(entry) => Ok(self.hit(&entry)),
            Look::Stale(entry) if !self.may_renew(&entry, (&now).get()) => {
                Ok(self.stale_hit(&entry))
            }
            Look::Stale(entry) => match self.table.board(key, (&now).get()) {
                Boarded::Found(fresh) => Ok(self.hit(&fresh)),
                Boarded::Joined(_) => Ok(self.stale_hit(&entry)),
                Boarded::First(flight) => {
                    self.table.metrics.misses.add(1);
                    Err(Waits { flight, load: (), stale: Some(entry) })
                }
            },
            Look::Absent => self.wait(key, (&now).get()).map_err(|flight| Waits {
                flight,
                load: (),
                stale: None,
            }),
        }
    }

    fn may_renew(&self, stale: &Entry<V>, now: Instant) -> bool {
        stale.may_renew(self.table.config.revalidate_pause, now)
    }

    fn hit(&self, entry: &Entry<V>) -> Result<V, LoadError> {
        match entry.is_error() {
            false => _ = self.table.metrics.hits.add(),
            true => self.table.metrics.negative_hits.add(1),
        }
        entry.get()
    }

    fn stale_hit(&self, entry: &Entry<V>) -> Result<V, LoadError> {
        self.table.metrics.stale_hits.add(1);
        entry.get()
    }

    /// Begins no more renewals, and waits for those under way; what takes longer than `within` is
    /// ended. How many those were. The cache can be used as before, but that stale values are given
    /// out unrenewed.
    ///
    /// # Cancel safety
    /// Dropped, it ends all of them at once.
    pub async fn shutdown(&self, within: Duration) -> usize {
        self.renewals.shutdown(within).await
    }

    /// Its numbers. The label that tells caches apart is [`CacheConfig::name`].
    #[must_use]
    pub fn snapshot(&self) -> CacheSnapshot {
        self.table.snapshot()
    }
}
