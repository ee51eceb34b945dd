//! What follows the unlock: wakers, endings, and the intents that come back.
//!
//! Values of the user's are dropped here, and their wakers woken; a panic of theirs is contained.

use std::sync::Arc;
use std::task::Waker;

use smallvec::{SmallVec, smallvec};

use super::control::Control;
use super::core::Core;
use super::drain::Returned;
use super::intent::Intent;
use super::run::{Effects, EndedRun, RunId};
use super::shared::{Body, Claim, Claims, Guard, Shared};
use super::ticket::{Done, Ended, Verdict};
use super::trace::Trace;
use crate::Ending;
use crate::ground::quiet::{drop_quietly, quietly, wake_quietly};
use crate::ground::tenant::Tenant;
use crate::ground::time::{self, Instant};

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Shared<P, O> {
    /// Ends every operation: decides under the lock whom to wake, and does all the rest after it.
    pub(super) fn settle(
        &self,
        mut core: Guard<'_, P, O>,
        fx: &mut Effects<Body<P, O>>,
        now: Instant,
    ) {
        let mut given_up = Vec::new();
        for (run, tickets) in fx.given_up.drain(..) {
            given_up.extend(self.give_up(&mut core, run, tickets, now));
        }
        let is_over = core.is_over();
        let mut workers: SmallVec<[Waker; 1]> = SmallVec::new();
        if is_over {
            workers.extend(core.roster.rouse_all());
        } else if core.has_work(now) {
            let startable = core.startable(now);
            while let Some(worker) = core.roster.rouse(startable) {
                workers.push(worker);
            }
        }
        let due = core.next_due();
        let retimed = due.is_some_and(|due| core.armed.is_none_or(|armed| due < armed));
        if retimed {
            core.armed = due;
        }
        let pages = core.pages.as_ref().is_some_and(|pages| pages.is_due(now));
        let room_head = if is_over { None } else { core.room.next() };
        let moved = std::mem::take(&mut core.moved);
        let tells = !fx.ended.is_empty() || !given_up.is_empty();
        if tells {
            self.telling.begins();
        }
        drop(core);

        moved.into_iter().for_each(|bell| quietly(move || bell.notify_waiters()));
        workers.into_iter().for_each(wake_quietly);
        if retimed || is_over {
            self.clock.notify_one();
        }
        if let Some(keeper) = &self.keeper {
            if pages {
                keeper.ring();
            }
            if is_over {
                keeper.ring_out();
            }
        }
        room_head.into_iter().for_each(wake_quietly);
        if !fx.is_empty() || !given_up.is_empty() {
            self.carry_out(fx, given_up);
        }
        let was_last = tells && self.telling.ends();
        if (was_last || is_over) && self.is_over_and_told() {
            // What a shutdown did not wait for still ends, and is told.
            if self.core.lock().live() == (0, 0) {
                self.outlets.close();
            }
            self.emptied.notify_waiters();
        }
    }

    /// What was decided under the lock.
    fn carry_out(&self, fx: &mut Effects<Body<P, O>>, given_up: Vec<GivenUp<P, O>>) {
        for (key, phase) in fx.loops.drain(..) {
            quietly(|| {
                tracing::warn!(pipeline = &*self.name, key = &*key, phase, "a reconciliation loop");
            });
        }
        fx.stopped.drain(..).for_each(|bell| quietly(move || bell.notify_waiters()));
        fx.wakers.drain(..).for_each(wake_quietly);
        fx.ended.drain(..).for_each(|ended| self.deliver(ended));
        for GivenUp { claims, verdict, generation, tickets } in given_up {
            self.outlets.tell(|| verdict.outcome(None, generation, tickets));
            tell(claims, |_| Err(verdict.told(None)), None);
            drop_quietly(verdict);
        }
    }

    /// Whether nothing is live, and everybody knows.
    pub(super) fn is_over_and_told(&self) -> bool {
        // In this order: see `telling.rs`.
        self.core.lock().is_over() && self.telling.is_done()
    }

    /// The tickets of a run that is given up, and what each of them hears.
    fn give_up(
        &self,
        core: &mut Core<Body<P, O>>,
        run: RunId,
        tickets: u64,
        now: Instant,
    ) -> Option<GivenUp<P, O>> {
        let run = core.run_mut(run)?;
        let verdict = Verdict {
            key: Arc::clone(&run.ask.key),
            ending: Ending::Failed,
            phase: self.phases.get(run.gate).copied(),
            failure: run.body.failure.clone(),
            indeterminate: true,
            trace: run.course.clone().end(now),
        };
        let claims = std::mem::take(&mut run.body.claims);
        let generation = run.ask.version.generation;
        Some(GivenUp { claims, verdict, generation, tickets: tickets as usize })
    }

    /// Gives an unused ingress token back, and whoever waits for one tries again: the head of the
    /// room, and the next of that tenant if it is held.
    fn refund(&self, payer: &Arc<str>) {
        let Some(ingress) = &self.ingress else { return };
        ingress.refund_at(payer, 1, time::now());
        self.tokens_came(Some(Tenant::of(&**payer)));
    }

    /// The ingress limiter may have tokens that it had not: those of one tenant, or of any.
    pub(super) fn tokens_came(&self, of: Option<Tenant>) {
        let mut core = self.core.lock();
        core.refunds += 1;
        match of {
            Some(tenant) => _ = core.room.release(tenant),
            None => core.room.release_all(),
        }
        let head = core.room.next();
        drop(core);
        head.into_iter().for_each(wake_quietly);
    }

    /// Tells every ticket of a run how it ended; the intent goes to the shutdown that collects,
    /// else to the first ticket still held.
    fn deliver(&self, ended: EndedRun<Body<P, O>>) {
        let EndedRun { body, ending, tickets, phase, refund, trace, control, kept } = ended;
        let Body { asked, payer, drive, claims, output, failure } = body;
        drop_quietly((drive, control));
        if let Some(kept) = kept {
            kept.ended();
        }
        if let Some(payer) = payer.filter(|_| refund) {
            self.refund(&payer);
        }
        let (key, generation) = (Arc::clone(&asked.key), asked.generation);
        let phase = self.phases.get(phase).copied();
        let verdict = Verdict { key, ending, phase, failure, indeterminate: false, trace };
        // One that was given up has been told.
        if tickets > 0 {
            self.outlets.tell(|| verdict.outcome(output.clone(), generation, tickets as usize));
        }
        if let (Ending::Completed, Some(output)) = (ending, output) {
            let Verdict { failure, trace, .. } = verdict;
            drop_quietly((asked, failure));
            let done = Done { output, trace };
            tell(claims, |_| Ok(done.clone()), None);
            return drop_quietly(done);
        }
        let mut intent = Arc::into_inner(asked).map(Control::into_asked);
        if ending == Ending::Returned
            && let Some(returned) = &mut *self.returned.lock()
            && let Some(intent) = intent.take()
        {
            returned.push(Returned { intent, tickets: tickets as usize });
        }
        tell(claims, |intent| Err(verdict.told(intent.take())), intent);
        drop_quietly(verdict);
    }
}

