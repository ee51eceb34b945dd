//! The handles.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::config::WatchConfig;
use super::core::{Core, Rules};
use super::driver::Driver;
use super::error::WatchError;
use super::events::{self, Events};
use super::folder::Folder;
use super::metrics::{Counts, Gauges, WatchSnapshot};
use super::names::Names;
use super::steps::Steps;
use super::waiting::Patience;
use crate::edges::intake::Decode;
use crate::ground::metrics::Recorder;
use crate::ground::primitives::Mutex;
use crate::ground::time;
use crate::pipeline::Resumed;
use crate::{ConfigError, IntentPipeline};

/// How long beyond its time a shutdown may take, for what is on its way to the disk.
const MARGIN: Duration = Duration::from_millis(100);

/// Files of a directory become intents: see the [module](super).
#[derive(Clone)]
pub struct DirectoryWatcher {
    config: Arc<WatchConfig>,
    steps: Steps,
}

impl DirectoryWatcher {
    /// Checks the configuration. The directory is first looked at by [`start`](Self::start).
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] names the field, what it is and what it may be.
    pub fn new(config: WatchConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self { config: Arc::new(config), steps: Steps::default() })
    }

    #[cfg(test)]
    pub(super) fn with_steps(self, steps: Steps) -> Self {
        Self { steps, ..self }
    }

    /// Takes files from now on, those that are there already and those that a former life had taken
    /// first. For a pipeline that keeps nothing on disk; of one that does, what it resumes belongs to
    /// files: [`start_resumed`](Self::start_resumed).
    ///
    /// Runs as one task, which the handle owns. It blocks for a few system calls.
    ///
    /// # Errors
    /// The directory can't be used or watched, or is watched already, or no runtime is entered.
    pub fn start<P, O>(
        &self,
        pipeline: IntentPipeline<P, O>,
        decode: impl Decode<P>,
    ) -> Result<Watching, WatchError>
    where
        P: Send + Sync + 'static,
        O: Send + Sync + 'static,
    {
        self.start_resumed(pipeline, decode, Vec::new())
    }

    /// The same, after [`restore`](IntentPipeline::restore): a document that was accepted in a former
    /// life, and had not ended, goes on there and is not submitted again. Known by its key, generation
    /// and content; tickets of others are dropped when the watcher ends, which harms none.
    ///
    /// # Errors
    /// The directory can't be used or watched, or is watched already, or no runtime is entered.
    pub fn start_resumed<P, O>(
        &self,
        pipeline: IntentPipeline<P, O>,
        decode: impl Decode<P>,
        resumed: Vec<Resumed<P, O>>,
    ) -> Result<Watching, WatchError>
    where
        P: Send + Sync + 'static,
        O: Send + Sync + 'static,
    {
        let runtime = Handle::try_current().map_err(|_| WatchError::NoRuntime)?;
        let config = &self.config;
        let folder = Folder::open(Arc::clone(config), self.steps.clone())?;
        let shared = Arc::new(Shared::new());
        let events = Events::new(Arc::clone(config), Arc::clone(&shared.bell));
        // Before the directory is first read, so that nothing comes in between.
        let watcher = events::listen(config, &events)?;
        folder.is_in_place().map_err(|error| {
            let path = config.directory.clone();
            WatchError::Folder { path, error }
        })?;
        let mut by_key = HashMap::<_, Vec<_>, _>::default();
        for resumed in resumed {
            by_key.entry(Arc::clone(&resumed.key)).or_default().push(resumed);
        }
        let driver = Driver {
            core: Core::new(rules(config)),
            names: Names::default(),
            folder: Arc::new(folder),
            decode: Arc::new(decode),
            pipeline,
            resumed: by_key,
            jobs: JoinSet::new(),
            shared: Arc::clone(&shared),
            events,
            _watcher: watcher,
        };
        drop(runtime.spawn(driver.run()));
        Ok(Watching { config: Arc::clone(config), shared })
    }
}

fn rules(config: &WatchConfig) -> Rules {
    let &WatchConfig { debounce, settle_small, settle_large, .. } = config;
    let &WatchConfig { large_bytes, unclosed_after, doubt, dedup_window, .. } = config;
    let &WatchConfig { rescan_every, files_in_flight, workers, max_waiting, .. } = config;
    let closes = events::closes();
    let patience =
        Patience { closes, debounce, settle_small, settle_large, large_bytes, unclosed_after };
    Rules { patience, doubt, dedup_window, rescan_every, files_in_flight, workers, max_waiting }
}

impl fmt::Debug for DirectoryWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryWatcher").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A directory that is being watched.
///
/// Dropped, it takes nothing more, and leaves what has not ended to the next start.
pub struct Watching {
    config: Arc<WatchConfig>,
    shared: Arc<Shared>,
}

/// What a shutdown found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchReport {
    /// Files that ended in `processed`, since the start.
    pub processed: u64,
    /// Files that ended in `failed`.
    pub failed: u64,
    /// Files taken that have not ended: they are in `processing`, for the next start.
    pub left: u64,
}

impl Watching {
    /// The watcher at this moment.
    ///
    /// # Cost
    /// One lock, and a copy of some numbers.
    #[must_use]
    pub fn snapshot(&self) -> WatchSnapshot {
        let view = self.shared.view();
        let times = self.shared.admission_times.look();
        WatchSnapshot::new(self.config.name.clone(), view.gauges, view.counts, times)
    }

