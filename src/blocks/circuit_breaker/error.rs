//! What a caller is told.

use std::fmt;
use std::time::Duration;

use crate::ground::outcome::{Classify, Verdict};
use crate::ground::time::Instant;

/// The circuit is open, or half-open with all its probes under way: the call was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitOpen {
    /// Of one that is forced open: when another look is worth it.
    until: Instant,
    refused_at: Instant,
    is_forced: bool,
}

impl CircuitOpen {
    #[inline(always)]
    pub(super) fn new(until: Instant, refused_at: Instant, is_forced: bool) -> Self {
        Self { until, refused_at, is_forced }
    }

    /// When another call has a chance; `None` while it is
    /// [forced open](super::CircuitBreaker::force_open): when somebody releases it, which nobody
    /// knows. While all probes are under way this is when the oldest of them is given up; one that
    /// reports earlier makes a place earlier.
    #[must_use]
    pub fn next_probe_at(&self) -> Option<Instant> {
        (!self.is_forced).then_some(self.until)
    }

    /// How long after the refusal that is; `None` while it is forced open.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        (!self.is_forced).then(|| self.look_again_after())
    }

    fn look_again_after(&self) -> Duration {
        self.until.saturating_duration_since(self.refused_at)
    }
}

impl fmt::Display for CircuitOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.retry_after() {
            Some(after) => write!(f, "the circuit lets no call through, retry in {after:?}"),
            None => f.write_str("the circuit is forced open"),
        }
    }
}

impl std::error::Error for CircuitOpen {}

/// As many as the breaker can remember are waiting or listening already. Come back later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many are waiting")]
pub struct TooManyWaiting;

/// Why [`CircuitBreaker::call`](super::CircuitBreaker::call) gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E> {
    /// The call was not made: come back after [`CircuitOpen::retry_after`], if it says so.
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
    /// When coming back makes sense, if the call was not made and that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Open(open) => open.retry_after(),
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

/// One that is forced open is worth another look after
/// [`open_for`](super::CircuitBreakerConfig::open_for), as if it had just opened.
impl Classify for CircuitOpen {
    fn verdict(&self) -> Verdict {
        Verdict::refused(Some(self.look_again_after()))
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
