//! Why somebody did not get its permits.

use crate::ground::outcome::{Classify, Verdict};

/// Why an acquisition ended without a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// The semaphore is closed: do not come back.
    #[error("the semaphore is closed")]
    Closed,
    /// It gave its place in a full line to something more important, or was shed in
    /// [overload](crate::semaphore::SemaphoreConfig::overload). Come back later, or shed.
    #[error("displaced in the line by something more important, or shed in overload")]
    Evicted,
    /// Its deadline passed before its turn came.
    #[error("the deadline passed before a permit was free")]
    Expired,
    /// The line has no place left for its class. Come back later, or shed.
    #[error("the line is full for its class")]
    Full,
    /// It wants more permits than there are, at the call or after a
    /// [`resize`](crate::PrioritySemaphore::resize): it could never be granted, and would keep
    /// everybody of its class and below waiting for ever. Ask for less.
    #[error("wants more permits than there are")]
    TooLarge,
}

impl AcquireError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Evicted | Self::Full)
    }
}

impl Classify for AcquireError {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Evicted | Self::Full => Verdict::refused(None),
            Self::Closed | Self::Expired | Self::TooLarge => Verdict::permanent().unsent(),
        }
    }
}