    /// Reads the directory once more, and waits until everything found in it has ended, and
    /// everything else that is known; or the watcher is over. What was closed, or renamed into the
    /// directory, before the call is found by it.
    ///
    /// Waits for as long as something of the directory does not work, or the pipeline refuses.
    ///
    /// # Cancel safety
    /// Nothing is lost: it only watches.
    pub async fn drained(&self) {
        let asked = self.shared.order(|orders| {
            orders.scans += 1;
            orders.scans
        });
        self.shared
            .comes_to(|view| view.is_over || (view.is_idle && view.scans_asked >= asked))
            .await;
    }

    /// Takes no more files. Those of which the pipeline has accepted something go on to their end, the
    /// others stay in `processing` for the next start.
    pub fn close(&self) {
        self.shared.order(|orders| orders.is_closed = true);
    }

    /// Closes, waits until all that go on have ended, and reports, after `within` + 100 ms at the
    /// latest. What has not ended by then stays in `processing`; what the pipeline has of it goes on
    /// there, and is resumed, or run again, after the next start.
    ///
    /// Of a pipeline that is shut down first everything has ended or come back by then, so that this
    /// takes no longer than the disk.
    ///
    /// # Cancel safety
    /// Dropped, the watcher stays closed; call it again.
    pub async fn shutdown(&self, within: Duration) -> WatchReport {
        let now = time::now();
        self.close();
        let over = || self.shared.comes_to(|view| view.is_over);
        if time::until(time::later(now, within), over()).await.is_none() {
            self.shared.order(|orders| orders.is_cut = true);
            time::until(time::later(now, within.saturating_add(MARGIN)), over()).await;
        }
        let View { counts, gauges, .. } = self.shared.view();
        let Counts { processed, failed, left, .. } = counts;
        WatchReport { processed, failed, left: left + gauges.in_flight as u64 }
    }
}

#[cfg(test)]
impl Watching {
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

#[cfg(test)]
impl View {
    pub(super) fn has_trouble(&self) -> bool {
        self.gauges.trouble.is_some()
    }

    pub(super) fn is_running(&self, documents: usize) -> bool {
        self.gauges.documents_running == documents
    }

    pub(super) fn is_waiting(&self, documents: usize) -> bool {
        self.gauges.documents_waiting == documents
    }

    pub(super) fn is_in_flight(&self, files: usize) -> bool {
        self.gauges.in_flight == files
    }

    pub(super) fn has_processed(&self, files: u64) -> bool {
        self.counts.processed == files
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.shared.order(|orders| orders.is_cut = true);
    }
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching")
            .field("directory", &self.config.directory)
            .finish_non_exhaustive()
    }
}

/// Between the handle and the task.
pub(super) struct Shared {
    /// Rung when there is something for the task.
    pub(super) bell: Arc<Notify>,
    orders: Mutex<Orders>,
    view: Mutex<View>,
    /// Told when the view is worth a look.
    changed: Notify,
    pub(super) admission_times: Recorder,
}

/// What the task is to do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Orders {
    /// How often the directory was to be read.
    pub(super) scans: u64,
    pub(super) is_closed: bool,
    pub(super) is_cut: bool,
}

/// What the task shows of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) scans_asked: u64,
    is_idle: bool,
    pub(super) is_over: bool,
    gauges: Gauges,
    counts: Counts,
}

impl View {
    pub(super) fn of<P>(core: &Core<P>, scans_asked: u64) -> Self {
        let (documents_waiting, documents_running) = core.documents();
        let gauges = Gauges {
            waiting: core.waiting(),
            in_flight: core.in_flight(),
            documents_waiting,
            documents_running,
            trouble: core.trouble().map(str::to_owned),
        };
        let (is_idle, counts) = (core.is_idle(), core.counts);
        Self { scans_asked, is_idle, is_over: false, gauges, counts }
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            bell: Arc::new(Notify::new()),
            orders: Mutex::new(Orders::default()),
            view: Mutex::new(View::default()),
            changed: Notify::new(),
            admission_times: Recorder::default(),
        }
    }

    pub(super) fn orders(&self) -> Orders {
        *self.orders.lock()
    }

    pub(super) fn view(&self) -> View {
        self.view.lock().clone()
    }

    fn order<R>(&self, act: impl FnOnce(&mut Orders) -> R) -> R {
        let done = act(&mut self.orders.lock());
        self.bell.notify_one();
        done
    }

    pub(super) fn show(&self, view: View) {
        *self.view.lock() = view;
        self.changed.notify_waiters();
    }

    /// Its task has ended. Unless it was told to, that is trouble.
    pub(super) fn is_over(&self) {
        let mut view = self.view.lock();
        if !view.is_over {
            view.is_over = true;
            view.gauges.trouble = Some("it has stopped: its task was ended".to_owned());
        }
        drop(view);
        self.changed.notify_waiters();
    }

    pub(super) async fn comes_to(&self, is_so: impl Fn(&View) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Registered before the look, so that what is published in between is not lost.
            changed.as_mut().enable();
            if is_so(&self.view.lock()) {
                return;
            }
            changed.await;
        }
    }
}
