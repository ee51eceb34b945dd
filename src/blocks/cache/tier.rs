//! A second tier: what several processes share, and what outlives them.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::metrics::Metrics;
use crate::ground::quiet::{caught, drop_quietly};
use crate::ground::time;

/// A store of bytes by name behind the cache: Redis, a file, [`MemoryTier`](super::MemoryTier) in tests.
///
/// It is asked when a load begins, before the load, and told what the load gave. It may fail and be
/// slow: each call is dropped after [`SecondTierConfig::timeout`], and no load fails by it. A store
/// that is often down should refuse at once by itself, with a breaker of its own: else each load
/// takes twice that time longer.
#[async_trait]
pub trait SecondTier: Send + Sync + 'static {
    /// What lies there under this name.
    ///
    /// # Errors
    /// The store could not be asked.
    ///
    /// # Cancel safety
    /// It is dropped at any await point.
    async fn get(&self, name: &str) -> Result<Option<Stored>, TierError>;

    /// Puts it; for ever where `ttl` is `None`.
    ///
    /// # Errors
    /// It is not known to be there.
    ///
    /// # Cancel safety
    /// It is dropped at any await point: both may be the case then.
    async fn set(&self, name: &str, bytes: Bytes, ttl: Option<Duration>) -> Result<(), TierError>;

    /// Removes it, if it is there.
    ///
    /// # Errors
    /// It is not known to be gone.
    ///
    /// # Cancel safety
    /// It is dropped at any await point: both may be the case then.
    async fn delete(&self, name: &str) -> Result<(), TierError>;
}

/// What a second tier has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// As they were put.
    pub bytes: Bytes,
    /// How long it will still lie there; `None` where that is not known or for ever.
    pub ttl: Option<Duration>,
}

/// Why a second tier could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TierError {
    /// It took longer than [`SecondTierConfig::timeout`].
    #[error("the second tier took too long")]
    TimedOut,
    /// It failed.
    #[error("the second tier failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl TierError {
    /// It failed so.
    pub fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(source.into())
    }
}

/// How keys and values are written in a second tier.
pub trait Codec<K, V>: Send + Sync + 'static {
    /// The name of a key, the same in all processes, and of no other cache in the same store.
    fn name(&self, key: &K) -> String;

    /// The value as bytes; `None` where it is not to be written.
    fn encode(&self, value: &V) -> Option<Bytes>;

    /// The value again; `None` where it is not one, as of an older version. Then it is loaded.
    fn decode(&self, bytes: Bytes) -> Option<V>;
}

/// How a second tier is used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct SecondTierConfig {
    /// The longest one call may take. Default: 50 ms.
    pub timeout: Duration,
    /// How long values lie there. `None`: for ever. Default: 1 h.
    pub ttl: Option<Duration>,
}

impl Default for SecondTierConfig {
    fn default() -> Self {
        Self { timeout: Duration::from_millis(50), ttl: Some(Duration::from_secs(3600)) }
    }
}

impl SecondTierConfig {
    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets [`ttl`](Self::ttl).
    #[must_use]
    pub fn with_ttl(self, ttl: Option<Duration>) -> Self {
        Self { ttl, ..self }
    }
}

/// The second tier as a cache uses it.
pub(super) struct Second<K, V> {
    pub(super) tier: Arc<dyn SecondTier>,
    pub(super) codec: Box<dyn Codec<K, V>>,
    pub(super) config: SecondTierConfig,
}

impl<K: 'static, V: 'static> Second<K, V> {
    /// What it has; a failure is nothing, and counted.
    pub(super) async fn get(&self, key: &K, metrics: &Metrics) -> Option<(V, Option<Duration>)> {
        let asked = async {
            let found = self.timed(self.tier.get(&self.codec.name(key))).await?;
            let value = |stored: Stored| Some((self.codec.decode(stored.bytes)?, stored.ttl));
            Ok::<_, TierError>(found.and_then(value))
        };
        // What it does not know how to read is there for nobody, also where the codec panics.
        let found = match caught(asked).await {
            Ok(Ok(found)) => found,
            failed => {
                drop_quietly(failed.err());
                metrics.tier_errors.add(1);
                return None;
            }
        };
        let counter = if found.is_some() { &metrics.tier_hits } else { &metrics.tier_misses };
        counter.add(1);
        found
    }

    /// Writes it; a failure is counted.
    pub(super) async fn set(&self, key: &K, value: &V, metrics: &Metrics) -> Result<(), TierError> {
        let asked = async {
            let Some(bytes) = self.codec.encode(value) else { return Ok(()) };
            let name = self.codec.name(key);
            self.timed(self.tier.set(&name, bytes, self.config.ttl)).await
        };
        told(caught(asked).await, metrics)
    }

    /// Removes it; a failure is counted.
    pub(super) async fn delete(&self, key: &K, metrics: &Metrics) -> Result<(), TierError> {
        let asked = async { self.timed(self.tier.delete(&self.codec.name(key))).await };
        told(caught(asked).await, metrics)
    }

    async fn timed<T>(
        &self,
        call: impl Future<Output = Result<T, TierError>>,
    ) -> Result<T, TierError> {
        let until = time::later(time::now(), self.config.timeout);
        time::until(until, call).await.unwrap_or(Err(TierError::TimedOut))
    }
}

/// Counts a failure; a panic is one.
fn told(
    ended: Result<Result<(), TierError>, Box<dyn Any + Send>>,
    metrics: &Metrics,
) -> Result<(), TierError> {
    let ended = ended.unwrap_or_else(|panic| {
        drop_quietly(panic);
        Err(TierError::failed("it panicked"))
    });
    ended.inspect_err(|_| metrics.tier_errors.add(1))
}

impl<K, V> fmt::Debug for Second<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Second").field("config", &self.config).finish_non_exhaustive()
    }
}
