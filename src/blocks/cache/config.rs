//! What a cache is made from.

use std::borrow::Cow;
use std::time::Duration;

use crate::ground::config_error::ConfigError;

/// How much, how long, and how many loads at once. Plain data; checked by
/// [`Cache::new`](super::Cache::new).
///
/// ```
/// use std::time::Duration;
///
/// use headworks::cache::CacheConfig;
///
/// let config = CacheConfig::default().with_capacity(100).with_stale_for(Duration::from_secs(60));
/// assert_eq!(config.ttl, Some(Duration::from_secs(300)));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct CacheConfig {
    /// Label in metrics. Default: `"cache"`.
    pub name: Cow<'static, str>,
    /// What all entries may weigh together: their number, unless there is a
    /// [`weigher`](super::CacheBuilder::weigher). Rounded up to a multiple of the shards. Default:
    /// 10,000.
    pub capacity: u64,
    /// How many entries are expected, roughly: to be told where they are weighed. Default: 10,000.
    pub expected_entries: usize,
    /// Parts with a lock each; the next power of two, and fewer where one would hold less than 32
    /// of the expected entries. What weighs more than 0.97 of a part (`capacity / shards`) is given
    /// out but not kept. Default: 8.
    pub shards: usize,
    /// How long a value is fresh. `None`: until it is evicted or removed. Default: 5 min.
    pub ttl: Option<Duration>,
    /// How long a value is kept that nobody looks at, in addition to `ttl`; told to a sixteenth,
    /// early rather than late. Default: `None`, as long as `ttl` says.
    pub idle: Option<Duration>,
    /// Chance shortens each value's `ttl` by up to this share, in `0.0..=1.0`, so that what was
    /// loaded together is not loaded together again. Default: 0.1.
    pub jitter_ratio: f64,
    /// How long after its `ttl` a value is still given out, while one load renews it in the
    /// background; also when that load fails. Zero: whoever comes after the `ttl` waits. Default: 0.
    pub stale_for: Duration,
    /// Loads at once that renew stale values. Beyond, a stale value is given out unrenewed. One that
    /// takes longer than a minute is given up.
    /// Default: 64.
    pub revalidations: usize,
    /// The time between two such loads of one key, should the first fail. Default: 1 s.
    pub revalidate_pause: Duration,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("cache"),
            capacity: 10_000,
            expected_entries: 10_000,
            shards: 8,
            ttl: Some(Duration::from_secs(300)),
            idle: None,
            jitter_ratio: 0.1,
            stale_for: Duration::ZERO,
            revalidations: 64,
            revalidate_pause: Duration::from_secs(1),
        }
    }
}

impl CacheConfig {
    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(self, name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Sets [`capacity`](Self::capacity).
    #[must_use]
    pub fn with_capacity(self, capacity: u64) -> Self {
        Self { capacity, ..self }
    }

    /// Sets [`expected_entries`](Self::expected_entries).
    #[must_use]
    pub fn with_expected_entries(self, expected_entries: usize) -> Self {
        Self { expected_entries, ..self }
    }

    /// Sets [`shards`](Self::shards).
    #[must_use]
    pub fn with_shards(self, shards: usize) -> Self {
        Self { shards, ..self }
    }

    /// Sets [`ttl`](Self::ttl).
    #[must_use]
    pub fn with_ttl(self, ttl: Option<Duration>) -> Self {
        Self { ttl, ..self }
    }

    /// Sets [`idle`](Self::idle).
    #[must_use]
    pub fn with_idle(self, idle: Option<Duration>) -> Self {
        Self { idle, ..self }
    }

    /// Sets [`jitter_ratio`](Self::jitter_ratio).
    #[must_use]
    pub fn with_jitter_ratio(self, jitter_ratio: f64) -> Self {
        Self { jitter_ratio, ..self }
    }

    /// Sets [`stale_for`](Self::stale_for).
    #[must_use]
    pub fn with_stale_for(self, stale_for: Duration) -> Self {
        Self { stale_for, ..self }
    }

    /// Sets [`revalidations`](Self::revalidations).
    #[must_use]
    pub fn with_revalidations(self, revalidations: usize) -> Self {
        Self { revalidations, ..self }
    }

    /// Sets [`revalidate_pause`](Self::revalidate_pause).
    #[must_use]
    pub fn with_revalidate_pause(self, revalidate_pause: Duration) -> Self {
        Self { revalidate_pause, ..self }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        // So that no sum of weights overflows in the library.
        ConfigError::unless(
            (1..=1 << 56).contains(&self.capacity),
            "cache.capacity",
            self.capacity,
            "1..=2^56",
        )?;
        ConfigError::unless(
            (1..=1 << 24).contains(&self.expected_entries),
            "cache.expected_entries",
            self.expected_entries,
            "1..=16777216",
        )?;
        let shards = (1..=1024).contains(&self.shards);
        ConfigError::unless(shards, "cache.shards", self.shards, "1..=1024")?;
        for (time, field) in [(self.ttl, "cache.ttl"), (self.idle, "cache.idle")] {
            let ok = time.is_none_or(|time| !time.is_zero());
            ConfigError::unless(ok, field, "0ns", "more than 0, or `None`")?;
        }
        ConfigError::unless(
            (0.0..=1.0).contains(&self.jitter_ratio),
            "cache.jitter_ratio",
            self.jitter_ratio,
            "0.0..=1.0",
        )?;
        ConfigError::unless(
            self.revalidations <= 1 << 16,
            "cache.revalidations",
            self.revalidations,
            "at most 65536",
        )
    }
}
