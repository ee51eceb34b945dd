//! The handle.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::config::FileCheckpointsConfig;
use super::disk::{self, Found};
use super::format;
use super::names::{Names, PAGE, PART};
use crate::ConfigError;
use crate::facade::pipeline::checkpoints::error::CheckpointError;
use crate::facade::pipeline::checkpoints::store::{Checkpoints, Loaded, SetAside};
use crate::ground::primitives::Mutex;
use crate::ground::primitives::atomic::{AtomicU64, Ordering};

/// Keeps pages in a directory, one file for each key, so that they outlive the process and a loss
/// of power.
///
/// One pipeline at a time: two that share a directory would take each other's intents. From
/// [`restore`](crate::IntentPipeline::restore) to the pipeline's end the directory is locked, as far
/// as its file system has locks (NFS may not), and the restore of another one is refused
/// ([`CheckpointError::InUse`]), also in another process. A process that is killed leaves no lock.
/// What stands in `set-aside/` below it is for somebody to look at, and is never deleted here.
///
/// A call that hangs longer than [`Checkpoints::timeout`] goes on hanging on its thread: meanwhile
/// its key is refused, and with 64 of them every key is.
///
/// # Cost
/// A save takes two syncs, of the file and of the directory, a removal one: some milliseconds each
/// on a disk, on a thread of tokio's for blocking work.
#[derive(Debug)]
pub struct FileCheckpoints(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: FileCheckpointsConfig,
    names: Mutex<Names>,
    /// How many loads were begun. One whose caller has gone, and begun another, does nothing.
    loads: AtomicU64,
    loading: Mutex<()>,
    /// From the first load to the end.
    lock: Mutex<Option<Arc<File>>>,
    /// Keys whose files are being written or removed: also by a call that nobody waits for any more,
    /// and that a later one must not overtake.
    under_way: Mutex<HashSet<Arc<str>>>,
    /// Has the names in a directory outlive a loss of power.
    sync: fn(&Path) -> io::Result<()>,
}

/// Calls for different keys at once. The pipeline has eight scribes: more only when some hang.
const MOST_UNDER_WAY: usize = 64;

/// The right to touch a key's file, until it is dropped.
struct Claim {
    inner: Arc<Inner>,
    key: Arc<str>,
    /// Nobody else gets the directory before that.
    _lock: Option<Arc<File>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.inner.under_way.lock().remove(&self.key);
    }
}

impl FileCheckpoints {
    /// Checks the configuration. The directory is first looked at by
    /// [`restore`](crate::IntentPipeline::restore).
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] names the field, what it is and what it may be.
    pub fn new(config: FileCheckpointsConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self(Arc::new(Inner {
            config,
            names: Mutex::default(),
            loads: AtomicU64::new(0),
            loading: Mutex::new(()),
            lock: Mutex::default(),
            under_way: Mutex::default(),
            sync: disk::sync,
        })))
    }

    /// With a directory that can't be synced, or so.
    #[cfg(test)]
    pub(super) fn with_sync(self, sync: fn(&Path) -> io::Result<()>) -> Self {
        let mut inner = Arc::into_inner(self.0).expect("nobody has it yet");
        inner.sync = sync;
        Self(Arc::new(inner))
    }

    /// Does something to a key's file, and waits for it.
    async fn blocking_for<R: Send + 'static>(
        &self,
        key: &str,
        act: impl FnOnce(&Inner, &str) -> Result<R, CheckpointError> + Send + 'static,
    ) -> Result<R, CheckpointError> {
        let claim = Inner::claim(&self.0, key)?;
        self.blocking(move |inner| {
            let done = act(inner, &claim.key);
            drop(claim);
            done
        })
        .await
    }

    /// Does something that blocks, and waits for it.
    async fn blocking<R: Send + 'static>(
        &self,
        act: impl FnOnce(&Inner) -> Result<R, CheckpointError> + Send + 'static,
    ) -> Result<R, CheckpointError> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || act(&inner)).await;
        // It panics nowhere; a runtime that ends drops what has not begun.
        done.unwrap_or_else(|error| Err(io::Error::other(error).into()))
    }
}

#[async_trait]
impl Checkpoints for FileCheckpoints {
    async fn load(&self) -> Result<Loaded, CheckpointError> {
        let number = self.0.loads.fetch_add(1, Ordering::SeqCst) + 1;
        self.blocking(move |inner| inner.load(number)).await
    }

    async fn save(&self, key: &str, page: Bytes) -> Result<(), CheckpointError> {
        self.blocking_for(key, move |inner, key| inner.save(key, &page)).await
    }

    async fn remove(&self, key: &str) -> Result<(), CheckpointError> {
        self.blocking_for(key, Inner::remove).await
    }

    async fn set_aside(&self, key: &str) -> Result<String, CheckpointError> {
        self.blocking_for(key, Inner::set_aside).await
    }

