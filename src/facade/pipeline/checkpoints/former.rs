//! A version that waits, is on disk, and makes way for a newer one.
//!
//! On disk the newer one takes its place when its page is written. Until then the former one is held
//! here, neither ended nor in anybody's way: it ends `Superseded` when the newer one is on disk, and
//! goes on as before if that never comes there, because it can't be written or ends before.

use std::sync::Arc;

use tokio::sync::Notify;

use super::pages::Entry;
use crate::Ending;
use crate::facade::pipeline::core::Core;
use crate::facade::pipeline::delivery;
use crate::facade::pipeline::run::{AfterSave, Ask, Effects, EndedRun, Run, RunId, State};
use crate::facade::pipeline::shared::{Body, Guard, Shared};
use crate::facade::pipeline::trace::Course;
use crate::ground::time::Instant;

/// One that is held.
#[derive(Debug)]
pub(in crate::facade::pipeline) struct Former<B> {
    before: Before,
    /// As what it ends is not known yet.
    held: EndedRun<B>,
}

/// Where it was, beside what its tickets are told.
#[derive(Debug)]
pub(in crate::facade::pipeline) struct Before {
    ask: Ask,
    failures: u32,
    agains: u32,
    refusals: u32,
    until: Option<Instant>,
    then: Option<AfterSave>,
    course: Course,
    /// Somebody wants to know of its every step.
    followed: bool,
}

impl<B> Run<B> {
    fn is_on_disk(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.is_persisted())
    }

    /// Tickets of the version that is held.
    pub(in crate::facade::pipeline) fn former_tickets(&self) -> u64 {
        self.former.as_ref().map_or(0, |former| former.held.tickets)
    }

    pub(in crate::facade::pipeline) fn former_weight(&self) -> u32 {
        self.former.as_ref().map_or(0, |former| former.before.ask.weight.get())
    }
}

impl<B> Core<B> {
    /// Where this one is, if it is to be held while another takes its place.
    pub(in crate::facade::pipeline) fn before(&self, id: RunId) -> Option<Before> {
        let run = self.run(id)?;
        // One that is not on disk itself has nothing to come back to.
        if run.former.is_some() || !run.is_on_disk() {
            return None;
        }
        let Run { failures, agains, refusals, .. } = *run;
        let until = match run.state {
            State::Parked { until } => until,
            State::Queued(_) | State::Running(_) => None,
        };
        let then = run.unsaved.map(|unsaved| unsaved.then);
        let (ask, course) = (run.ask.clone(), run.course.clone());
        let followed = run.followed;
        Some(Before { ask, failures, agains, refusals, until, then, course, followed })
    }

    /// Holds it. `Some`: it is not to be held, and ends at once.
    pub(in crate::facade::pipeline) fn hold(
        &mut self,
        id: RunId,
        before: Option<Before>,
        held: EndedRun<B>,
    ) -> Option<EndedRun<B>> {
        match (before, self.run_mut(id)) {
            (Some(before), Some(run)) => {
                run.former = Some(Box::new(Former { before, held }));
                None
            }
            _ => Some(held),
        }
    }

    /// The newer one is on disk.
    pub(super) fn supersede(&mut self, id: RunId, now: Instant, fx: &mut Effects<B>) {
        let former = self.run_mut(id).and_then(|run| run.former.take());
        if let Some(former) = former {
            self.end_former(*former, Ending::Superseded, now, fx);
        }
    }

    /// The newer one ends before it is on disk: whether the former one goes on in its place. Where
    /// all have to go, it goes too.
    pub(in crate::facade::pipeline) fn falls_back(
        &mut self,
        id: RunId,
        ending: Ending,
        now: Instant,
        fx: &mut Effects<B>,
    ) -> bool {
        let Some(former) = self.run_mut(id).and_then(|run| run.former.take()) else { return false };
        if matches!(ending, Ending::Returned | Ending::Evicted) {
            self.leave_former(id, &former);
            self.end_former(*former, ending, now, fx);
            return false;
        }
        self.put_back(id, *former, ending, now, fx);
        true
    }

