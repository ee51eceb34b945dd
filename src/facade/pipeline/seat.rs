//! What a worker does with a seat: one attempt of one run. And the keeper of the clock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::chain::{Drive, message_of};
use super::checkpoints::Checkpoint;
use super::control::{Asked, Control, Report};
use super::core::{Core, Life};
use super::progress::Grant;
use super::run::{AttemptEnd, Effects, RunId};
use super::shared::{Body, Shared};
use super::ticket::Failure;
use crate::Verdict;
use crate::blocks::worker_pool::crew::{Crew, Leaving, Next, Post, Turn, WorkerNo};
use crate::circuit_breaker::OwnedCallPermit;
use crate::ground::quiet::drop_quietly;
use crate::ground::time::{self, Glance, Instant, Now};
use crate::retry::RetryClass;

/// So long a worker goes from phase to phase of one run by itself; then it asks as between jobs, so
/// that its thread is not kept from others for longer than a turn.
const STRETCH: Duration = Duration::from_micros(100);

/// One attempt to make.
pub(super) struct Attempt<P, O> {
    run: RunId,
    /// The run's coroutine, or what to begin it with.
    drive: Result<Drive<O>, Asked<P>>,
    control: Arc<Control>,
    permit: Option<OwnedCallPermit>,
    /// When it was given.
    since: Instant,
}

