//! The one lock of a pool, and what is done after it.
//!
//! Lock order: the core's lock, then nothing. Nothing of a user's is run, woken or dropped while
//! it is held.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::alarm::{Alarm, Due};
use super::config::Limits;
use super::core::{Core, Door, Job, No, Seeker, TaskSlot};
use super::crew::{Crew, Next, Post, Turn, WorkerNo};
use super::errands::{Errands, More};
use super::error::TaskError;
use super::lease::{Gave, Leases};
use super::meters::Meters;
use super::metrics::DrainReport;
use super::nested::Inside;
use super::node::{Slot, Work};
use super::pressure::{Announcer, Pressure};
use super::seats::SeatNo;
use super::task::{Options, TaskId};
use crate::gates::wait_queue::{Place, Ticket};
use crate::ground::primitives::Mutex;
use crate::ground::primitives::atomic::{AtomicBool, Ordering};
use crate::ground::quiet::{drop_quietly, wake_quietly};
use crate::ground::time::{self, Glance, Instant};
use crate::{Ending, Priority};

pub(super) type PoolCore = Core<Work>;
pub(super) type PoolErrands = Errands<Work>;

impl Seeker for Work {
    type Slot = Slot;

    fn is_caller(&self) -> bool {
        Self::is_caller(self)
    }

    fn class(&self) -> Priority {
        Self::class(self)
    }

    fn number(&self, next: impl FnOnce() -> u64) -> TaskId {
        Self::number(self, next)
    }

    fn set_number(&self, number: TaskId) {
        Self::set_number(self, number);
    }

    fn has_callback(&self) -> bool {
        Self::has_callback(self)
    }
}

impl TaskSlot<Work> for Slot {
    fn open(&self) {
        Self::open(self);
    }

    fn look(&self) -> Option<Work> {
        Self::look(self)
    }

    fn close(&self) -> Option<Work> {
        Self::close(self)
    }
}

/// What handles and workers share.
pub(super) struct Shared {
    core: Mutex<PoolCore>,
    /// The core's own, as are the meters.
    leases: Arc<Leases<Slot>>,
    meters: Arc<Meters>,
    crew: Crew,
    /// Somebody was refused, and nothing has left the queue since.
    crowded: AtomicBool,
    /// No seat was free for the last one that came through the lock.
    seatless: AtomicBool,
    /// What runs is to end at its next await point.
    halted: AtomicBool,
    /// The same, for those whom nobody knows how to wake.
    halting: CancellationToken,
    ended: CancellationToken,
    pressure: Announcer,
    /// The longest a task runs that does not say itself.
    timeout: Option<Duration>,
    /// Where tasks run.
    runtime: Id,
    /// Starts workers there, where their number changes.
    hires: Option<Handle>,
}

impl Shared {
    pub(super) fn new(limits: Limits, timeout: Option<Duration>, runtime: &Handle) -> Self {
        let core = Core::new(limits);
        Self {
            leases: Arc::clone(&core.leases),
            meters: Arc::clone(&core.meters),
            core: Mutex::new(core),
            crew: Crew::new(),
            crowded: AtomicBool::new(false),
            seatless: AtomicBool::new(false),
            halted: AtomicBool::new(false),
            halting: CancellationToken::new(),
            ended: CancellationToken::new(),
            pressure: Announcer::new(),
            timeout,
            runtime: runtime.id(),
            hires: limits.scale.changes().then(|| runtime.clone()),
        }
    }

    /// One operation: one lock, at most one look at the clock, and then what it left to do.
    #[inline]
    pub(super) fn with<R>(
        self: &Arc<Self>,
        verb: impl FnOnce(&mut PoolCore, &Glance, &mut PoolErrands) -> R,
    ) -> R {
        self.with_at(&Glance::default(), verb)
    }