/// A run whose tickets end although it goes on.
struct GivenUp<P, O> {
    claims: Claims<P, O>,
    verdict: Verdict,
    generation: Option<u64>,
    tickets: usize,
}

/// Gives every ticket its ending; the intent goes to the first one still held.
fn tell<P, O>(
    claims: Claims<P, O>,
    mut ending: impl FnMut(&mut Option<Intent<P>>) -> Result<Done<O>, Ended<P>>,
    mut intent: Option<Intent<P>>,
) {
    for Claim { promise, .. } in claims {
        match promise.put(ending(&mut intent)) {
            Ok(waker) => waker.into_iter().for_each(wake_quietly),
            Err(Err(mut unheard)) => {
                intent = unheard.0.intent.take();
                drop_quietly(unheard);
            }
            Err(Ok(unheard)) => drop_quietly(unheard),
        }
    }
    drop_quietly(intent);
}

/// One ticket among several gave up; the run goes on without it.
pub(super) fn tell_cancelled<P, O>(claim: Claim<P, O>, key: Arc<str>, trace: Trace) {
    let verdict = Verdict {
        key,
        ending: Ending::Cancelled,
        phase: None,
        failure: None,
        indeterminate: false,
        trace,
    };
    tell(smallvec![claim], |_| Err(verdict.told(None)), None);
}