/// One attempt made.
pub(super) struct Attempted<O> {
    run: RunId,
    end: AttemptEnd,
    /// The next phase is still to be asked for.
    may_go_on: bool,
    /// For the next attempt.
    drive: Option<Drive<O>>,
    output: Option<Arc<O>>,
    failure: Option<Failure>,
    undone: Vec<&'static str>,
    /// The phase is a durable one, and done.
    checkpoint: Option<Checkpoint>,
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Post for Shared<P, O> {
    type Job = Attempt<P, O>;
    type Done = Attempted<O>;
    type Kit = ();

    fn next(
        self: &Arc<Self>,
        who: WorkerNo,
        turn: Turn<Attempted<O>>,
        now: &Glance,
    ) -> Next<Attempt<P, O>> {
        let now = now.get();
        let mut fx = Effects::none();
        let is_spent = matches!(turn, Turn::Spent(_));
        let mut core = self.core.lock();
        let (mut at_once, mut done) = (None, None);
        match turn {
            Turn::Begun(waker) => core.roster.begun(who, waker),
            Turn::Up => core.roster.up(who),
            Turn::Done(attempted) if attempted.may_go_on => {
                match goes_on(&mut core, attempted, now, &mut fx) {
                    Ok(attempt) => at_once = Some(attempt),
                    Err(attempted) => done = Some(attempted),
                }
            }
            Turn::Done(attempted) | Turn::Spent(attempted) => done = Some(attempted),
        }
        let forgotten = done.and_then(|done| book(&mut core, done, now, &mut fx));
        let goes_on = core.life != Life::Over;
        let pauses = goes_on && is_spent && core.has_work(now);
        let may = goes_on && !pauses && at_once.is_none();
        let grant = if may { core.next_grant(now, &mut fx) } else { None };
        let attempt = grant.and_then(|Grant { run: id, control, permit }| {
            let body = &mut core.run_mut(id)?.body;
            let drive = body.drive.take().ok_or_else(|| Arc::clone(&body.asked));
            Some(Attempt { run: id, drive, control, permit, since: now })
        });
        let next = match at_once.or(attempt) {
            Some(attempt) => Next::Job(attempt),
            None if pauses => Next::Pause,
            None if core.is_over() => Next::Leave,
            None => {
                core.roster.rest(who);
                Next::Rest { until: None }
            }
        };
        self.settle(core, &mut fx, now);
        drop_quietly(forgotten);
        next
    }

    async fn work(self: &Arc<Self>, attempt: Attempt<P, O>, (): &mut ()) -> Attempted<O> {
        // First, so that it is dropped last: then nobody else holds what comes back by value.
        let unfinished = Unfinished { shared: self, run: attempt.run };
        let Attempt { run, drive, control, mut permit, since } = attempt;
        let mut drive = match drive {
            Ok(drive) => drive,
            Err(asked) => Arc::clone(&self.runs).begin(asked),
        };
        let mut may_go_on;
        let mut was_undone;
        let (is_whole, Judged { end, output, failure, .. }) = loop {
            let polled = poll_in_seat(&mut drive, &control).await;
            let is_whole = matches!(polled, Polled::Reported(_));
            // It was condemned before it sat down.
            was_undone = matches!(polled, Polled::Reported(Report::Undone));
            let judged = Judged::of(polled);
            if let Some(permit) = permit.take() {
                match judged.verdict {
                    Some(verdict) => permit.report(verdict),
                    // Cancelled: it counts by its age.
                    None => drop(permit),
                }
            }
            let has_more = judged.end == AttemptEnd::Done && judged.output.is_none();
            let now = has_more.then(time::now);
            may_go_on = now.is_some_and(|now| now.saturating_duration_since(since) >= STRETCH);
            match now.filter(|_| !may_go_on).and_then(|now| self.goes_on(run, now)) {
                Some(next) => permit = next.permit,
                None => break (is_whole, judged),
            }
        };
        let undoes = is_whole && end == AttemptEnd::Permanent && self.may_undo(run);
        if undoes {
            control.undo();
            if let Polled::Panicked(payload) = poll_in_seat(&mut drive, &control).await {
                drop_quietly(payload);
            }
        }
        let undone = if undoes || was_undone { control.take_undone() } else { Vec::new() };
        let checkpoint = self.keeper.as_ref().and_then(|_| control.take_checkpoint());
        std::mem::forget(unfinished);
        let goes_on =
            output.is_none() && !matches!(end, AttemptEnd::Permanent | AttemptEnd::Stopped);
        let drive = if goes_on {
            Some(drive)
        } else {
            drop_quietly(drive);
            None
        };
        Attempted { run, end, may_go_on, drive, output, failure, undone, checkpoint }
    }

    fn crew(&self) -> &Crew {
        &self.crew
    }

    fn deserted(self: &Arc<Self>) {
        // After a drain there is nothing left to do; at the end of the runtime, everything.
        self.close();
        self.cut();
        self.abandon();
    }
}

/// What an attempt brought goes to its run. The failure that is forgotten for its own.
fn book<P, O>(
    core: &mut Core<Body<P, O>>,
    done: Attempted<O>,
    now: Instant,
    fx: &mut Effects<Body<P, O>>,
) -> Option<Arc<Failure>> {
    let Attempted { run: id, end, drive, output, failure, undone, checkpoint, .. } = done;
    let mut forgotten = None;
    if let Some(run) = core.run_mut(id) {
        run.course.undone(&undone);
        run.body.drive = drive;
        run.body.output = output;
        if let (Some(kept), Some(checkpoint)) = (&mut run.kept, checkpoint) {
            kept.add(checkpoint);
        }
        // Stopped because the deadline passed: its time was up.
        let timed_out = || run.is_timed_out().then_some(Failure::TimedOut);
        if let Some(failure) = failure.or_else(timed_out) {
            forgotten = run.body.failure.replace(Arc::new(failure));
        }
    }
    core.attempted(id, end, now, fx);
    forgotten
}

/// The next phase of a run that is done with one, if it may begin at once.
fn goes_on<P, O>(
    core: &mut Core<Body<P, O>>,
    done: Attempted<O>,
    now: Instant,
    fx: &mut Effects<Body<P, O>>,
) -> Result<Attempt<P, O>, Attempted<O>> {
    let Some(Grant { run, control, permit }) = core.goes_on(done.run, now, &mut fx.wakers) else {
        return Err(done);
    };
    match done.drive {
        Some(drive) => Ok(Attempt { run, drive: Ok(drive), control, permit, since: now }),
        // Unreachable: it has phases left.
        None => Err(done),
    }
}

/// Books an attempt whose worker was dropped in the middle of it, by the end of its runtime.
struct Unfinished<'a, P: Send + Sync + 'static, O: Send + Sync + 'static> {
    shared: &'a Shared<P, O>,
    run: RunId,
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Drop for Unfinished<'_, P, O> {
    fn drop(&mut self) {
        let now = time::now();
        let mut fx = Effects::none();
        let mut core = self.shared.core.lock();
        if core.is_critical(self.run) {
            // Its effect may have happened, or not.
            core.give_up(self.run, &mut fx);
            self.shared.settle(core, &mut fx, now);
            fx = Effects::none();
            core = self.shared.core.lock();
        }
        core.attempted(self.run, AttemptEnd::Stopped, now, &mut fx);
        self.shared.settle(core, &mut fx, now);
    }
}

