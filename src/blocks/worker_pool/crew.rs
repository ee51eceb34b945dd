//! The workers: tasks that pull. Shared with the pipeline.
//!
//! 1. Work never waits beside an idle worker: whenever some could start and somebody is idle, one
//!    worker is waking (`waking`), and it wakes the next one if there is more when it has taken
//!    its own. So a burst wakes workers one after another and a lone submitter wakes one.
//! 2. `Idlers` is guarded by the owner's lock, the same that guards the queue: who finds nothing
//!    and rests, and who adds work and rouses, are in one order. The bell counts, so a ring that
//!    comes before the worker listens is not lost.
//! 3. A worker leaves only when it is told to, or when its runtime ends; the last one says so.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::ground::primitives::atomic::{AtomicUsize, Ordering};
use crate::ground::time;

/// What a crew works for.
pub(crate) trait Post: Send + Sync + 'static {
    /// Something to do.
    type Job: Send;
    /// What is to be booked about a job that is done.
    type Done: Send;

    /// Books what was done and gives the next job: one lock for both.
    fn next(&self, turn: Turn<Self::Done>) -> Next<Self::Job>;

    /// Does it. Must not panic, must charge the runtime's budget (jobs that are always ready would
    /// else keep the worker from ever yielding), and must book the job as cancelled when it is
    /// dropped half-way, as a runtime does that shuts down.
    fn work(&self, job: Self::Job) -> impl Future<Output = Self::Done> + Send;

    fn crew(&self) -> &Crew;

    /// The last worker has left, told to or because its runtime ended: nobody pulls any more.
    fn deserted(&self) {}
}

/// Why a worker asks for a job.
#[derive(Debug)]
pub(crate) enum Turn<D> {
    /// It has just begun, or was roused.
    Roused,
    /// Nobody rang, but the time it rested for has come.
    Late,
    /// It is done with one.
    Done(D),
}

/// What a worker gets.
#[derive(Debug)]
pub(crate) enum Next<J> {
    Job(J),
    /// Nothing can start: counted idle (see [`Idlers::rest`]) until it is roused, or until then.
    Idle {
        until: Option<Instant>,
    },
    /// Go.
    Leave,
}

/// How many rest, and whether one is waking. Part of what the owner's lock guards.
#[derive(Debug, Default)]
pub(crate) struct Idlers {
    idle: usize,
    waking: bool,
}

impl Idlers {
    /// A worker found nothing to start.
    pub(crate) fn rest(&mut self) {
        self.idle += 1;
    }

    /// A worker's rest has ended by itself.
    pub(crate) fn late(&mut self) {
        self.idle = self.idle.saturating_sub(1);
    }

    /// A roused worker has arrived.
    pub(crate) fn arrived(&mut self) {
        self.waking = false;
    }

    /// Something could start: whether to ring once, after the unlock.
    #[must_use]
    pub(crate) fn rouse(&mut self) -> bool {
        let rings = self.idle > 0 && !self.waking;
        if rings {
            self.idle -= 1;
            self.waking = true;
        }
        rings
    }

    /// Everybody up: how often to ring.
    #[must_use]
    pub(crate) fn rouse_all(&mut self) -> usize {
        std::mem::take(&mut self.idle)
    }
}

/// The workers of one owner.
#[derive(Debug)]
pub(crate) struct Crew {
    bell: Semaphore,
    alive: AtomicUsize,
    gone: CancellationToken,
}

impl Crew {
    pub(crate) fn new() -> Self {
        Self { bell: Semaphore::new(0), alive: AtomicUsize::new(0), gone: CancellationToken::new() }
    }

    /// Starts `workers` of them, once.
    pub(crate) fn start<P: Post>(post: &Arc<P>, workers: usize, runtime: &Handle) {
        // Relaxed: no worker runs yet.
        post.crew().alive.store(workers, Ordering::Relaxed);
        for _ in 0..workers {
            runtime.spawn(worker(Leaving(Arc::clone(post))));
        }
    }

    /// A member more, who does something else than pull.
    pub(crate) fn enlist<P: Post>(post: &Arc<P>) -> Leaving<P> {
        // Relaxed: whoever enlists holds the post, and nobody has left yet.
        post.crew().alive.fetch_add(1, Ordering::Relaxed);
        Leaving(Arc::clone(post))
    }

    /// Wakes so many resting workers.
    pub(crate) fn ring(&self, times: usize) {
        self.bell.add_permits(times);
    }

    /// Waits until every worker has left, `until` at the latest; whether they have.
    /// Cancel safe: it only watches.
    pub(crate) async fn all_gone(&self, until: Option<Instant>) -> bool {
        time::until(until, self.gone.cancelled()).await.is_some()
    }

    /// Whether this was the last one.
    fn leave(&self) -> bool {
        // AcqRel: the last one to leave sees what the others did before they left.
        self.alive.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// A member's place in the crew; given up when it ends, however.
pub(crate) struct Leaving<P: Post>(Arc<P>);

impl<P: Post> Leaving<P> {
    pub(crate) fn post(&self) -> &P {
        &self.0
    }
}

impl<P: Post> Drop for Leaving<P> {
    fn drop(&mut self) {
        if self.0.crew().leave() {
            self.0.deserted();
            self.0.crew().gone.cancel();
        }
    }
}

async fn worker<P: Post>(me: Leaving<P>) {
    let post = &me.0;
    let mut turn = Turn::Roused;
    loop {
        turn = match post.next(turn) {
            Next::Job(job) => Turn::Done(post.work(job).await),
            Next::Idle { until } => {
                let bell = &post.crew().bell;
                match time::until(until, bell.acquire()).await {
                    Some(Ok(ring)) => ring.forget(),
                    // Never closed.
                    Some(Err(_)) => return,
                    None => match bell.try_acquire() {
                        // It was being roused in this moment.
                        Ok(ring) => ring.forget(),
                        Err(_) => {
                            turn = Turn::Late;
                            continue;
                        }
                    },
                }
                Turn::Roused
            }
            Next::Leave => return,
        };
    }
}