    fn close(&self) {
        drop(self.0.lock.lock().take());
    }
}

impl Inner {
    fn claim(self: &Arc<Self>, key: &str) -> Result<Claim, CheckpointError> {
        let lock = self.lock.lock().clone();
        let mut under_way = self.under_way.lock();
        if under_way.contains(key) {
            let hangs = "an earlier call for this key has not ended";
            return Err(CheckpointError::Doubtful(io::Error::other(hangs)));
        }
        if under_way.len() >= MOST_UNDER_WAY {
            return Err(io::Error::other("too many calls have not ended").into());
        }
        let key: Arc<str> = key.into();
        under_way.insert(Arc::clone(&key));
        Ok(Claim { inner: Arc::clone(self), key, _lock: lock })
    }

    /// Keeps others out of the directory.
    fn take_lock(&self) -> Result<(), CheckpointError> {
        let mut lock = self.lock.lock();
        if lock.is_none() {
            let file = disk::lock(&self.config.directory)?.ok_or(CheckpointError::InUse)?;
            *lock = Some(Arc::new(file));
        }
        Ok(())
    }

    fn load(&self, number: u64) -> Result<Loaded, CheckpointError> {
        let _alone = self.loading.lock();
        if self.loads.load(Ordering::SeqCst) != number {
            return Err(io::Error::from(io::ErrorKind::Interrupted).into());
        }
        let directory = &self.config.directory;
        disk::make(directory)?;
        self.take_lock()?;
        *self.names.lock() = Names::default();
        let mut loaded = Loaded::default();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            // What has no such name, or is no file, is not ours.
            let Some(name) = name.to_str().filter(|_| entry.file_type().is_ok_and(|t| t.is_file()))
            else {
                continue;
            };
            if name.ends_with(PART) {
                // Never came to its name: the page before it is whole. In nobody's way if it stays.
                let _ = fs::remove_file(entry.path());
            } else if name.ends_with(PAGE)
                && let Err(error) = self.load_file(name, &mut loaded)
            {
                // One bad file must not keep all others from going on.
                self.names.lock().avoid(name);
                let (place, why) = (entry.path().display().to_string(), error.to_string());
                loaded.set_aside.push(SetAside::new(None, place, why));
            }
        }
        Ok(loaded)
    }

    fn load_file(&self, name: &str, loaded: &mut Loaded) -> Result<(), CheckpointError> {
        let directory = &self.config.directory;
        let why = match disk::read(&directory.join(name), self.config.max_file_bytes)? {
            Found::TooLarge(bytes) => format!("it has {bytes} bytes"),
            Found::Whole(file) => match format::decode(&file) {
                Ok((key, page)) if self.names.lock().found(&key, name) => {
                    loaded.pages.push((key, page));
                    return Ok(());
                }
                Ok(_) => "another file is of the same key".to_owned(),
                Err(flaw) => flaw.to_string(),
            },
        };
        let place = disk::put_away(directory, name)?;
        loaded.set_aside.push(SetAside::new(None, place, why));
        Ok(())
    }

    fn save(&self, key: &str, page: &[u8]) -> Result<(), CheckpointError> {
        let FileCheckpointsConfig { directory, max_files, max_file_bytes } = &self.config;
        let file = format::encode(key, page);
        if file.len() > *max_file_bytes {
            let most = *max_file_bytes;
            return Err(CheckpointError::TooLarge { bytes: file.len(), most });
        }
        let mut names = self.names.lock();
        let is_new = names.get(key).is_none();
        if is_new && names.len() >= *max_files {
            return Err(CheckpointError::Full { most: *max_files });
        }
        let name = names.of(key).to_owned();
        drop(names);
        let part = format!("{}{PART}", name.trim_end_matches(PAGE));
        if let Err(error) = disk::replace(directory, &part, &name, &file) {
            if is_new {
                self.names.lock().forget(key);
            }
            return Err(error.into());
        }
        (self.sync)(directory).map_err(|error| {
            // It is there, and may be gone after a loss of power. What is said not to be kept should
            // not be found; in the place of another there is no way back.
            if is_new {
                drop(disk::remove(directory, &name));
            }
            CheckpointError::Doubtful(error)
        })
    }

    fn remove(&self, key: &str) -> Result<(), CheckpointError> {
        let name = self.names.lock().get(key).map(str::to_owned);
        if let Some(name) = name {
            let directory = &self.config.directory;
            disk::remove(directory, &name)?;
            (self.sync)(directory)?;
            self.names.lock().forget(key);
        }
        Ok(())
    }

    fn set_aside(&self, key: &str) -> Result<String, CheckpointError> {
        let name = self.names.lock().get(key).map(str::to_owned);
        let name = name.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let place = disk::put_away(&self.config.directory, &name)?;
        self.names.lock().forget(key);
        Ok(place)
    }
}
