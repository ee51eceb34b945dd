//! Loading in the caller's own future.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use super::entry::Entry;
use super::error::LoadError;
use super::flight::Boarding;
use super::metrics::Loading;

/// What [`Cache::get_or_lead`](super::Cache::get_or_lead) found.
#[derive(Debug)]
#[must_use]
pub enum Lookup<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// It was there, or another one has loaded it; or failed to.
    Known(Result<V, LoadError>),
    /// It is for the caller to load.
    Lead(Lead<K, V>),
}

/// The right, and the duty, to load a key for all who wait for it. Dropped, the next one of them
/// has it.
#[must_use = "dropped, another one has to load it"]
pub struct Lead<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    flight: Boarding<K, V>,
    loading: Loading,
    stale: Option<Arc<Entry<V>>>,
}

impl<K, V> Lead<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(flight: Boarding<K, V>, stale: Option<Arc<Entry<V>>>) -> Self {
        let loading = flight.table.metrics.begin();
        Self { flight, loading, stale }
    }

    /// The stale value ([`CacheConfig::stale_for`](super::CacheConfig::stale_for)) that is to be
    /// renewed, if there is one: for a caller that can't load it now, and would rather have an old
    /// one than none. It stays for the others, whatever the load comes to.
    #[must_use]
    pub fn stale(&self) -> Option<V> {
        self.stale.as_ref().and_then(|stale| stale.get().ok())
    }

    /// It is loaded: kept, and given to all who wait.
    pub fn finish(self, value: V) {
        self.end(Ok(value));
    }

    /// It can't be loaded: all who wait are told so.
    pub fn fail(self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> LoadError {
        let error = LoadError::new(error);
        self.end(Err(error.clone()));
        error
    }

    fn end(self, result: Result<V, LoadError>) {
        let Self { mut flight, loading, stale } = self;
        let now = loading.end(result.is_ok());
        // For those who wait: this one has it.
        let _ = flight.finish(result, now);
        drop(stale);
    }
}

impl<K, V> fmt::Debug for Lead<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead").finish_non_exhaustive()
    }
}
