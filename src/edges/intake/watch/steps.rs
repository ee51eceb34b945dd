//! The steps of a file's life on the disk, so that a test can fail, or die, at each.

use std::io;

/// What has just been done, or (where it says so) is about to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Renamed into `processing`.
    Claimed,
    /// Read and decoded.
    Read,
    /// A document is about to be told to the pipeline.
    Submits,
    /// All documents have ended; nothing is written yet.
    Ended,
    /// About to write the status.
    Writes,
    /// The status lies there under its other name.
    Part,
    /// The status has its name.
    Status,
    /// Moved beside it.
    Moved,
    /// The next life has found a file that had ended, and is about to move it.
    Recovers,
}

/// Called at every step; nothing, but in tests.
#[derive(Clone, Default)]
pub(super) struct Steps {
    #[cfg(test)]
    pub(super) hook: Option<std::sync::Arc<dyn Fn(Step) -> io::Result<()> + Send + Sync>>,
}

impl Steps {
    #[cfg_attr(not(test), allow(clippy::unused_self, reason = "tests look at it"))]
    pub(super) fn at(&self, step: Step) -> io::Result<()> {
        #[cfg(test)]
        if let Some(hook) = &self.hook {
            return hook(step);
        }
        let _ = step;
        Ok(())
    }
}