    /// The same with a look that others take part in.
    #[inline]
    fn with_at<R>(
        self: &Arc<Self>,
        now: &Glance,
        verb: impl FnOnce(&mut PoolCore, &Glance, &mut PoolErrands) -> R,
    ) -> R {
        let mut errands = Errands::default();
        let mut core = self.core.lock();
        let result = verb(&mut core, now, &mut errands);
        core.gauge(&mut errands);
        drop(core);
        if !errands.is_empty() {
            self.run_errands(errands);
        }
        result
    }

    /// Whether the next one is likely to be refused. Only a hint: it costs no lock.
    pub(super) fn is_crowded(&self) -> bool {
        // Relaxed: it decides nothing but which way is the cheaper.
        self.crowded.load(Ordering::Relaxed)
    }

    /// Somebody has gone: the next one may get in.
    pub(super) fn uncrowd(&self) {
        if self.is_crowded() {
            self.crowded.store(false, Ordering::Relaxed);
        }
    }

    /// Whether who awaits what he has just submitted would find no seat for it. Only a hint.
    pub(super) fn is_seatless(&self) -> bool {
        // Relaxed, here and below: as for `is_crowded`.
        self.seatless.load(Ordering::Relaxed)
    }

    /// Puts a task in the queue, or gives it back with the reason, which `count` writes down.
    pub(super) fn push(
        self: &Arc<Self>,
        work: Work,
        place: &Place,
        count: fn(&mut PoolCore, No) -> No,
    ) -> Result<Ticket, (No, Work)> {
        self.with(|core, now, out| self.push_under(core, (work, place), count, now, out))
    }

    /// The same for many, under one lock; what is refused is counted.
    pub(super) fn push_all(
        self: &Arc<Self>,
        works: Vec<(Work, Place)>,
    ) -> Vec<Result<Ticket, (No, Work)>> {
        let count = PoolCore::refuse;
        self.with(|core, now, out| {
            let push = |(work, place)| self.push_under(core, (work, &place), count, now, out);
            works.into_iter().map(push).collect()
        })
    }

    #[inline]
    fn push_under(
        &self,
        core: &mut PoolCore,
        (work, place): (Work, &Place),
        count: fn(&mut PoolCore, No) -> No,
        now: &Glance,
        out: &mut PoolErrands,
    ) -> Result<Ticket, (No, Work)> {
        match core.admit(Door::Street, place, now, out) {
            Ok(plan) => {
                let ticket = core.enqueue(plan, place, work, now, out);
                if core.is_seatless() != self.is_seatless() {
                    self.seatless.store(core.is_seatless(), Ordering::Relaxed);
                }
                Ok(ticket)
            }
            Err(no) => {
                self.crowded.store(true, Ordering::Relaxed);
                Err((count(core, no), work))
            }
        }
    }

    pub(super) fn pressure(&self) -> watch::Receiver<Pressure> {
        self.pressure.subscribe()
    }

    pub(super) fn runtime(&self) -> Id {
        self.runtime
    }

    /// A look that changes nothing.
    pub(super) fn read<R>(&self, look: impl FnOnce(&PoolCore) -> R) -> R {
        look(&self.core.lock())
    }

    fn run_errands(self: &Arc<Self>, errands: PoolErrands) {
        let (waker, more) = errands.into_parts();
        if let Some(waker) = waker {
            wake_quietly(waker);
        }
        if let Some(more) = more {
            self.run_more(*more);
        }
    }

