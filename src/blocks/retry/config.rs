//! What a retry is made from.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::time::Duration;

use super::backoff::Backoff;
use super::error::GaveUp;
use crate::ground::config_error::ConfigError;
use crate::ground::outcome::RetryClass;
use crate::ground::rng::Rng;

/// Whether doing the work twice does harm. Whoever asks for a retry has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Idempotency {
    /// Twice is as good as once: it may be repeated whatever became of the first time, and hedged.
    Idempotent,
    /// It must not be done twice: repeated only where the backend can't have seen it
    /// ([`Verdict::is_unsent`](crate::Verdict::is_unsent)), never hedged.
    AtMostOnce,
}

/// How often, how late and how long. Plain data; checked by [`Retry::new`](super::Retry::new).
///
/// With the feature `serde` it loads from any format, as every configuration does. A duration is
/// its seconds and nanoseconds, as serde writes them; what is left out has its default; an unknown
/// name is an error.
/// ```
/// # #[cfg(feature = "serde")] {
/// use headworks::retry::RetryPolicy;
/// use std::time::Duration;
///
/// let policy: RetryPolicy = serde_json::from_str(
///     r#"{
///         "max_attempts": 5,
///         "total_timeout": {"secs": 10, "nanos": 0},
///         "backoff": {"first": {"secs": 0, "nanos": 50000000}, "factor": 1.5}
///     }"#,
/// )
/// .unwrap();
/// assert_eq!(policy.total_timeout, Some(Duration::from_secs(10)));
/// assert_eq!(policy.backoff.first, Duration::from_millis(50));
/// assert_eq!(policy.max_refusals, RetryPolicy::default().max_refusals);
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The label of its metrics. Default: `"retry"`.
    pub name: Cow<'static, str>,
    /// Attempts in all, the first one included. Default: 3.
    pub max_attempts: NonZeroU32,
    /// How long to wait between them. Default: 100 ms ×2 up to 30 s, full jitter.
    pub backoff: Backoff,
    /// The longest one attempt runs; then it is dropped and counts as a failure worth a retry.
    /// Default: `None`.
    pub attempt_timeout: Option<Duration>,
    /// The longest everything takes, waits included. A wait that couldn't end before it isn't
    /// begun. Default: `None`.
    pub total_timeout: Option<Duration>,
    /// The longest wait a backend can ask for, at most 1 day. Where it asks for more there is no
    /// further attempt: before its time it would be unwelcome. Default: 30 s.
    pub retry_after_most: Duration,
    /// How many refusals of a limiter, breaker or pool on this side are waited out. They are no
    /// attempts: they count beside `max_attempts`, and cost no budget. Default: 3.
    pub max_refusals: u32,
    /// The longest that all of them together may ask for, at most 1 day; chance comes on top. Where
    /// one asks for more than is left of it there is no further attempt: who is behind an open
    /// circuit (30 s by default) learns it at once, who is early for a token or for a step of the
    /// ramp waits. Default: 1 s.
    pub refusals_wait_most: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("retry"),
            max_attempts: const { NonZeroU32::MIN.saturating_add(2) },
            backoff: Backoff::default(),
            attempt_timeout: None,
            total_timeout: None,
            retry_after_most: Duration::from_secs(30),
            max_refusals: 3,
            refusals_wait_most: Duration::from_secs(1),
        }
    }
}

impl RetryPolicy {
    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets [`max_attempts`](Self::max_attempts).
    #[must_use]
    pub fn with_max_attempts(mut self, attempts: NonZeroU32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets [`backoff`](Self::backoff).
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets [`attempt_timeout`](Self::attempt_timeout).
    #[must_use]
    pub fn with_attempt_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// Sets [`total_timeout`](Self::total_timeout).
    #[must_use]
    pub fn with_total_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.total_timeout = timeout;
        self
    }

    /// Sets [`retry_after_most`](Self::retry_after_most).
    #[must_use]
    pub fn with_retry_after_most(mut self, most: Duration) -> Self {
        self.retry_after_most = most;
        self
    }

    /// Sets [`max_refusals`](Self::max_refusals).
    #[must_use]
    pub fn with_max_refusals(mut self, refusals: u32) -> Self {
        self.max_refusals = refusals;
        self
    }

    /// Sets [`refusals_wait_most`](Self::refusals_wait_most).
    #[must_use]
    pub fn with_refusals_wait_most(mut self, most: Duration) -> Self {
        self.refusals_wait_most = most;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.backoff.check([
            "retry.backoff.first",
            "retry.backoff.factor",
            "retry.backoff.most",
        ])?;
        for (field, value) in [
            ("retry.attempt_timeout", self.attempt_timeout),
            ("retry.total_timeout", self.total_timeout),
        ] {
            let shown = format!("{:?}", value.unwrap_or_default());
            ConfigError::unless(
                value != Some(Duration::ZERO),
                field,
                shown,
                "more than 0, or `None`",
            )?;
        }
        for (field, most) in [
            ("retry.retry_after_most", self.retry_after_most),
            ("retry.refusals_wait_most", self.refusals_wait_most),
        ] {
            let day = Duration::from_secs(86_400);
            ConfigError::unless(most <= day, field, format!("{most:?}"), "at most 1 day")?;
        }
        Ok(())
    }

    /// How long to wait after the `failures`-th failed attempt, or why not.
    pub(crate) fn wait(
        &self,
        class: RetryClass,
        failures: u32,
        rng: &mut Rng,
    ) -> Result<Duration, GaveUp> {
        if failures >= self.max_attempts.get() {
            return Err(GaveUp::Attempts);
        }
        let wish = wish(class)?;
        if wish > self.retry_after_most {
            return Err(GaveUp::AskedForLonger);
        }
        Ok(self.not_before(wish, failures, rng))
    }

    /// How long to wait after the `refusals`-th refusal, or why not. `asked`: for how long those
    /// before it have asked; this one is added.
    pub(super) fn wait_out(
        &self,
        class: RetryClass,
        refusals: u32,
        asked: &mut Duration,
        rng: &mut Rng,
    ) -> Result<Duration, GaveUp> {
        let wish = wish(class)?;
        *asked = asked.saturating_add(wish);
        if refusals > self.max_refusals || *asked > self.refusals_wait_most {
            return Err(GaveUp::Refused);
        }
        Ok(self.not_before(wish, refusals, rng))
    }

    /// A wish is a lower bound. On top comes chance, up to half of it or the backoff's ceiling,
    /// whichever is longer: so that all who were told the same don't come back together, however
    /// many they are.
    pub(crate) fn not_before(&self, wish: Duration, row: u32, rng: &mut Rng) -> Duration {
        wish.saturating_add(rng.up_to(self.backoff.ceiling(row).max(wish / 2)))
    }
}

/// No sooner than that.
fn wish(class: RetryClass) -> Result<Duration, GaveUp> {
    match class {
        RetryClass::Retry => Ok(Duration::ZERO),
        RetryClass::RetryAfter(wish) => Ok(wish),
        RetryClass::Stop => Err(GaveUp::Permanent),
    }
}
