//! What of a cache is not plain data.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::cache::Cache;
use super::config::CacheConfig;
use super::error::LoadError;
use super::renewals::Renewals;
use super::table::{Negative, Parts, Table, Weigher};
use super::tier::{Codec, Second, SecondTier, SecondTierConfig};
use crate::ConfigError;
use crate::ground::rng::Rng;

/// Makes a [`Cache`] with more than its [`CacheConfig`].
pub struct CacheBuilder<K, V> {
    config: CacheConfig,
    parts: Parts<K, V>,
}

impl<K, V> CacheBuilder<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(config: CacheConfig) -> Self {
        let rng = Rng::from_entropy();
        let parts = Parts { weigher: None, negative: None, second: None, rng };
        Self { config, parts }
    }

    /// What an entry weighs; at least 1. Asked once for each value, under no lock.
    /// [`CacheConfig::capacity`] is in the same unit, for example in bytes, and
    /// [`CacheConfig::expected_entries`] should be told then. Default: 1 each.
    #[must_use]
    pub fn weigher(mut self, weigh: impl Fn(&K, &V) -> u64 + Send + Sync + 'static) -> Self {
        self.parts.weigher = Some(Weigher::<K, V>::from(Box::new(weigh) as Box<_>));
        self
    }

    /// How long an error is remembered, and told without a load; never longer than a value, and
    /// never in the place of a stale value. `None`: not at all. Default: no error is.
    #[must_use]
    pub fn negative(
        mut self,
        worth: impl Fn(&LoadError) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.parts.negative = Some(Negative::from(Box::new(worth) as Box<_>));
        self
    }

    /// A store behind the cache, and how keys and values are written in it.
    ///
    /// A load asks it first. What it does not have is loaded, and written to it before those who
    /// wait have it. It is not asked for what was found stale without being renewed, and not told
    /// of `set` and `remove`, only of [`store`](Cache::store) and [`invalidate`](Cache::invalidate).
    /// [`Cache::get_or_lead`] does not use it.
    ///
    /// What comes from it is fresh here for as long as it still lies there, at most for
    /// [`ttl`](CacheConfig::ttl): so a value is never older in all than the longer of the two. Errors
    /// are not written to it. It may be slow, fail, panic, or have what can't be read: each is counted
    /// ([`CacheSnapshot::tier_errors`](super::CacheSnapshot::tier_errors)) and is as if it had nothing.
    /// Whoever removes a value for good calls `invalidate`, and other processes go on with what they
    /// have until it is no longer fresh there: keep `ttl` as short as that may take.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use bytes::Bytes;
    /// use headworks::cache::{Cache, CacheConfig, Codec, MemoryTier, SecondTierConfig};
    ///
    /// /// Numbers, under the names of their keys, with what tells this cache from others.
    /// struct Numbers;
    ///
    /// impl Codec<String, u64> for Numbers {
    ///     fn name(&self, key: &String) -> String {
    ///         format!("numbers/1/{key}")
    ///     }
    ///
    ///     fn encode(&self, number: &u64) -> Option<Bytes> {
    ///         Some(number.to_string().into())
    ///     }
    ///
    ///     fn decode(&self, bytes: Bytes) -> Option<u64> {
    ///         std::str::from_utf8(&bytes).ok()?.parse().ok()
    ///     }
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tier = Arc::new(MemoryTier::new(1_000));
    /// let process = || {
    ///     let second = (SecondTierConfig::default(), tier.clone(), Numbers);
    ///     Cache::<String, u64>::builder(CacheConfig::default())
    ///         .second_tier(second.0, second.1, second.2)
    ///         .build()
    /// };
    /// let (one, other) = (process()?, process()?);
    /// let load = || async { Ok::<_, std::io::Error>(42) };
    /// assert_eq!(one.get_or_load("answer", load).await?, 42);
    /// let never = || async { Err(std::io::Error::other("it was there")) };
    /// assert_eq!(other.get_or_load("answer", never).await?, 42);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn second_tier(
        mut self,
        config: SecondTierConfig,
        tier: Arc<dyn SecondTier>,
        codec: impl Codec<K, V>,
    ) -> Self {
        self.parts.second = Some(Second { tier, codec: Box::new(codec), config });
        self
    }

    /// All jitter comes from this number, so that a test can be replayed.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.parts.rng = Rng::seeded(seed);
        self
    }

    /// Checks the configuration.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] names the field, what it is and what it may be.
    pub fn build(self) -> Result<Cache<K, V>, ConfigError> {
        if let Some(second) = &self.parts.second {
            let timeout = second.config.timeout;
            let field = "cache.second_tier.timeout";
            ConfigError::unless(!timeout.is_zero(), field, "0ns", "more than 0")?;
        }
        let renewals = Arc::new(Renewals::new(self.config.revalidations));
        Ok(Cache { table: Arc::new(Table::new(self.config, self.parts)?), renewals })
    }
}

impl<K, V> fmt::Debug for CacheBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
