//! What a watched directory may hold, and how its files are taken.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use crate::ConfigError;

/// A directory, and what is taken from it. Plain data; checked by
/// [`DirectoryWatcher::new`](super::DirectoryWatcher::new).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct WatchConfig {
    /// Label in metrics. Default: `"watch"`.
    pub name: Cow<'static, str>,
    /// The directory whose files are intents; made if it is not there. `processing`, `processed` and
    /// `failed` are made in it. One process at a time. Default: `intents`, in the current directory.
    pub directory: PathBuf,
    /// Files whose names end so, after a dot, are taken, and no others; empty: all. Never those that
    /// begin with a dot. Writers that rename into the directory write under another ending first.
    /// Default: `json`.
    pub extensions: Vec<Cow<'static, str>>,
    /// Bytes of a file; a larger one fails unread. Default: 1 MiB.
    pub max_file_bytes: usize,
    /// Documents of a file; one with more fails. Default: 1,024.
    pub max_documents: usize,
    /// Files taken and not ended; all others wait in the directory. As many times what a file is once
    /// it is decoded may be in memory. Default: 1,024.
    pub files_in_flight: usize,
    /// Files that are read, or put away, at once, each on a thread of tokio's for blocking work.
    /// Default: 8.
    pub workers: usize,
    /// Names of waiting files that are kept in memory; beyond, the directory is read again once
    /// half of them are gone. Default: 65,536.
    pub max_waiting: usize,
    /// How long after the end of a write to wait for another one, which begins it again. Zero: a file
    /// is taken as soon as it is closed, or renamed into the directory. Default: zero.
    pub debounce: Duration,
    /// Where nobody says that a file was closed, one is taken that was found twice the same, so far
    /// apart: up to [`large_bytes`](Self::large_bytes). Default: 10 ms.
    pub settle_small: Duration,
    /// The same from there on. Default: 50 ms.
    pub settle_large: Duration,
    /// What is large. Default: 1 MiB.
    pub large_bytes: u64,
    /// Where closing is told of, and one that is being written is not closed: so long after the last
    /// write it is looked at all the same. (A file that is linked into the directory was never
    /// open.) Default: 30 s.
    pub unclosed_after: Duration,
    /// A file that was taken without having been seen closed, and has a document that is rejected, is
    /// read again so much later before it fails. Default: 1 s.
    pub doubt: Duration,
    /// The same content again, so soon after its end, while nothing else was asked of its objects
    /// here, is not run again. Zero: only while the first is in flight. Default: 1 s.
    pub dedup_window: Duration,
    /// How often the directory is read although nothing was missed. `None`: only at start and when
    /// events were lost. Default: 60 s.
    pub rescan_every: Option<Duration>,
    /// What an ended file outlives. Default: [`Durability::Process`].
    pub durability: Durability,
}

/// What the end of a file outlives. An intent that outlives more is a matter of the pipeline's
/// checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Durability {
    /// The death of the process, at any moment. After a loss of power the last files may be taken
    /// once more, and lie without their status.
    #[default]
    Process,
    /// A loss of power, too: status files and directories are synced, four syncs a file.
    Power,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("watch"),
            directory: PathBuf::from("intents"),
            extensions: vec![Cow::Borrowed("json")],
            max_file_bytes: 1 << 20,
            max_documents: 1024,
            files_in_flight: 1024,
            workers: 8,
            max_waiting: 65_536,
            debounce: Duration::ZERO,
            settle_small: Duration::from_millis(10),
            settle_large: Duration::from_millis(50),
            large_bytes: 1 << 20,
            unclosed_after: Duration::from_secs(30),
            doubt: Duration::from_secs(1),
            dedup_window: Duration::from_secs(1),
            rescan_every: Some(Duration::from_secs(60)),
            durability: Durability::Process,
        }
    }
}

