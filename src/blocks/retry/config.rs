//! What a retry is made from.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::time::Duration;

use super::backoff::Backoff;
use crate::ground::config_error::ConfigError;
use crate::ground::outcome::RetryClass;
use crate::ground::rng::Rng;

/// How often, how late and how long. Plain data; checked by [`Retry::new`](super::Retry::new).
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
    /// The longest wait a backend can ask for, at most 1 day. Default: 30 s.
    pub retry_after_most: Duration,
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
        ConfigError::unless(
            self.retry_after_most <= Duration::from_secs(86_400),
            "retry.retry_after_most",
            format!("{:?}", self.retry_after_most),
            "at most 1 day",
        )
    }

    /// How long to wait after the `failures`-th failed attempt; `None`: give up.
    ///
    /// A backend's own wish is a lower bound, up to the cap; the backoff's jitter goes on top, so
    /// that all who were told the same don't come back together.
    pub(crate) fn wait(&self, class: RetryClass, failures: u32, rng: &mut Rng) -> Option<Duration> {
        if failures >= self.max_attempts.get() {
            return None;
        }
        let jitter = self.backoff.delay(failures, rng);
        match class {
            RetryClass::Retry => Some(jitter),
            RetryClass::RetryAfter(wish) => Some(wish.min(self.retry_after_most) + jitter),
            RetryClass::Stop => None,
        }
    }
}
