//! The seam to whatever keeps pages.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::CheckpointError;

/// Keeps one page for each key: bytes that mean nothing to it.
///
/// A pipeline owns its store: nobody else writes to it. It calls [`load`](Self::load) before
/// anything else, never [`save`](Self::save) or [`remove`](Self::remove) twice at once for one key,
/// and several for different keys at once.
///
/// # Cancel safety
/// A future that is dropped may or may not have done its work; no page may be half of one and half
/// of another by it.
#[async_trait]
pub trait Checkpoints: Send + Sync + 'static {
    /// Every page that is kept, each key once, and what was found and could not be read.
    ///
    /// # Errors
    /// The store can't be read. What can't be read of a single page is no error: that page is set
    /// aside.
    async fn load(&self) -> Result<Loaded, CheckpointError>;

    /// Keeps this page in the place of what was kept of this key. `Ok` means that it outlives a
    /// loss of power, and an error that the one before it is still there, or that it is
    /// [not known](CheckpointError::is_doubtful) which of the two is.
    ///
    /// # Errors
    /// The page is too large, there are too many, or the store failed.
    async fn save(&self, key: &str, page: Bytes) -> Result<(), CheckpointError>;

    /// Forgets what is kept of this key, for good. Nothing kept is no error.
    ///
    /// # Errors
    /// The store failed, and may still have it.
    async fn remove(&self, key: &str) -> Result<(), CheckpointError>;

    /// Puts away a page that the pipeline can't read, where [`load`](Self::load) does not find it
    /// again and somebody can look at it. Where it is now, in words.
    ///
    /// # Errors
    /// The store failed, and still has it.
    async fn set_aside(&self, key: &str) -> Result<String, CheckpointError>;

    /// The longest a save or a removal may take. One that takes longer is dropped, counts as
    /// [failed](CheckpointError::TimedOut), and is tried again. Default: 30 s.
    fn timeout(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// The pipeline is over and asks for nothing more: what keeps others out of the store may go.
    fn close(&self) {}
}

/// What a store had.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Loaded {
    /// Each key and its page.
    pub pages: Vec<(Arc<str>, Bytes)>,
    /// What can't be read.
    pub set_aside: Vec<SetAside>,
}

/// Something that was kept, can't be read, and was put away for somebody to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// Whose it was, if that could be read.
    pub key: Option<Arc<str>>,
    /// Where it is now.
    pub place: String,
    /// What is wrong with it.
    pub why: String,
}

impl SetAside {
    /// For stores, that report what they put away.
    pub fn new(key: Option<Arc<str>>, place: impl Into<String>, why: impl Into<String>) -> Self {
        Self { key, place: place.into(), why: why.into() }
    }
}
