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
/// fills within 30 years.
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
/// assert!(error.to_string().starts_with("rate_limit.quota.rate is 0 per 1s, but "));
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

/// From where the threads that use one [`RateLimiter`](super::RateLimiter) take its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Tokens {
    /// All from one bucket: every token that is there is there for everybody.
    #[default]
    Shared,
    /// Each thread from a lease of a few tokens, taken from the bucket ahead: threads rarely meet,
    /// and most calls need no look at the clock.
    ///
    /// For a burst of at least 128. A quarter of it, or 512 tokens if that is less, is set aside for
    /// the leases, so that the bound of the module still holds; what is left is the greatest cost,
    /// and all that can be counted on at once. Nobody is refused while tokens lie in leases: they
    /// are recalled first. With [`try_acquire_at`](super::RateLimiter::try_acquire_at) the bound
    /// holds in the order of the calls, not of the times passed.
    Leased,
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
    /// The longest that anybody waits in `acquire`; who would wait longer even with nobody before
    /// it is refused at once. Default: `None`, for as long as it takes.
    pub max_wait: Option<Duration>,
    /// From where threads take tokens. Default: `Shared`.
    pub tokens: Tokens,
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
            max_wait: None,
            tokens: Tokens::Shared,
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

    /// Sets [`tokens`](Self::tokens).
    #[must_use]
    pub fn with_tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = tokens;
        self
    }

    /// Sets [`max_waiters`](Self::max_waiters).
    #[must_use]
    pub fn with_max_waiters(mut self, max: NonZeroUsize) -> Self {
        self.max_waiters = max;
        self
    }

    /// Sets [`max_wait`](Self::max_wait).
    #[must_use]
    pub fn with_max_wait(mut self, max: impl Into<Option<Duration>>) -> Self {
        self.max_wait = max.into();
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
    /// 1,024 buckets by hash (4,096 if they are millions). One that is remembered takes at most 72
    /// bytes and twice its own size, beside what it holds on the heap; one with a quota of its own
    /// at most 72 more. Default: 100,000.
    pub max_keys: NonZeroUsize,
    /// How long a key whose bucket is full again may stay remembered while there is room. Default:
    /// 1 h.
    pub idle_key: Duration,
    /// The longest that anybody waits in `acquire`; who would wait longer even with nobody before
    /// it is refused at once. Default: `None`, for as long as it takes.
    pub max_wait: Option<Duration>,
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
            max_wait: None,
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

    /// Sets [`max_wait`](Self::max_wait).
    #[must_use]
    pub fn with_max_wait(mut self, max: impl Into<Option<Duration>>) -> Self {
        self.max_wait = max.into();
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
