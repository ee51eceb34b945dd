//! What follows the unlock: wakers, endings, and the intents that come back.
//!
//! Values of the user's are dropped here, and their wakers woken; a panic of theirs is contained.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::core::Core;
use super::drain::Returned;
use super::intent::Intent;
use super::run::{Effects, EndedRun, RunId};
use super::shared::{Body, Claim, Guard, Shared};
use super::ticket::{Details, Done, Ended};
use super::trace::Trace;
use crate::Ending;
use crate::ground::time;

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Shared<P, O> {
    /// Ends every operation: decides under the lock whom to wake, and does all the rest after it.
    pub(super) fn settle(&self, mut core: Guard<'_, P, O>, fx: Effects<Body<P, O>>, now: Instant) {
        let given_up: Vec<_> =
            fx.given_up.iter().filter_map(|&run| self.give_up(&mut core, run)).collect();
        let is_over = core.is_over();
        let rings = if is_over {
            core.idlers.rouse_all()
        } else {
            usize::from(core.has_work(now) && core.idlers.rouse())
        };
        let due = core.next_due();
        let retimed = due.is_some_and(|due| core.armed.is_none_or(|armed| due < armed));
        if retimed {
            core.armed = due;
        }
        let room_head = if is_over { None } else { core.room.next() };
        drop(core);

        self.crew.ring(rings);
        if retimed || is_over {
            self.clock.notify_one();
        }
        if is_over {
            self.emptied.notify_waiters();
        }
        fx.stopped.into_iter().for_each(|control| contain(|| control.stop()));
        fx.wakers.into_iter().chain(room_head).for_each(wake);
        fx.ended.into_iter().for_each(|ended| self.deliver(ended));
        for (claims, details) in given_up {
            tell(claims, |_| Err(details()), None);
            drop_quietly(details);
        }
    }

    /// The tickets of a run that is given up, and what each of them hears.
    #[allow(clippy::type_complexity, reason = "a pair, taken apart where it is made")]
    fn give_up(
        &self,
        core: &mut Core<Body<P, O>>,
        run: RunId,
    ) -> Option<(Vec<Claim<P, O>>, impl Fn() -> Ended<P> + use<P, O>)> {
        let gate = core.run(run)?.gate;
        let phase = core.gates.get(gate)?.name;
        let run = core.run_mut(run)?;
        let claims = std::mem::take(&mut run.body.claims);
        let (key, trace) = (Arc::clone(&run.ask.key), Arc::new(run.trace.clone()));
        let failure = run.body.failure.clone();
        let details = move || {
            Ended(Box::new(Details {
                ending: Ending::Failed,
                phase: Some(phase),
                failure: failure.clone(),
                indeterminate: true,
                intent: None,
                trace: Arc::clone(&trace),
                key: Arc::clone(&key),
            }))
        };
        Some((claims, details))
    }

    /// Tells every ticket of a run how it ended; the intent goes to the shutdown that collects,
    /// else to the first ticket still held.
    fn deliver(&self, ended: EndedRun<Body<P, O>>) {
        let EndedRun { body, ending, tickets, phase, refund, trace, control } = ended;
        let Body { intent, payer, drive, claims, output, failure } = body;
        drop_quietly((drive, control));
        if let (true, Some(ingress)) = (refund, &self.ingress) {
            ingress.refund_at(&payer, 1, time::now());
        }
        let trace = Arc::new(trace);
        if let (Ending::Completed, Some(output)) = (ending, output) {
            drop_quietly((intent, failure));
            let done = Done { output, trace };
            tell(claims, |_| Ok(done.clone()), None);
            return drop_quietly(done);
        }
        let key = Arc::clone(&intent.key);
        let mut intent = recover(intent);
        if ending == Ending::Returned
            && let Some(returned) = &mut *self.returned.lock()
            && let Some(intent) = intent.take()
        {
            returned.push(Returned { intent, tickets: tickets as usize });
        }
        let phase = self.phases.get(phase).copied();
        let details = |intent: &mut Option<Intent<P>>| {
            let intent = intent.take();
            let (trace, key) = (Arc::clone(&trace), Arc::clone(&key));
            let failure = failure.clone();
            Err(Ended(Box::new(Details {
                ending,
                phase,
                failure,
                indeterminate: false,
                intent,
                trace,
                key,
            })))
        };
        tell(claims, details, intent);
        drop_quietly(failure);
    }
}

/// Gives every ticket its ending; the intent goes to the first one still held.
fn tell<P, O>(
    claims: Vec<Claim<P, O>>,
    mut ending: impl FnMut(&mut Option<Intent<P>>) -> Result<Done<O>, Ended<P>>,
    mut intent: Option<Intent<P>>,
) {
    for Claim { promise, .. } in claims {
        match promise.put(ending(&mut intent)) {
            Ok(waker) => waker.into_iter().for_each(wake),
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
    let trace = Arc::new(trace);
    let details = |_: &mut Option<Intent<P>>| {
        let (key, trace) = (Arc::clone(&key), Arc::clone(&trace));
        Err(Ended(Box::new(Details {
            ending: Ending::Cancelled,
            phase: None,
            failure: None,
            indeterminate: false,
            intent: None,
            trace,
            key,
        })))
    };
    tell(vec![claim], details, None);
}

/// The intent by value, when nobody else holds its payload any more.
fn recover<P>(intent: Intent<Arc<P>>) -> Option<Intent<P>> {
    let mut payload = None;
    let intent = intent.map(|shared| payload = Arc::into_inner(shared));
    payload.map(|payload| intent.map(|()| payload))
}

/// Drops a value of the user's; a panic in its `Drop` stays here.
pub(super) fn drop_quietly<T>(value: T) {
    contain(move || drop(value));
}

/// Wakes somebody, whose waker may be the user's own.
fn wake(waker: Waker) {
    contain(|| waker.wake());
}

/// Runs code of the user's; a panic of it stays here.
fn contain(act: impl FnOnce()) {
    // The payload of such a panic is dropped without a second chance to unwind: forgotten.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(act)) {
        std::mem::forget(payload);
    }
}
