//! What the system tells of the directory, put together by name until somebody looks. Bounded.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use notify::{Event, EventHandler, RecommendedWatcher, RecursiveMode, Watcher, WatcherKind};
use tokio::sync::Notify;

use super::config::WatchConfig;
use super::error::WatchError;
use super::names;
use super::waiting::{Change, Closes};
use crate::ground::primitives::{Hashing, Mutex};
use crate::ground::time::{self, Instant};

/// Changes that nobody has looked at.
pub(super) struct Events {
    told: Mutex<Changes>,
    bell: Arc<Notify>,
    config: Arc<WatchConfig>,
}

/// The last change of each name, in the order of those.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// `None`: another one of this name came later.
    pub(super) each: Vec<Option<(Arc<OsStr>, Change, Instant)>>,
    last_of: HashMap<Arc<OsStr>, usize, Hashing>,
    /// Not all of them are here.
    pub(super) is_lossy: bool,
}

/// The names that are kept at most; and twice as many places for them.
fn most(config: &WatchConfig) -> usize {
    config.max_waiting
}

impl Events {
    pub(super) fn new(config: Arc<WatchConfig>, bell: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { told: Mutex::new(Changes::default()), bell, config })
    }

    pub(super) fn take(&self) -> Changes {
        std::mem::take(&mut *self.told.lock())
    }

    fn note(&self, path: &Path, change: Change, now: Instant) {
        let Some(name) = path.file_name() else { return };
        if !names::is_intent(name, &self.config.extensions) {
            return;
        }
        let mut told = self.told.lock();
        let Changes { each, last_of, is_lossy } = &mut *told;
        if let Some(&at) = last_of.get(name) {
            each[at] = None;
        } else if last_of.len() >= most(&self.config) {
            *is_lossy = true;
            return;
        }
        if each.len() >= 2 * most(&self.config) {
            each.retain(Option::is_some);
            let names = each.iter().flatten().map(|(name, ..)| Arc::clone(name));
            *last_of = names.enumerate().map(|(at, name)| (name, at)).collect();
        }
        let name: Arc<OsStr> = Arc::from(name);
        last_of.insert(Arc::clone(&name), each.len());
        each.push(Some((name, change, now)));
    }

    fn lose(&self) {
        self.told.lock().is_lossy = true;
    }
}

/// On the thread of the library's that reads what the system tells.
struct Ear {
    events: Arc<Events>,
    directory: PathBuf,
}

impl EventHandler for Ear {
    fn handle_event(&mut self, event: notify::Result<Event>) {
        match event {
            Ok(event) if event.need_rescan() => self.events.lose(),
            Ok(event) => {
                // The directory itself was moved or removed: reading it will tell.
                let is_self = event.paths.contains(&self.directory);
                if is_self && !matches!(event.kind, EventKind::Access(_)) {
                    self.events.lose();
                } else {
                    let Some(change) = change_of(&event.kind) else { return };
                    let now = time::now();
                    // Of the two names of a renaming, the last is the one it has now.
                    if let Some(path) = event.paths.last() {
                        self.events.note(path, change, now);
                    }
                }
            }
            Err(_) => self.events.lose(),
        }
        self.events.bell.notify_one();
    }
}

/// What of it matters here.
fn change_of(kind: &EventKind) -> Option<Change> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Change::Finished),
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Change::Finished),
        // Told once more, together with where it came from.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both | RenameMode::From)) => None,
        EventKind::Create(CreateKind::Folder) => None,
        EventKind::Create(_) => Some(Change::Made),
        // Who may read it, say: its content is as it was.
        EventKind::Modify(ModifyKind::Metadata(_)) => None,
        EventKind::Modify(_) | EventKind::Any | EventKind::Other => Some(Change::Touched),
        EventKind::Access(_) | EventKind::Remove(_) => None,
    }
}

/// Tells `events` of the directory, until it is dropped.
pub(super) fn listen(
    config: &WatchConfig,
    events: &Arc<Events>,
) -> Result<RecommendedWatcher, WatchError> {
    // As the library names it, whatever the configuration says.
    let path = std::path::absolute(&config.directory)
        .map_err(|error| WatchError::Folder { path: config.directory.clone(), error })?;
    let unwatched = |error: notify::Error| WatchError::Unwatched {
        path: path.clone(),
        said: error.to_string(),
    };
    let ear = Ear { events: Arc::clone(events), directory: path.clone() };
    let mut watcher = notify::recommended_watcher(ear).map_err(unwatched)?;
    watcher.watch(&path, RecursiveMode::NonRecursive).map_err(unwatched)?;
    Ok(watcher)
}

/// Whether the system of this machine tells when a file is closed.
pub(super) fn closes() -> Closes {
    match RecommendedWatcher::kind() {
        WatcherKind::Inotify => Closes::Told,
        _ => Closes::Untold,
    }
}
