//! The tasks that renew stale values: bounded, and ended with the cache.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};

use crate::ground::primitives::Mutex;
use crate::ground::quiet::drop_quietly;
use crate::ground::time;

/// Dropped, it aborts them all.
#[derive(Debug)]
pub(super) struct Renewals {
    /// `None` once closed.
    pub(super) tasks: Mutex<Option<JoinSet<()>>>,
    most: usize,
}

/// What became of one that should have been begun.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Begun {
    Yes,
    /// So many are under way already, or no more are begun.
    Full,
    /// There is no runtime here.
    Nowhere,
}

impl Renewals {
    pub(super) fn new(most: usize) -> Self {
        Self { tasks: Mutex::new(Some(JoinSet::new())), most }
    }

    /// Begins one, if there is room. `make` is called under no lock.
    pub(super) fn begin<F>(&self, make: impl FnOnce() -> Option<F>) -> Begun
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Ok(runtime) = Handle::try_current() else { return Begun::Nowhere };
        if !self.has_room() {
            return Begun::Full;
        }
        let Some(task) = make() else { return Begun::Yes };
        // A runtime that has ended drops what it is given at once: that must not be the user's, under
        // this lock. So the task finds its future here, and whoever is last drops it.
        let held = Arc::new(Mutex::new(Some(task)));
        let theirs = Arc::clone(&held);
        let renewal = async move {
            let task = theirs.lock().take();
            drop(theirs);
            if let Some(task) = task {
                task.await;
            }
        };
        let has_room = {
            let mut tasks = self.tasks.lock();
            let tasks = tasks.as_mut().filter(|tasks| tasks.len() < self.most);
            tasks.map(|tasks| tasks.spawn_on(renewal, &runtime)).is_some()
        };
        drop(held);
        // Else others took the room meanwhile.
        if has_room { Begun::Yes } else { Begun::Full }
    }

    fn has_room(&self) -> bool {
        let mut ended: Vec<JoinError> = Vec::new();
        let room = {
            let mut tasks = self.tasks.lock();
            tasks.as_mut().is_some_and(|tasks| {
                while let Some(end) = tasks.try_join_next() {
                    ended.extend(end.err());
                }
                tasks.len() < self.most
            })
        };
        // What a load panicked with.
        ended.into_iter().for_each(drop_quietly);
        room
    }

    /// Begins no more; waits for those under way, and ends the rest. How many that were.
    pub(super) async fn shutdown(&self, within: Duration) -> usize {
        let until = time::later(time::now(), within);
        let Some(mut tasks) = self.tasks.lock().take() else { return 0 };
        let all = async {
            while let Some(end) = tasks.join_next().await {
                drop_quietly(end.err())
            }
        };
        let _ = time::until(until, all).await;
        let cut = tasks.len();
        tasks.shutdown().await;
        cut
    }
}
