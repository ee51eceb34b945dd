//! What a caller is told.

use std::time::Duration;

use crate::ground::outcome::{Classify, Verdict};
use crate::ground::time::Instant;

/// The circuit is open, or half-open with all its probes under way: the call was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the circuit is open, retry in {:?}", self.retry_after())]
pub struct CircuitOpen {
    until: Instant,
    refused_at: Instant,
}

impl CircuitOpen {
    #[inline(always)]
    pub(super) fn new(until: Instant, refused_at: Instant) -> Self {
        Self { until, refused_at }
    }

    /// When another call has a chance. While all probes are under way this is when the oldest of
    /// them is given up; one that reports earlier makes a place earlier.
    #[must_use]
    pub fn next_probe_at(&self) -> Instant {
        self.until
    }

    /// How long after the refusal that is.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.next_probe_at().saturating_duration_since(self.refused_at)
    }
}

/// As many as the breaker can remember are waiting or listening already. Come back later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many are waiting")]
pub struct TooManyWaiting;

/// Why [`CircuitBreaker::call`](super::CircuitBreaker::call) gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E> {
    /// The call was not made: come back after [`CircuitOpen::retry_after`].
    #[error(transparent)]
    Open(#[from] CircuitOpen),
    /// The call ran longer than `call_timeout` and was dropped. Counted as a failure.
    #[error("the call timed out")]
    TimedOut,
    /// The call ended with its own error.
    #[error("the call failed")]
    Inner(#[source] E),
}

impl<E> CallError<E> {
    /// When coming back makes sense, if the call was not made.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Open(open) => Some(open.retry_after()),
            Self::TimedOut | Self::Inner(_) => None,
        }
    }

    /// The call's own error, if it ended with one.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Inner(error) => Some(error),
            Self::Open(_) | Self::TimedOut => None,
        }
    }
}

impl Classify for CircuitOpen {
    fn verdict(&self) -> Verdict {
        Verdict::refused(Some(self.retry_after()))
    }
}

impl<E: Classify> Classify for CallError<E> {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Open(open) => open.verdict(),
            Self::TimedOut => Verdict::failure(),
            Self::Inner(error) => error.verdict(),
        }
    }
}
