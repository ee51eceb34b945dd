//! How a retried operation fails.

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
    /// Its error was classified [`RetryClass::Stop`](super::RetryClass::Stop).
    #[error("the error is permanent")]
    Permanent,
    /// All attempts are used up.
    #[error("all attempts are used up")]
    Attempts,
    /// The shared retry budget is spent.
    #[error("the retry budget is spent")]
    Budget,
    /// The total timeout is over, or would be before the next attempt.
    #[error("the total timeout leaves no time")]
    TotalTimeout,
}

/// An operation failed for good: why no further attempt was made, and how the last one failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gave up after {attempts} attempts: {why}")]
pub struct RetryError<E> {
    why: GaveUp,
    attempts: u32,
    #[source]
    last: AttemptError<E>,
}

impl<E> RetryError<E> {
    pub(super) fn new(why: GaveUp, attempts: u32, last: AttemptError<E>) -> Self {
        Self { why, attempts, last }
    }

    /// Why no further attempt was made.
    pub fn why(&self) -> GaveUp {
        self.why
    }

    /// How many attempts were made, at least 1.
    pub fn attempts(&self) -> u32 {
        self.attempts
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
