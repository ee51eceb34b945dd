//! Why nothing is watched.

use std::io;
use std::path::PathBuf;

/// A directory can't be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// It, or one of the folders in it, can't be made or opened: a path component may be a symbolic
    /// link, or something else than a directory.
    #[error("{} can't be used", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// Another watcher has it.
    #[error("{} is being watched by somebody else", .path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// The system does not tell of changes in it.
    #[error("the system does not watch {}: {said}", .path.display())]
    Unwatched {
        /// Which.
        path: PathBuf,
        /// What it says.
        said: String,
    },
    /// No tokio runtime is entered here, and a watcher needs one to run its task.
    #[error("no tokio runtime is entered here, and a watcher needs one to run its task")]
    NoRuntime,
}