/// Polls the run's coroutine until it ends, reports or panics.
async fn poll_in_seat<O>(drive: &mut Drive<O>, control: &Control) -> Polled<O> {
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| drive.as_mut().poll(cx))) {
        Ok(Poll::Ready(output)) => Poll::Ready(Polled::Completed(output)),
        Ok(Poll::Pending) => match control.take_report() {
            Some(report) => Poll::Ready(Polled::Reported(report)),
            None => Poll::Pending,
        },
        Err(payload) => Poll::Ready(Polled::Panicked(payload)),
    })
    .await
}

enum Polled<O> {
    Completed(Arc<O>),
    Reported(Report),
    Panicked(Box<dyn std::any::Any + Send>),
}

/// What an attempt means to the core, to the breaker (`None`: cancelled) and to the tickets.
struct Judged<O> {
    end: AttemptEnd,
    verdict: Option<Verdict>,
    output: Option<Arc<O>>,
    failure: Option<Failure>,
}

impl<O> Judged<O> {
    fn of(polled: Polled<O>) -> Self {
        let judged = |end, verdict, failure| Self { end, verdict, output: None, failure };
        match polled {
            Polled::Completed(output) => Self {
                end: AttemptEnd::Done,
                verdict: Some(Verdict::success()),
                output: Some(output),
                failure: None,
            },
            Polled::Reported(Report::Done) => {
                judged(AttemptEnd::Done, Some(Verdict::success()), None)
            }
            Polled::Reported(Report::Again(after)) => {
                judged(AttemptEnd::Again(after), Some(Verdict::success()), None)
            }
            Polled::Reported(Report::Failed(error)) => {
                let verdict = error.verdict;
                let after = match verdict.retry() {
                    RetryClass::RetryAfter(after) => Some(after),
                    _ => None,
                };
                let end = match verdict.retry() {
                    RetryClass::Stop => AttemptEnd::Permanent,
                    _ if verdict.is_refused() => AttemptEnd::Refused { after },
                    _ => AttemptEnd::Retry { after },
                };
                judged(end, Some(verdict), Some(error.into()))
            }
            Polled::Reported(Report::TimedOut) => {
                let end = AttemptEnd::Retry { after: None };
                judged(end, Some(Verdict::failure()), Some(Failure::TimedOut))
            }
            Polled::Reported(Report::Stopped | Report::Undone) => {
                judged(AttemptEnd::Stopped, None, None)
            }
            Polled::Reported(Report::Panicked(message)) => Self::panicked(message),
            // Between its attempts: something of the user's that was dropped there.
            Polled::Panicked(payload) => {
                let message = message_of(&*payload);
                drop_quietly(payload);
                Self::panicked(message)
            }
        }
    }

    fn panicked(message: String) -> Self {
        // Nobody answered, as far as is known.
        let verdict = Some(Verdict::permanent().unsent());
        let failure = Some(Failure::Panicked(message));
        Self { end: AttemptEnd::Permanent, verdict, output: None, failure }
    }
}

/// Keeps the pipeline's time: deadlines, backoffs, closed gates, graces. One task per pipeline,
/// a member of its crew; it leaves when all is over.
pub(super) async fn keep_time<P: Send + Sync + 'static, O: Send + Sync + 'static>(
    me: Leaving<Shared<P, O>>,
) {
    let shared = me.post();
    while let Some(armed) = shared.tick() {
        time::until(armed, shared.clock.notified()).await;
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Shared<P, O> {
    /// The next phase of a run that is done with one, if it may begin at once.
    fn goes_on(&self, run: RunId, now: Instant) -> Option<Grant> {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        let grant = core.goes_on(run, now, &mut wakers);
        // Mostly nobody waits for the place that it leaves, and it brings no alarm.
        if core.standing > 0
            || !core.alarms.is_empty()
            || !core.moved.is_empty()
            || !wakers.is_empty()
        {
            self.settle(core, &mut Effects { wakers, ..Effects::none() }, now);
        }
        grant
    }

    /// Whether a run that failed for good has something to undo.
    fn may_undo(&self, run: RunId) -> bool {
        let now = time::now();
        let mut core = self.core.lock();
        let may = core.may_undo(run, now);
        self.settle(core, &mut Effects::none(), now);
        may
    }

    /// Does what is due, and says when to look again; `None`: never, all is over.
    fn tick(&self) -> Option<Option<Instant>> {
        let now = time::now();
        let mut fx = Effects::none();
        let mut core = self.core.lock();
        core.due(now, &mut fx);
        core.armed = core.next_due();
        let (armed, is_over) = (core.armed, core.is_over());
        self.settle(core, &mut fx, now);
        (!is_over).then_some(armed)
    }
}
