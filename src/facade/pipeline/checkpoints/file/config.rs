//! What a directory of pages may hold.

use std::path::PathBuf;

use crate::ConfigError;

/// Where pages are kept, and how much of it.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct FileCheckpointsConfig {
    /// The directory; made if it is not there. One pipeline at a time; nothing else writes in it.
    /// Default: `checkpoints`, in the current directory.
    pub directory: PathBuf,
    /// Keys that may be kept at once. Default: 16,384.
    pub max_files: usize,
    /// Bytes that one key's file may have. Default: 1 MiB.
    pub max_file_bytes: usize,
}

impl Default for FileCheckpointsConfig {
    fn default() -> Self {
        Self { directory: PathBuf::from("checkpoints"), max_files: 16_384, max_file_bytes: 1 << 20 }
    }
}

impl FileCheckpointsConfig {
    /// Sets [`directory`](Self::directory).
    #[must_use]
    pub fn with_directory(self, directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), ..self }
    }

    /// Sets [`max_files`](Self::max_files).
    #[must_use]
    pub fn with_max_files(self, max_files: usize) -> Self {
        Self { max_files, ..self }
    }

    /// Sets [`max_file_bytes`](Self::max_file_bytes).
    #[must_use]
    pub fn with_max_file_bytes(self, max_file_bytes: usize) -> Self {
        Self { max_file_bytes, ..self }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless(
            !self.directory.as_os_str().is_empty(),
            "checkpoints.directory",
            "\"\"",
            "the name of a directory",
        )?;
        ConfigError::unless(
            (1..=1 << 24).contains(&self.max_files),
            "checkpoints.max_files",
            self.max_files,
            "1..=16777216",
        )?;
        ConfigError::unless(
            (1..=1 << 30).contains(&self.max_file_bytes),
            "checkpoints.max_file_bytes",
            self.max_file_bytes,
            "1..=1073741824",
        )
    }
}
