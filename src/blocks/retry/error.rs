//! How a retried operation fails.

use std::fmt;
use std::time::Duration;

use crate::ground::outcome::{Classify, RetryClass, Verdict};

/// How one attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttemptError<E> {
    /// With its own error.
    #[error("the attempt failed")]
    Inner(#[source] E),
    /// It was dropped at `attempt_timeout` or `total_timeout`.
    #[error("the attempt timed out")]
    TimedOut,
}

/// Why no further attempt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GaveUp {
    /// Its result was judged [`RetryClass::Stop`](super::RetryClass::Stop).
    #[error("the error is permanent")]
    Permanent,
    /// The backend may have seen it, and it must not be done twice
    /// ([`Idempotency::AtMostOnce`](super::Idempotency::AtMostOnce)).
    #[error("it may have been done, and must not be done twice")]
    AtMostOnce,
    /// A limiter, breaker or pool on this side refused it: too often, or for longer than waiting
    /// makes sense.
    #[error("refused on this side")]
    Refused,
    /// All attempts are used up.
    #[error("all attempts are used up")]
    Attempts,
    /// The shared retry budget is spent.
    #[error("the retry budget is spent")]
    Budget,
    /// The backend asked to be left alone for longer than
    /// [`retry_after_most`](super::RetryPolicy::retry_after_most):
    /// [`RetryError::retry_after`] says for how long.
    #[error("the backend asked for a longer wait")]
    AskedForLonger,
    /// The total timeout is over, or would be before the next attempt.
    #[error("the total timeout leaves no time")]
    TotalTimeout,
}

/// An operation failed for good: why no further attempt was made, and how the last one failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gave up after {made}: {why}", made = Made(*.attempts, *.refusals))]
pub struct RetryError<E> {
    why: GaveUp,
    attempts: u32,
    refusals: u32,
    retry_after: Option<Duration>,
    #[source]
    last: AttemptError<E>,
}

impl<E> RetryError<E> {
    /// `verdict`: on the last attempt or refusal.
    pub(super) fn new(
        why: GaveUp,
        (attempts, refusals): (u32, u32),
        verdict: Verdict,
        last: AttemptError<E>,
    ) -> Self {
        let retry_after = match verdict.retry() {
            RetryClass::RetryAfter(after) => Some(after),
            RetryClass::Retry | RetryClass::Stop => None,
        };
        Self { why, attempts, refusals, retry_after, last }
    }

    /// A service was not ready for a first attempt.
    #[cfg(feature = "tower")]
    pub(super) fn not_ready(error: E) -> Self {
        Self::new(GaveUp::Permanent, (0, 0), Verdict::permanent(), AttemptError::Inner(error))
    }

    /// Why no further attempt was made.
    pub fn why(&self) -> GaveUp {
        self.why
    }

    /// How many attempts were made, [refusals](Self::refusals) not counted. Zero where all were
    /// refused, and where a service failed before it took a request.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How often a limiter, breaker or pool on this side refused, those that were waited out and the
    /// last one: no attempts, see [`max_refusals`](super::RetryPolicy::max_refusals). The operation
    /// was called so often besides.
    pub fn refusals(&self) -> u32 {
        self.refusals
    }

    /// How long after the last attempt another one makes sense at the earliest, if it said so: the
    /// wish of the backend, or of what refused on this side, whole.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// How the last attempt failed.
    pub fn last(&self) -> &AttemptError<E> {
        &self.last
    }

    /// How the last attempt failed, by value.
    pub fn into_last(self) -> AttemptError<E> {
        self.last
    }
}

/// Attempts and refusals, in words.
struct Made(u32, u32);

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n| if n == 1 { "" } else { "s" };
        let Self(attempts, refusals) = *self;
        if refusals == 0 || attempts > 0 {
            write!(f, "{attempts} attempt{}", plural(attempts))?;
        }
        if refusals > 0 {
            let and = if attempts > 0 { " and " } else { "" };
            write!(f, "{and}{refusals} refusal{}", plural(refusals))?;
        }
        Ok(())
    }
}

impl<E: Classify> Classify for AttemptError<E> {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Inner(error) => error.verdict(),
            Self::TimedOut => Verdict::failure(),
        }
    }
}

/// As the last attempt's, but for good: retries don't multiply through layers. Not for good where it
/// gave up only because it would have had to wait for longer than it may: who has the time waits.
impl<E: Classify> Classify for RetryError<E> {
    fn verdict(&self) -> Verdict {
        match self.why {
            GaveUp::Refused | GaveUp::AskedForLonger => self.last.verdict(),
            _ => self.last.verdict().stop(),
        }
    }
}
