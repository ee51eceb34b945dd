//! What can go wrong on the way to the disk and back.

use std::sync::Arc;

/// Why a page could not be kept, read or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A payload or an output does not go into JSON.
    #[error("it can't be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// The page of a key is longer than the store keeps.
    #[error("{bytes} bytes are more than the {most} that a page may have")]
    TooLarge {
        /// What it would have.
        bytes: usize,
        /// What it may have.
        most: usize,
    },
    /// The store keeps as many keys as it may.
    #[error("{most} keys are kept already")]
    Full {
        /// How many that are.
        most: usize,
    },
    /// Another pipeline uses the store, perhaps in another process.
    #[error("another pipeline uses the store")]
    InUse,
    /// The disk, or whatever a store is made of; what was there before is still there. A store of another kind wraps what it knows with
    /// [`std::io::Error::other`].
    #[error("the store failed")]
    Io(#[from] std::io::Error),
    /// The store failed so that nobody knows which it has: what was there before, or what it was to
    /// write.
    #[error("the store failed, and may have done it all the same")]
    Doubtful(#[source] std::io::Error),
    /// The store took longer than it [may](super::Checkpoints::timeout).
    #[error("the store took too long")]
    TimedOut,
    /// The store panicked.
    #[error("the store panicked: {0}")]
    Panicked(String),
}

impl CheckpointError {
    /// Whether the same page may be kept later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Encode(_) | Self::TooLarge { .. })
    }

    /// Whether the store may have done what it was asked to all the same.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        matches!(self, Self::Doubtful(_) | Self::TimedOut | Self::Panicked(_))
    }
}

/// Why an accepted intent is not on disk.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotPersisted {
    /// The pipeline keeps nothing.
    #[error("the pipeline has no checkpoints")]
    NoCheckpoints,
    /// It ended before it was.
    #[error("it ended before it was on disk")]
    Ended,
    /// It could not be written: the ticket ends `Failed`, with the intent.
    #[error("it could not be written")]
    Failed(#[source] Arc<CheckpointError>),
}

/// Why nothing was restored. What is kept stays where it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The store could not be read.
    #[error("the checkpoints can't be read")]
    Store(#[from] CheckpointError),
    /// The pipeline is closed.
    #[error("the pipeline is closed")]
    Closed,
}