impl WatchConfig {
    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(self, name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Sets [`directory`](Self::directory).
    #[must_use]
    pub fn with_directory(self, directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), ..self }
    }

    /// Sets [`extensions`](Self::extensions).
    #[must_use]
    pub fn with_extensions<E: Into<Cow<'static, str>>>(
        self,
        extensions: impl IntoIterator<Item = E>,
    ) -> Self {
        Self { extensions: extensions.into_iter().map(Into::into).collect(), ..self }
    }

    /// Sets [`max_file_bytes`](Self::max_file_bytes).
    #[must_use]
    pub fn with_max_file_bytes(self, max_file_bytes: usize) -> Self {
        Self { max_file_bytes, ..self }
    }

    /// Sets [`max_documents`](Self::max_documents).
    #[must_use]
    pub fn with_max_documents(self, max_documents: usize) -> Self {
        Self { max_documents, ..self }
    }

    /// Sets [`files_in_flight`](Self::files_in_flight).
    #[must_use]
    pub fn with_files_in_flight(self, files_in_flight: usize) -> Self {
        Self { files_in_flight, ..self }
    }

    /// Sets [`workers`](Self::workers).
    #[must_use]
    pub fn with_workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// Sets [`max_waiting`](Self::max_waiting).
    #[must_use]
    pub fn with_max_waiting(self, max_waiting: usize) -> Self {
        Self { max_waiting, ..self }
    }

    /// Sets [`debounce`](Self::debounce).
    #[must_use]
    pub fn with_debounce(self, debounce: Duration) -> Self {
        Self { debounce, ..self }
    }

    /// Sets [`settle_small`](Self::settle_small).
    #[must_use]
    pub fn with_settle_small(self, settle_small: Duration) -> Self {
        Self { settle_small, ..self }
    }

    /// Sets [`settle_large`](Self::settle_large).
    #[must_use]
    pub fn with_settle_large(self, settle_large: Duration) -> Self {
        Self { settle_large, ..self }
    }

    /// Sets [`large_bytes`](Self::large_bytes).
    #[must_use]
    pub fn with_large_bytes(self, large_bytes: u64) -> Self {
        Self { large_bytes, ..self }
    }

    /// Sets [`unclosed_after`](Self::unclosed_after).
    #[must_use]
    pub fn with_unclosed_after(self, unclosed_after: Duration) -> Self {
        Self { unclosed_after, ..self }
    }

    /// Sets [`doubt`](Self::doubt).
    #[must_use]
    pub fn with_doubt(self, doubt: Duration) -> Self {
        Self { doubt, ..self }
    }

    /// Sets [`dedup_window`](Self::dedup_window).
    #[must_use]
    pub fn with_dedup_window(self, dedup_window: Duration) -> Self {
        Self { dedup_window, ..self }
    }

    /// Sets [`rescan_every`](Self::rescan_every).
    #[must_use]
    pub fn with_rescan_every(self, rescan_every: Option<Duration>) -> Self {
        Self { rescan_every, ..self }
    }

    /// Sets [`durability`](Self::durability).
    #[must_use]
    pub fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless(
            !self.directory.as_os_str().is_empty(),
            "watch.directory",
            "\"\"",
            "the name of a directory",
        )?;
        let is_ending = |it: &Cow<'static, str>| !it.is_empty() && !it.contains(['/', '\0']);
        if let Some(other) = self.extensions.iter().find(|it| !is_ending(it)) {
            let value = format!("{other:?}");
            return Err(ConfigError::invalid("watch.extensions", value, "ends of names"));
        }
        for (value, field, most, allowed) in [
            (self.max_file_bytes, "watch.max_file_bytes", 1 << 30, "1..=1073741824"),
            (self.max_documents, "watch.max_documents", 65_536, "1..=65536"),
            (self.files_in_flight, "watch.files_in_flight", 65_536, "1..=65536"),
            (self.workers, "watch.workers", 64, "1..=64"),
            (self.max_waiting, "watch.max_waiting", 1 << 24, "1..=16777216"),
        ] {
            ConfigError::unless((1..=most).contains(&value), field, value, allowed)?;
        }
        for (time, field) in [
            (self.settle_small, "watch.settle_small"),
            (self.settle_large, "watch.settle_large"),
            (self.unclosed_after, "watch.unclosed_after"),
            (self.rescan_every.unwrap_or(Duration::MAX), "watch.rescan_every"),
        ] {
            let ok = time >= Duration::from_millis(1);
            ConfigError::unless(ok, field, format_args!("{time:?}"), "at least 1 ms")?;
        }
        Ok(())
    }
}
