//! The handle.

use std::fs;
use std::io;
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
/// One process at a time: two that share a directory take each other's intents. What stands in
/// `set-aside/` below it is for somebody to look at, and is never deleted here.
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
}

impl FileCheckpoints {
    /// Checks the configuration. The directory is first looked at by
    /// [`restore`](crate::IntentPipeline::restore).
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] names the field, what it is and what it may be.
    pub fn new(config: FileCheckpointsConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let (names, loading) = (Mutex::new(Names::default()), Mutex::new(()));
        Ok(Self(Arc::new(Inner { config, names, loads: AtomicU64::new(0), loading })))
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
        let key = key.to_owned();
        self.blocking(move |inner| inner.save(&key, &page)).await
    }

    async fn remove(&self, key: &str) -> Result<(), CheckpointError> {
        let key = key.to_owned();
        self.blocking(move |inner| inner.remove(&key)).await
    }

    async fn set_aside(&self, key: &str) -> Result<String, CheckpointError> {
        let key = key.to_owned();
        self.blocking(move |inner| inner.set_aside(&key)).await
    }
}

impl Inner {
    fn load(&self, number: u64) -> Result<Loaded, CheckpointError> {
        let _alone = self.loading.lock();
        if self.loads.load(Ordering::SeqCst) != number {
            return Err(io::Error::from(io::ErrorKind::Interrupted).into());
        }
        let directory = &self.config.directory;
        disk::make(directory)?;
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
        disk::replace(directory, &part, &name, &file).map_err(|error| {
            // Whether it came to its name is not known, so the name stays taken.
            CheckpointError::Io(error)
        })
    }

    fn remove(&self, key: &str) -> Result<(), CheckpointError> {
        let name = self.names.lock().get(key).map(str::to_owned);
        if let Some(name) = name {
            disk::remove(&self.config.directory, &name)?;
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
