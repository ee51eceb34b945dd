//! What a limiter is made from.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::ground::config_error::ConfigError;
use crate::ground::enforcement::Enforcement;

/// How much in how long: `rate` tokens per `period`, and a bucket of `burst` tokens.
///
/// In every window of length *t* at most `burst + rate·t` tokens are admitted. Plain data; checked
/// where a limiter is made: one token every 100 ns (10⁷/s) up to one a day, and a bucket that
/// fills within 100 years.
///
/// # Examples
/// ```
/// use headworks::rate_limit::{Quota, RateLimiter};
///
/// let limiter = RateLimiter::new(Quota::per_second(20).with_burst(40))?;
/// assert!(limiter.try_acquire(40).is_ok());
/// assert!(limiter.try_acquire(1).is_err());
///
/// let error = RateLimiter::new(Quota::per_second(0)).unwrap_err();
/// assert!(error.to_string().starts_with("rate_limit.quota.rate is 0, but must be "));
/// # Ok::<(), headworks::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Quota {
    /// Tokens per `period`.
    pub rate: u32,
    /// The time in which `rate` tokens come.
    pub period: Duration,
    /// Tokens that can be taken at once after a rest; also the greatest cost.
    pub burst: u32,
}

impl Quota {
    /// `rate` tokens per `period`, and as many at once.
    #[must_use]
    pub const fn new(rate: u32, period: Duration) -> Self {
        Self { rate, period, burst: rate }
    }

    /// `rate` tokens per second, and as many at once.
    #[must_use]
    pub const fn per_second(rate: u32) -> Self {
        Self::new(rate, Duration::from_secs(1))
    }

    /// `rate` tokens per minute, and as many at once.
    #[must_use]
    pub const fn per_minute(rate: u32) -> Self {
        Self::new(rate, Duration::from_secs(60))
    }

    /// Sets [`burst`](Self::burst).
    #[must_use]
    pub const fn with_burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }
}

/// How a [`RateLimiter`](super::RateLimiter) decides. A [`Quota`] alone will do: `quota.into()`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct RateLimiterConfig {
    /// The label of its metrics. Default: `"limiter"`.
    pub name: Cow<'static, str>,
    /// How much in how long. Default: 500/s, burst 1,000.
    pub quota: Quota,
    /// How many may wait in [`acquire`](super::RateLimiter::acquire) at a time; the next is
    /// refused. At most 65,536. Default: 1,024.
    pub max_waiters: NonZeroUsize,
    /// How much of what it would refuse it refuses. Default: `Full`.
    pub enforcement: Enforcement,
}

/// How many may wait in one line. A line of a thousand is minutes at most rates.
pub(super) const WAITERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1_023);

impl Default for RateLimiterConfig {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("limiter"),
            quota: TieredQuota::GLOBAL,
            max_waiters: WAITERS,
            enforcement: Enforcement::Full,
        }
    }
}

impl From<Quota> for RateLimiterConfig {
    fn from(quota: Quota) -> Self {
        Self { quota, ..Self::default() }
    }
}

impl RateLimiterConfig {
    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets [`quota`](Self::quota).
    #[must_use]
    pub fn with_quota(mut self, quota: Quota) -> Self {
        self.quota = quota;
        self
    }

    /// Sets [`max_waiters`](Self::max_waiters).
    #[must_use]
    pub fn with_max_waiters(mut self, max: NonZeroUsize) -> Self {
        self.max_waiters = max;
        self
    }

    /// Sets [`enforcement`](Self::enforcement).
    #[must_use]
    pub fn with_enforcement(mut self, enforcement: Enforcement) -> Self {
        self.enforcement = enforcement;
        self
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let allowed = "at most 65536";
        let max = self.max_waiters;
        ConfigError::unless(max.get() <= 65_536, "rate_limit.max_waiters", max, allowed)?;
        self.enforcement.check("rate_limit.enforcement")
    }
}

/// How a [`TieredRateLimiter`](super::TieredRateLimiter) decides: one quota for all together, and
/// one for each key.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct TieredQuota {
    /// The label of its metrics. Default: `"limiter"`.
    pub name: Cow<'static, str>,
    /// All keys together. Default: 500/s, burst 1,000.
    pub global: Quota,
    /// Each key. Default: 20/s, burst 40.
    pub per_key: Quota,
    /// Keys remembered at a time, at most 2³¹. When all of them are in use, further keys share
    /// 1,024 buckets by hash. One that is remembered takes at most 72 bytes and twice its own size,
    /// beside what it holds on the heap. Default: 100,000.
    pub max_keys: NonZeroUsize,
    /// How long a key whose bucket is full again may stay remembered while there is room. Default:
    /// 1 h.
    pub idle_key: Duration,
    /// How much of what it would refuse it refuses. Default: `Full`.
    pub enforcement: Enforcement,
}

impl Default for TieredQuota {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("limiter"),
            global: Self::GLOBAL,
            per_key: Quota::per_second(20).with_burst(40),
            max_keys: const { NonZeroUsize::MIN.saturating_add(99_999) },
            idle_key: Duration::from_secs(3_600),
            enforcement: Enforcement::Full,
        }
    }
}

impl TieredQuota {
    const GLOBAL: Quota = Quota::per_second(500).with_burst(1_000);

    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets [`global`](Self::global).
    #[must_use]
    pub fn with_global(mut self, quota: Quota) -> Self {
        self.global = quota;
        self
    }

    /// Sets [`per_key`](Self::per_key).
    #[must_use]
    pub fn with_per_key(mut self, quota: Quota) -> Self {
        self.per_key = quota;
        self
    }

    /// Sets [`max_keys`](Self::max_keys).
    #[must_use]
    pub fn with_max_keys(mut self, max: NonZeroUsize) -> Self {
        self.max_keys = max;
        self
    }

    /// Sets [`idle_key`](Self::idle_key).
    #[must_use]
    pub fn with_idle_key(mut self, idle: Duration) -> Self {
        self.idle_key = idle;
        self
    }

    /// Sets [`enforcement`](Self::enforcement).
    #[must_use]
    pub fn with_enforcement(mut self, enforcement: Enforcement) -> Self {
        self.enforcement = enforcement;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let allowed = "at most 2147483648";
        let max = self.max_keys;
        ConfigError::unless(max.get() <= 1 << 31, "rate_limit.max_keys", max, allowed)?;
        self.enforcement.check("rate_limit.enforcement")
    }
}