    #[cold]
    fn run_more(self: &Arc<Self>, more: More<Work>) {
        let More { left, drained, seated, wakers, spent, pressure, hired, ended } = more;
        drop_quietly(spent);
        if let Some(change) = pressure {
            self.pressure.announce(change);
        }
        for (caller, seat) in seated {
            if let Err(seat) = caller.seat(seat) {
                // It left between its turn and this: the seat goes to the next.
                self.release(seat, Ending::Cancelled);
            }
        }
        wakers.into_iter().for_each(wake_quietly);
        if let Some(runtime) = &self.hires {
            hired.into_iter().for_each(|no| Crew::hire(self, no, runtime));
        }
        let callbacks = left.iter().filter(|(one, _)| one.has_callback()).count()
            + usize::from(drained.is_some());
        let drained = drained.into_iter();
        let drained = drained.flat_map(|drained| {
            let (drain, ending) = *drained;
            drain.map(move |one| (one, ending))
        });
        for (mut one, ending) in left.into_iter().chain(drained) {
            // One that was put back had begun: `Core::halt` counts it so as well.
            let ending = if ending == Ending::Returned && one.has_begun() {
                Ending::Cancelled
            } else {
                ending
            };
            one.give_up(TaskError::unfinished(ending));
            one.publish();
        }
        if ended {
            self.ended.cancel();
        }
        if callbacks > 0 {
            self.with(|core, now, out| {
                core.told(callbacks);
                core.settle(now, out);
            });
        }
    }

    pub(super) fn cancel(self: &Arc<Self>, ticket: Ticket) {
        self.uncrowd();
        self.with(|core, now, out| core.cancel(ticket, now, out));
    }

    /// Books the end of what ran outside the crew.
    pub(super) fn release(self: &Arc<Self>, seat: SeatNo, ending: Ending) {
        self.uncrowd();
        self.with(|core, now, out| {
            core.book(seat, ending, now);
            core.settle(now, out);
        });
    }

    pub(super) fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    pub(super) fn leases(&self) -> &Leases<Slot> {
        &self.leases
    }

    /// When what begins on this stripe's seat begins, if it is one that is timed.
    #[inline]
    pub(super) fn begin_beside(&self, stripe: usize) -> Option<Instant> {
        self.leases.begin(stripe, self.meters.sample())
    }

    /// What was run beside the lock has ended, and gives its seat back.
    #[inline]
    pub(super) fn end_beside(
        self: &Arc<Self>,
        stripe: usize,
        since: Option<Instant>,
        ending: Ending,
    ) {
        if let (Some(since), Ending::Completed | Ending::Failed) = (since, ending) {
            let took = time::now().saturating_duration_since(since);
            self.leases.took(stripe, took);
            self.meters.runs.record(took);
        }
        self.given(self.leases.give(stripe, ending));
    }

    /// A leased seat has come back; the core must hear of it, if somebody waits.
    #[inline]
    pub(super) fn given(self: &Arc<Self>, gave: Gave) {
        if gave == Gave::Collect {
            self.with(|core, now, out| {
                core.collect();
                core.settle(now, out);
            });
        }
    }

    pub(super) fn close(self: &Arc<Self>) {
        self.with(|core, now, out| core.close(now, out));
    }

    pub(super) fn halt(self: &Arc<Self>, ending: Ending) {
        self.with(|core, now, out| {
            core.halt(ending, now, out);
            // Release: the workers are woken after this, and look. Under the lock, with the queue
            // empty: so nothing is started only to be stopped.
            self.halted.store(true, Ordering::Release);
        });
        self.halting.cancel();
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
            unresponsive: core.running().collect(),
            in_run: core.in_run(),
        })
    }

    /// Polls a task for the first time; nothing ends it yet but itself.
    #[inline]
    pub(super) fn begin(&self, task: &mut Work, cx: &mut Context<'_>) -> Poll<Ending> {
        let _inside = Inside::of(self);
        task.poll(cx)
    }

    /// Polls a task towards its end, which its time or a halt may be. One that is ready at once costs
    /// no timer and no look at the clock.
    pub(super) fn poll(
        &self,
        task: &mut Work,
        due: &mut Due,
        alarm: &mut Alarm,
        cx: &mut Context<'_>,
    ) -> Poll<Ending> {
        // Acquire: pairs with `halt`.
        if self.halted.load(Ordering::Acquire) && task.stops() {
            return Poll::Ready(task.give_up(TaskError::Cancelled));
        }
        if let Poll::Ready(ending) = self.begin(task, cx) {
            return Poll::Ready(ending);
        }
        let limit = || Options::limit(task.options(), self.timeout, time::now());
        let Some(due) = *due.get_or_insert_with(limit) else { return Poll::Pending };
        ready!(alarm.poll(due, cx));
        if self.hires.is_some() {
            self.core.lock().dropped();
        }
        Poll::Ready(task.give_up(TaskError::TimedOut))
    }

    /// Done when what runs is to end at its next await point.
    pub(super) fn halting(&self) -> WaitForCancellationFutureOwned {
        self.halting.clone().cancelled_owned()
    }

    /// What its handle was running goes back into the queue; not when the pool has halted. One that
    /// can't be stopped goes to a worker.
    pub(super) fn put_back(
        self: &Arc<Self>,
        job: Job<Work>,
        place: &Place,
    ) -> Result<Option<Ticket>, Job<Work>> {
        job.task.mark_begun();
        self.with(|core, now, out| {
            if !job.task.stops() {
                return core.go_on(job, place, now, out).map(|()| None);
            }
            // Relaxed: written under this lock.
            if self.halted.load(Ordering::Relaxed) {
                return Err(job);
            }
            Ok(core.put_back(job, place, now, out))
        })
    }
}

