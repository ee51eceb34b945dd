//! The one lock of a pool, and what is done after it.
//!
//! Lock order: the core's lock, then nothing. Bodies, outcomes and cells are locked only while
//! the core's is not held.

use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::core::{Core, Job, No};
use super::crew::{Crew, Next, Post, Turn};
use super::errands::{Errands, Queued};
use super::error::TaskError;
use super::metrics::DrainReport;
use super::node::Work;
use super::seats::SeatNo;
use super::{config::Limits, core};
use crate::gates::wait_queue::Ticket;
use crate::ground::handoff::Handoff;
use crate::ground::primitives::Mutex;
use crate::ground::quiet::{drop_quietly, wake_quietly};
use crate::ground::time;
use crate::{Ending, Reason};

pub(super) type TaskRef = Arc<dyn Work>;
pub(super) type WaiterRef = Arc<Handoff<Verdict>>;
pub(super) type PoolCore = Core<TaskRef, WaiterRef>;
pub(super) type PoolErrands = Errands<TaskRef, WaiterRef>;

/// What a caller of `run` waits for. Plain data: whoever gets a `Seat` must give it up.
#[derive(Debug)]
pub(super) enum Verdict {
    Seat(SeatNo),
    No(No),
}

/// What handles and workers share.
pub(super) struct Shared {
    core: Mutex<PoolCore>,
    crew: Crew,
    ended: CancellationToken,
}

impl Shared {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            core: Mutex::new(Core::new(limits)),
            crew: Crew::new(),
            ended: CancellationToken::new(),
        }
    }

    /// One operation: one look at the clock, one lock, and then what it left to do.
    pub(super) fn with<R>(
        &self,
        verb: impl FnOnce(&mut PoolCore, Instant, &mut PoolErrands) -> R,
    ) -> R {
        let now = time::now();
        let mut errands = Errands::default();
        let result = verb(&mut self.core.lock(), now, &mut errands);
        self.run_errands(errands);
        result
    }

    /// A look that changes nothing.
    pub(super) fn read<R>(&self, look: impl FnOnce(&PoolCore) -> R) -> R {
        look(&self.core.lock())
    }

    fn run_errands(&self, mut errands: PoolErrands) {
        loop {
            let refused = self.run_once(errands);
            if refused.is_empty() {
                return;
            }
            // They left between their turn and this: their seats go to the next.
            errands = Errands::default();
            let now = time::now();
            let mut core = self.core.lock();
            for seat in refused {
                core.book(seat, Ending::Cancelled, now);
            }
            core.settle(now, &mut errands);
        }
    }

    /// Gives the seats back that nobody took.
    fn run_once(&self, errands: PoolErrands) -> Vec<SeatNo> {
        let Errands { left, drained, granted, stops, wakers, spent, rings, ended } = errands;
        drop_quietly(spent);
        let mut refused = Vec::new();
        for (waiter, seat) in granted {
            match waiter.put(Verdict::Seat(seat)) {
                Ok(waker) => waker.into_iter().for_each(wake_quietly),
                Err(_) => refused.push(seat),
            }
        }
        if rings > 0 {
            self.crew.ring(rings);
        }
        wakers.into_iter().for_each(wake_quietly);
        for (queued, ending) in left {
            tell(queued, ending, core::refusal(ending));
        }
        if let Some((drain, ending)) = drained {
            for queued in drain {
                tell(queued, ending, Some(Reason::Closed));
            }
        }
        for task in stops {
            task.stop();
        }
        if ended {
            self.ended.cancel();
        }
        refused
    }

    /// Whether it still waited.
    pub(super) fn cancel(&self, ticket: Ticket) -> bool {
        self.with(|core, now, out| core.cancel(ticket, now, out))
    }

    /// Books the end of what ran outside the crew.
    pub(super) fn release(&self, seat: SeatNo, ending: Ending) {
        self.with(|core, now, out| {
            core.book(seat, ending, now);
            core.settle(now, out);
        });
    }

    pub(super) fn close(&self) {
        self.with(|core, now, out| core.close(now, out));
    }

    pub(super) fn halt(&self, ending: Ending) {
        self.with(|core, now, out| core.halt(ending, now, out));
    }

    /// Waits until nothing is live and every worker has left; whether that came in time.
    pub(super) async fn drained(&self, until: Option<Instant>) -> bool {
        let drained = async {
            self.ended.cancelled().await;
            self.crew.all_gone(None).await
        };
        time::until(until, drained).await.is_some()
    }

    pub(super) fn report(&self) -> DrainReport {
        self.read(|core| DrainReport {
            ledger: core.ledger(),
            unresponsive: core.seated().collect(),
        })
    }
}

