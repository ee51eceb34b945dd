//! What the core decides is done here, by one task.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use notify::RecommendedWatcher;
use tokio::task::JoinSet;

use super::core::{Command, Core, Told};
use super::events::Events;
use super::finish::{self, Finished};
use super::folder::{Folder, Listing};
use super::line::{DocumentNo, FileNo};
use super::names::Names;
use super::steps::Step;
use super::take::{self, Source, Taken};
use super::waiting::Found;
use super::watcher::{Shared, View};
use crate::edges::intake::{Decode, failure};
use crate::ground::primitives::Hashing;
use crate::ground::quiet::drop_quietly;
use crate::ground::time::{self, Instant};
use crate::pipeline::{Done, Ended, Failure, Resumed, Ticket};
use crate::{Ending, Intent, IntentPipeline};

/// Ends of work that are looked at before what they make possible is begun; and so much is begun
/// before others of the runtime have their turn.
const TURN: usize = 256;

/// Bytes of what is told of a failure.
const MOST_ERROR: usize = 512;

pub(super) struct Driver<P: Send + Sync + 'static, O: Send + Sync + 'static> {
    pub(super) core: Core<P>,
    pub(super) names: Names,
    pub(super) folder: Arc<Folder>,
    pub(super) decode: Arc<dyn Decode<P>>,
    pub(super) pipeline: IntentPipeline<P, O>,
    /// What the pipeline has from a former life, by key.
    pub(super) resumed: HashMap<Arc<str>, Vec<Resumed<P, O>>, Hashing>,
    pub(super) jobs: JoinSet<Work<P>>,
    pub(super) shared: Arc<Shared>,
    pub(super) events: Arc<Events>,
    /// Told of until it is dropped.
    pub(super) _watcher: RecommendedWatcher,
}

/// Something that was waited for.
pub(super) enum Work<P> {
    Recovered(Result<(Vec<Arc<OsStr>>, u64), String>),
    Scanned(Result<Listing, String>),
    Looked(Vec<(Arc<OsStr>, u64, Option<Found>)>),
    Taken(FileNo, Option<Arc<OsStr>>, Taken<Intent<P>>),
    Finished(FileNo, Finished),
    Told(DocumentNo, Told<P>),
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Driver<P, O> {
    /// Until it is closed and everything of its own is over, or cut.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _over = Over(Arc::clone(&shared));
        self.work().await;
        let mut last = View::of(&self.core, shared.orders().scans);
        // Whoever sees that it is over may watch the directory again.
        drop(self);
        last.is_over = true;
        shared.show(last);
    }

    async fn work(&mut self) {
        let bell = Arc::clone(&self.shared.bell);
        let mut work = None;
        loop {
            let now = time::now();
            self.hear(now);
            let orders = self.shared.orders();
            if orders.scans > self.shared.view().scans_asked {
                self.core.rescan();
            }
            for _ in 0..TURN {
                let Some(done) = work.take().or_else(|| self.jobs.try_join_next()) else { break };
                // Only a runtime that ends drops a job, and with it everything here.
                let Ok(done) = done else { return };
                self.done(done, now);
            }
            if orders.is_cut {
                self.core.cut();
            } else if orders.is_closed {
                self.core.close();
            }
            let is_more = self.act(now);
            if self.core.is_over() {
                return;
            }
            self.shared.show(View::of(&self.core, orders.scans));
            if is_more {
                tokio::task::yield_now().await;
                continue;
            }
            let due = self.core.due(now);
            let mut rung = pin!(bell.notified());
            let jobs = &mut self.jobs;
            let woken = poll_fn(|cx| match jobs.poll_join_next(cx) {
                Poll::Ready(Some(done)) => Poll::Ready(Some(done)),
                _ => rung.as_mut().poll(cx).map(|()| None),
            });
            work = time::until(due, woken).await.flatten();
        }
    }

    /// What the system has told.
    fn hear(&mut self, now: Instant) {
        let changes = self.events.take();
        for (name, change, at) in changes.each.into_iter().flatten() {
            self.core.changed(name, change, at);
        }
        if changes.is_lossy {
            self.core.lost(now);
        }
    }

    fn done(&mut self, work: Work<P>, now: Instant) {
        match work {
            Work::Recovered(found) => self.core.recovered(found, now),
            Work::Scanned(found) => self.core.scanned(found, now),
            Work::Looked(found) => self.core.looked(found, now),
            Work::Taken(no, own, taken) => self.core.taken(no, own, taken, now),
            Work::Finished(no, finished) => self.core.finished(no, finished, now),
            Work::Told(no, told) => self.core.told(no, told, now),
        }
    }