/// What a worker has done.
pub(super) struct Done {
    job: Job<Work>,
    ending: Ending,
}

impl Post for Shared {
    type Job = Job<Work>;
    type Done = Done;
    type Kit = Alarm;

    fn next(self: &Arc<Self>, who: WorkerNo, turn: Turn<Done>, now: &Glance) -> Next<Self::Job> {
        let (next, done) = self.with_at(now, |core, now, out| {
            let has_worked = matches!(turn, Turn::Done(_) | Turn::Spent(_));
            let is_spent = matches!(turn, Turn::Spent(_));
            let done = match turn {
                Turn::Begun(waker) => {
                    core.roster.begun(who, waker);
                    None
                }
                Turn::Up => {
                    core.roster.up(who);
                    None
                }
                Turn::Done(Done { job, ending }) | Turn::Spent(Done { job, ending }) => {
                    core.book(job.seat, ending, now);
                    self.uncrowd();
                    Some(job.task)
                }
            };
            if is_spent && core.pauses(now, out) {
                return (Next::Pause, done);
            }
            (core.pull(who, has_worked, now, out), done)
        });
        if let Some(task) = done {
            task.publish();
        }
        next
    }

    async fn work(self: &Arc<Self>, job: Self::Job, alarm: &mut Alarm) -> Done {
        let mut working = Working { shared: self, job: Some(job) };
        let ending = match &mut working.job {
            Some(job) => {
                let mut due = None;
                poll_fn(|cx| self.poll(&mut job.task, &mut due, alarm, cx)).await
            }
            None => unreachable!("taken below, and only there"),
        };
        match working.job.take() {
            Some(job) => Done { job, ending },
            None => unreachable!("taken here, and only here"),
        }
    }

    fn crew(&self) -> &Crew {
        &self.crew
    }

    fn deserted(self: &Arc<Self>) {
        self.halt(Ending::Returned);
        let abandoned = self.with(|core, _, _| core.desert());
        for Job { seat, mut task } in abandoned {
            let ending = task.give_up(TaskError::Cancelled);
            self.release(seat, ending);
            task.publish();
        }
    }
}

/// A job in the hands of a worker. Dropped half-way, when the runtime ends, it ends cancelled.
struct Working<'a> {
    shared: &'a Arc<Shared>,
    job: Option<Job<Work>>,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        if let Some(Job { seat, mut task }) = self.job.take() {
            let ending = task.give_up(TaskError::Cancelled);
            self.shared.release(seat, ending);
            task.publish();
        }
    }
}

/// How long shutdown waits for what it has asked to stop: half of what its contract allows.
pub(super) const STOP_GRACE: Duration = Duration::from_millis(50);