/// Tells one who left the queue unstarted.
fn tell(queued: Queued<TaskRef, WaiterRef>, ending: Ending, reason: Option<Reason>) {
    match queued {
        Queued::Task(_, task) => {
            task.give_up(TaskError::unfinished(ending));
            task.publish();
        }
        Queued::Inline(_, waiter) => {
            let verdict = reason.map(|reason| Verdict::No(No::because(reason)));
            if let Some(Ok(Some(waker))) = verdict.map(|verdict| waiter.put(verdict)) {
                wake_quietly(waker);
            }
        }
    }
}

/// What a worker has done.
pub(super) struct Done {
    job: Job<TaskRef>,
    ending: Ending,
}

impl Post for Shared {
    type Job = Job<TaskRef>;
    type Done = Done;

    fn next(&self, turn: Turn<Done>) -> Next<Self::Job> {
        let (next, done) = self.with(|core, now, out| {
            let done = match turn {
                Turn::Roused => {
                    core.arrived();
                    None
                }
                Turn::Late => {
                    core.late();
                    None
                }
                Turn::Done(Done { job, ending }) => {
                    core.book(job.seat, ending, now);
                    Some(job.task)
                }
            };
            (core.pull(now, out), done)
        });
        if let Some(task) = done {
            task.publish();
        }
        next
    }

    async fn work(&self, job: Self::Job) -> Done {
        let guard = Working { shared: self, job: &job };
        tokio::task::coop::consume_budget().await;
        let ending = drive(&*job.task, job.task.limit(job.started)).await;
        std::mem::forget(guard);
        Done { job, ending }
    }

    fn crew(&self) -> &Crew {
        &self.crew
    }

    fn deserted(&self) {
        self.halt(Ending::Returned);
    }
}

/// Polls a task to its end, `limit` at the latest. A task that is ready at once costs no timer.
async fn drive(task: &dyn Work, limit: Option<Instant>) -> Ending {
    let mut alarm = std::pin::pin!(None::<tokio::task::coop::Unconstrained<Sleep>>);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(ending) = task.poll(cx) {
            return Poll::Ready(ending);
        }
        let Some(limit) = limit else { return Poll::Pending };
        if alarm.is_none() {
            // Unconstrained: a task that uses up its budget in every poll must still run out of
            // time.
            let sleep = tokio::time::sleep_until(time::timer_at(limit));
            alarm.set(Some(tokio::task::coop::unconstrained(sleep)));
        }
        if let Some(alarm) = alarm.as_mut().as_pin_mut() {
            ready!(alarm.poll(cx));
        }
        Poll::Ready(task.give_up(TaskError::TimedOut))
    })
    .await
}

/// A job in the hands of a worker. Dropped half-way, when the runtime ends, it ends cancelled.
struct Working<'a> {
    shared: &'a Shared,
    job: &'a Job<TaskRef>,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let ending = self.job.task.give_up(TaskError::Cancelled);
        self.shared.release(self.job.seat, ending);
        self.job.task.publish();
    }
}

/// How long shutdown waits for what it has asked to stop: half of what its contract allows.
pub(super) const STOP_GRACE: Duration = Duration::from_millis(50);