    /// Does what is to be done. Whether there may be more, when others have had their turn.
    fn act(&mut self, now: Instant) -> bool {
        for _ in 0..TURN {
            let Some(command) = self.core.next(now) else { return false };
            self.carry_out(command, now);
        }
        true
    }

    fn carry_out(&mut self, command: Command<P>, now: Instant) {
        let folder = Arc::clone(&self.folder);
        let said = |error: std::io::Error| error.to_string();
        match command {
            Command::Recover => {
                self.blocking(move || Work::Recovered(finish::recover(&folder).map_err(said)));
            }
            Command::Scan(most) => {
                self.blocking(move || Work::Scanned(folder.scan(most).map_err(said)));
            }
            Command::Look(names) => self.blocking(move || {
                let look = |(name, round): (Arc<OsStr>, u64)| {
                    let found = folder.look(&name);
                    (name, round, found)
                };
                Work::Looked(names.into_iter().map(look).collect())
            }),
            Command::Claim(no, own) => {
                let claimed: Arc<OsStr> = self.names.claim(&own).into();
                self.core.claims(no, Arc::clone(&claimed));
                self.take(no, Source::Inbox(own, claimed));
            }
            Command::Read(no, claimed) => self.take(no, Source::Claimed(claimed)),
            Command::Submit(no, intent) => self.submit(no, intent, now),
            Command::Finish(no, claimed, shape, mut status) => self.blocking(move || {
                status.ended_unix_ms = u64::try_from(time::wall().as_millis()).unwrap_or(u64::MAX);
                Work::Finished(no, finish::finish(&folder, &claimed, shape, &status))
            }),
        }
    }

    fn take(&mut self, no: FileNo, source: Source) {
        let (folder, decode) = (Arc::clone(&self.folder), Arc::clone(&self.decode));
        self.blocking(move || {
            let taken = take::take(&folder, &source, &*decode);
            let own = match source {
                Source::Inbox(own, _) => Some(own),
                Source::Claimed(_) => None,
            };
            Work::Taken(no, own, taken)
        });
    }

    /// On a thread for what blocks; the core says how many at once.
    fn blocking(&mut self, act: impl FnOnce() -> Work<P> + Send + 'static) {
        self.jobs.spawn_blocking(act);
    }

    fn submit(&mut self, no: DocumentNo, intent: Intent<P>, now: Instant) {
        // Fails, and dies, in tests only.
        let _ = self.folder.steps.at(Step::Submits);
        let ticket = match self.resume(&intent) {
            Some(ticket) => Ok(ticket),
            None => self.pipeline.try_submit(intent),
        };
        match ticket {
            Ok(ticket) => {
                if let Some(since) = self.core.admitted(no) {
                    self.shared
                        .admission_times
                        .record(time::now().saturating_duration_since(since));
                }
                self.jobs.spawn(async move { Work::Told(no, told(ticket.await)) });
            }
            Err(refused) => {
                let why = (refused.reason(), refused.retry_after());
                self.core.refused(no, refused.into_inner(), why, now);
            }
        }
    }

    /// The pipeline has kept it from a former life: it is not told again.
    fn resume(&mut self, intent: &Intent<P>) -> Option<Ticket<P, O>> {
        let same = self.resumed.get_mut(&intent.key)?;
        let is_it =
            |it: &Resumed<P, O>| it.generation == intent.generation && it.content == intent.content;
        let at = same.iter().position(is_it)?;
        Some(same.swap_remove(at).ticket)
    }
}

/// Nobody waits for a task that has panicked, or whose runtime has ended.
struct Over(Arc<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.is_over();
    }
}

fn told<P, O>(result: Result<Done<O>, Ended<P>>) -> Told<P> {
    let ended = match result {
        Err(ended) => ended,
        Ok(done) => {
            drop_quietly(done);
            let ending = Ending::Completed;
            return Told { ending, phase: None, error: None, intent: None, is_unkept: false };
        }
    };
    let (ending, phase) = (ended.ending(), ended.phase());
    let error = ended.error().map(|error| failure::told(error, MOST_ERROR));
    let is_unkept = matches!(ended.error(), Some(Failure::NotPersisted(_)));
    // With the intent goes the error, whose `Drop` may panic: then it is read again.
    let intent = catch_unwind(AssertUnwindSafe(|| ended.into_intent()));
    let intent = intent.unwrap_or_else(|panic| {
        drop_quietly(panic);
        None
    });
    Told { ending, phase, error, intent, is_unkept }
}