    fn put_back(
        &mut self,
        id: RunId,
        Former { before, held }: Former<B>,
        ending: Ending,
        now: Instant,
        fx: &mut Effects<B>,
    ) {
        let phase = self.park(id);
        let Some(run) = self.run_mut(id) else { return };
        let Before { ask, failures, agains, refusals, until, then, course, followed } = before;
        (run.gate, run.failures, run.agains, run.refusals) =
            (held.phase, failures, agains, refusals);
        run.unsaved = None;
        let key = Arc::clone(&ask.key);
        run.ask = ask;
        let newer = EndedRun {
            body: std::mem::replace(&mut run.body, held.body),
            ending,
            tickets: std::mem::replace(&mut run.tickets, held.tickets),
            phase,
            // It is the former one's again.
            refund: false,
            trace: std::mem::replace(&mut run.course, course).end(now),
            control: std::mem::replace(&mut run.control, held.control),
            kept: std::mem::replace(&mut run.kept, held.kept),
        };
        let moved = [
            std::mem::replace(&mut run.followed, followed).then(|| newer.control.bell()),
            followed.then(|| run.control.bell()),
        ];
        self.moved.extend(moved.into_iter().flatten());
        self.end_version(newer, fx);
        let is_saved = then.is_none_or(|then| !self.saves_first(id, then, now));
        if !is_saved {
            return self.set_alarm(id, now);
        }
        if let Some(pages) = &mut self.pages {
            // Nobody knows what the page says now.
            pages.mark(&key, now);
        }
        let left = until.map(|until| until.saturating_duration_since(now));
        if left.is_some() || !self.is_current(&key, id) {
            self.park_for(id, left, now);
        } else {
            self.stand(id, now);
        }
    }

    fn end_former(
        &mut self,
        Former { before, mut held }: Former<B>,
        ending: Ending,
        now: Instant,
        fx: &mut Effects<B>,
    ) {
        if before.followed {
            self.moved.push(held.control.bell());
        }
        held.ending = ending;
        held.trace = before.course.end(now);
        self.end_version(held, fx);
    }

    fn end_version(&mut self, version: EndedRun<B>, fx: &mut Effects<B>) {
        self.ledger.record(version.ending, version.tickets);
        self.run_ledger.record(version.ending, 1);
        fx.ended.push(version);
    }

    /// A shutdown ends both: what is on disk stays there, and that is the one or the other.
    fn leave_former(&mut self, id: RunId, former: &Former<B>) {
        let Some(run) = self.run_mut(id).filter(|run| run.left && !run.is_on_disk()) else {
            return;
        };
        run.left = false;
        let Former { before, held } = former;
        let accept_no = run.accept_no;
        let entry = held.kept.as_ref().map(|kept| Entry::left(id, accept_no, &before.ask, kept));
        if let (Some(entry), Some(pages)) = (entry, &mut self.pages) {
            pages.leave(entry);
        }
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Shared<P, O> {
    /// The phase that a version which is held waits for, and how many attempts of it there were.
    pub(in crate::facade::pipeline) fn former_waits(
        run: &Run<Body<P, O>>,
        number: u64,
    ) -> Option<(usize, u32)> {
        let former = run.former.as_ref().filter(|former| former.held.body.has(number))?;
        let place = former.held.phase;
        Some((place, former.before.course.attempts(place)))
    }

    /// What rings when it moves, from now on.
    pub(in crate::facade::pipeline) fn follow_former(
        run: &mut Run<Body<P, O>>,
        number: u64,
    ) -> Option<Arc<Notify>> {
        let former = run.former.as_mut().filter(|former| former.held.body.has(number))?;
        former.before.followed = true;
        Some(former.held.control.bell())
    }

    /// A ticket of a version that is held gives up. The last one ends it.
    pub(in crate::facade::pipeline) fn cancel_former(
        &self,
        mut core: Guard<'_, P, O>,
        id: RunId,
        number: u64,
        now: Instant,
    ) {
        let mut fx = Effects::none();
        let mut alone = None;
        let Some(run) = core.run_mut(id) else { return };
        let Some(Former { before, held }) = run.former.as_deref_mut() else { return };
        let Body { claims, .. } = &mut held.body;
        let Some(at) = claims.iter().position(|claim| claim.is(number)) else { return };
        if held.tickets > 1 {
            held.tickets -= 1;
            let trace = before.course.clone().end(now);
            alone = Some((claims.remove(at), Arc::clone(&run.ask.key), trace));
            core.ledger.record(Ending::Cancelled, 1);
        } else if let Some(former) = run.former.take() {
            core.end_former(*former, Ending::Cancelled, now, &mut fx);
        }
        self.settle(core, &mut fx, now);
        if let Some((claim, key, trace)) = alone {
            delivery::tell_cancelled(claim, key, trace);
        }
    }
}
