//! The core after admission: who gets a seat, what an attempt brought, what time brings, how a
//! ticket is cancelled, and how everything ends.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::control::{Control, Go};
use super::core::{Core, Life};
use super::run::{AfterSave, AttemptEnd, Doom, Effects, Run, RunId, Running, State};
use crate::circuit_breaker::OwnedCallPermit;
use crate::gates::wait_queue::Take;
use crate::ground::time::{self, Instant};
use crate::retry::RetryClass;
use crate::{Ending, Priority};

/// The head of a line that goes before all others.
struct Best {
    /// A starvation turn, the class (of several turns the lowest first), the phase.
    rank: (bool, usize, usize),
    gate: usize,
    head: RunId,
    weight: u32,
}

/// One attempt that may run now.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) run: RunId,
    pub(super) control: Arc<Control>,
    pub(super) permit: Option<OwnedCallPermit>,
}

impl<B> Core<B> {
    /// Gives a free seat to whoever is next over all open gates: a starvation turn first, then
    /// the highest class, then the later phase.
    pub(super) fn next_grant(&mut self, now: Instant, fx: &mut Effects<B>) -> Option<Grant> {
        loop {
            let Best { gate, head, weight, .. } = self.best(now)?;
            let is_condemned = self.run(head).is_some_and(Run::is_condemned);
            if !is_condemned && self.run(head).is_some_and(|run| run.is_overdue(now)) {
                self.end(head, Ending::Expired, now, fx);
                continue;
            }
            if weight > self.seats.saturating_sub(self.busy) {
                // Nothing of its class or below may start before it.
                return None;
            }
            if is_condemned {
                // What it undoes is no attempt, for no breaker and no limiter.
                return self.seat(gate, None, now);
            }
            if let Ok(permit) = self.gates[gate].pass(now, &mut fx.wakers) {
                return self.seat(gate, permit, now);
            }
        }
    }

    /// Who goes next of those that stand.
    fn best(&mut self, now: Instant) -> Option<Best> {
        debug_assert_eq!(
            self.standing,
            self.gates.iter().map(|gate| gate.line.len()).sum::<usize>(),
            "each run that stands is counted"
        );
        if self.paused || self.standing == 0 {
            return None;
        }
        let mut best: Option<Best> = None;
        for (index, gate) in self.gates.iter_mut().enumerate() {
            if gate.line.is_empty() || gate.is_closed(now) {
                continue;
            }
            let room = gate.room();
            let Some(head) = gate.line.head().filter(|head| head.weight.get() <= room) else {
                continue;
            };
            // Of several turns the lowest class's comes first.
            let class = head.class.index();
            let rank = (head.by_turn, if head.by_turn { HIGHEST - class } else { class }, index);
            if best.as_ref().is_none_or(|above| rank > above.rank) {
                let (head, weight) = (*head.value, head.weight.get());
                best = Some(Best { rank, gate: index, head, weight });
            }
        }
        best
    }

    /// Whether a worker would find something.
    pub(super) fn has_work(&mut self, now: Instant) -> bool {
        let free = self.seats.saturating_sub(self.busy);
        free > 0 && self.best(now).is_some_and(|best| best.weight <= free)
    }

    /// How many attempts could start at most, and one at least.
    pub(super) fn startable(&self, now: Instant) -> usize {
        let open = self.gates.iter().filter(|gate| !gate.is_closed(now));
        let standing = open.map(|gate| gate.line.len().min(gate.room() as usize)).sum::<usize>();
        standing.min(self.seats.saturating_sub(self.busy) as usize).max(1)
    }

    fn seat(
        &mut self,
        gate: usize,
        permit: Option<OwnedCallPermit>,
        now: Instant,
    ) -> Option<Grant> {
        let free = self.seats.saturating_sub(self.busy).min(self.gates[gate].room());
        let Take::Granted(granted) = self.gates[gate].line.take(free, now) else {
            // Unreachable: `best` looked at this head under the same lock.
            return None;
        };
        self.standing -= 1;
        self.passes_over(gate, granted.class);
        self.busy += granted.weight.get();
        let control = self.sits_down(granted.value, now)?;
        Some(Grant { run: granted.value, control, permit })
    }

    /// A grant of this class at one gate goes above who stands at the others.
    fn passes_over(&mut self, gate: usize, class: Priority) {
        if self.standing == 0 {
            return;
        }
        for (index, other) in self.gates.iter_mut().enumerate() {
            if index != gate && !other.line.is_empty() {
                other.line.passed_over(class);
            }
        }
    }

    /// An attempt of the phase it is at begins.
    fn sits_down(&mut self, id: RunId, now: Instant) -> Option<Arc<Control>> {
        let (grace, phases) = (self.grace, self.gates.len());
        let index = self.runs.index(id)?;
        let run = self.runs.get_mut(index);
        let gate = &mut self.gates[run.gate];
        gate.running += run.ask.weight.get();
        let name = gate.name;
        let give_up_at = gate.give_up_at(now, run.ask.deadline, grace);
        run.begun = true;
        let undoes = run.is_condemned();
        let running = Running { since: now, doom: None, give_up_at, given_up: false, undoes };
        run.state = State::Running(running);
        if undoes {
            run.control.undo();
        } else {
            let attempt = run.course.begins(run.gate, phases, name, now);
            run.control.go(Go { attempt, class: run.ask.class, started: now });
        }
        let control = Arc::clone(&run.control);
        if run.followed {
            self.moved.push(control.bell());
        }
        self.set_alarm(id, now);
        Some(control)
    }

    /// A phase is done, and the run is who would go next over all gates: it keeps its seat, and begins
    /// the next phase at once. Else nothing has happened yet.
    pub(super) fn goes_on(
        &mut self,
        id: RunId,
        now: Instant,
        wakers: &mut Vec<Waker>,
    ) -> Option<Grant> {
        let run = self.run(id)?;
        let State::Running(Running { since, doom: None, given_up: false, undoes: false, .. }) =
            run.state
        else {
            return None;
        };
        let (from, to, class) = (run.gate, run.gate + 1, run.ask.class);
        let weight = run.ask.weight.get();
        // More than seats there are, since somebody took some away: it gives its own back.
        let is_over_seats = self.busy > self.seats;
        let is_idle = self.paused || self.life == Life::Over || is_over_seats;
        if to == self.gates.len() || self.gates[from].durable || is_idle || run.is_overdue(now) {
            return None;
        }
        let next = &self.gates[to];
        if !next.line.is_empty() || next.is_closed(now) || next.room() < weight {
            return None;
        }
        // Whoever could have the place that it leaves may go before it, too.
        self.gates[from].running -= weight;
        self.gates.iter_mut().for_each(|gate| gate.look_again(now, wakers));
        let is_next = self.standing == 0 || {
            let rank = (false, class.index(), to);
            self.best(now).is_none_or(|best| best.rank < rank)
        };
        let passed = if is_next { self.gates[to].pass(now, wakers).ok() } else { None };
        let Some(permit) = passed else {
            self.gates[from].running += weight;
            return None;
        };
        self.gates[from].took.sample(now.saturating_duration_since(since));
        self.passes_over(to, class);
        let run = self.run_mut(id)?;
        run.course.ran(since, now);
        run.gate = to;
        run.failures = 0;
        run.agains = 0;
        run.refusals = 0;
        let control = self.sits_down(id, now)?;
        Some(Grant { run: id, control, permit })
    }

    /// An attempt is over: its seat is free, and its run goes where it belongs.
    pub(super) fn attempted(
        &mut self,
        id: RunId,
        end: AttemptEnd,
        now: Instant,
        fx: &mut Effects<B>,
    ) {
        let Some(run) = self.run_mut(id) else { return };
        let State::Running(running) = &run.state else { return };
        let (since, doom, given_up) = (running.since, running.doom, running.given_up);
        // Whatever became of the undoing.
        let end = if running.undoes { AttemptEnd::Permanent } else { end };
        run.course.ran(since, now);
        let gate = self.park(id);
        self.gates.iter_mut().for_each(|gate| gate.look_again(now, &mut fx.wakers));
        let is_last = gate + 1 == self.gates.len();
        let is_kept = end == AttemptEnd::Done && self.gates[gate].durable;
        if end == AttemptEnd::Done {
            self.gates[gate].took.sample(now.saturating_duration_since(since));
            if is_last {
                // Once for each run, and not before its end: what succeeds before the phase that
                // fails would earn for all that it repeats.
                self.budget.success();
                if is_kept && self.saves_first(id, AfterSave::Complete, now) {
                    return self.set_alarm(id, now);
                }
                return self.end(id, Ending::Completed, now, fx);
            }
        }
        if given_up || doom.is_some() {
            self.keep_what_is_left(id, is_kept, now);
        }
        if given_up {
            return self.end(id, Ending::Failed, now, fx);
        }
        if let Some(doom) = doom {
            return self.end(id, doom.ending(), now, fx);
        }
        match end {
            AttemptEnd::Again(_) | AttemptEnd::Retry { .. } | AttemptEnd::Refused { .. }
                if self.has_successor(id) =>
            {
                // It would wait now, and what waits makes way for what is newer.
                self.end(id, Ending::Superseded, now, fx);
            }
            AttemptEnd::Done if is_kept && self.saves_first(id, AfterSave::Advance, now) => {
                self.set_alarm(id, now);
            }
            AttemptEnd::Done => self.advance(id, now),
            AttemptEnd::Again(after) => self.again(id, after, now, fx),
            AttemptEnd::Retry { after } => self.retry(id, gate, after, now),
            AttemptEnd::Refused { after } => self.wait_out(id, gate, after, now),
            AttemptEnd::Permanent => self.end(id, Ending::Failed, now, fx),
            AttemptEnd::Stopped => self.end(id, Ending::Cancelled, now, fx),
        }
    }

    /// Whether it is inside an attempt of a critical phase.
    pub(super) fn is_critical(&self, id: RunId) -> bool {
        let running = self.run(id).filter(|run| run.is_running() && !run.undoes());
        running.is_some_and(|run| self.gates[run.gate].critical)
    }

    /// An attempt has failed for good: whether the phases before it are undone now. One that is
    /// given up already has an unknown end, and nothing is undone for that; nor for one that is to
    /// stop, which ends by that and not by its failure.
    pub(super) fn may_undo(&mut self, id: RunId, now: Instant) -> bool {
        let Some(run) = self.run_mut(id) else { return false };
        let gate = run.gate;
        let State::Running(running) = &mut run.state else { return false };
        running.undoes = !running.given_up && running.doom.is_none() && gate > 0;
        let undoes = running.undoes;
        let moved = (undoes && run.followed).then(|| run.control.bell());
        self.moved.extend(moved);
        self.set_alarm(id, now);
        undoes
    }

    fn has_successor(&self, id: RunId) -> bool {
        let key = self.run(id).and_then(|run| self.keys.get(&run.ask.key));
        key.is_some_and(|key| key.current == Some(id) && key.successor.is_some())
    }

    /// A durable phase was done while a shutdown ended its run: what it made is kept with the rest.
    fn keep_what_is_left(&mut self, id: RunId, is_kept: bool, now: Instant) {
        let Some(run) = self.run(id).filter(|run| run.left && is_kept) else { return };
        let key = Arc::clone(&run.ask.key);
        if let Some(pages) = &mut self.pages {
            pages.mark(&key, now);
        }
    }

    pub(super) fn advance(&mut self, id: RunId, now: Instant) {
        if let Some(run) = self.run_mut(id) {
            run.gate += 1;
            run.failures = 0;
            run.agains = 0;
            run.refusals = 0;
            self.stand(id, now);
        }
    }

    /// Looks again later; ever later, if that is all it does.
    fn again(&mut self, id: RunId, after: Duration, now: Instant, fx: &mut Effects<B>) {
        let Some(run) = self.run_mut(id) else { return };
        run.agains = run.agains.saturating_add(1);
        // A look that went well is no failed attempt: a round begins anew.
        run.failures = 0;
        let (agains, gate, key) = (run.agains, run.gate, Arc::clone(&run.ask.key));
        let phase = self.gates[gate].name;
        self.report_loop(agains, &key, Some(phase), fx);
        let slowed = self.loops.beyond(agains).map(|beyond| self.key_backoff(beyond));
        self.park_for(id, Some(slowed.map_or(after, |slowed| after.max(slowed))), now);
    }

    /// How long a key waits for its next round after so many that brought nothing.
    pub(super) fn key_backoff(&mut self, rounds: u32) -> Duration {
        let backoff = self.key_backoff.ceiling(rounds);
        self.rng.around(backoff, KEY_JITTER)
    }

    /// Refused on this side: as long as it was told to, or by the policy's backoff. No failure, so
    /// neither an attempt nor budget is used up; a seat is, so it is not asked without end.
    fn wait_out(&mut self, id: RunId, gate: usize, after: Option<Duration>, now: Instant) {
        let Some(run) = self.run_mut(id) else { return };
        run.refusals = run.refusals.saturating_add(1);
        let refusals = run.refusals;
        let wish = after.unwrap_or_default().min(LONGEST_WISH);
        let wait = self.gates[gate].retry.not_before(wish, refusals, &mut self.rng);
        self.park_for(id, Some(wait), now);
    }

    /// Another attempt while the policy and the budget have one, and nobody asked for a longer wait
    /// than the policy has; else the key's backoff, and then a new round.
    fn retry(&mut self, id: RunId, gate: usize, after: Option<Duration>, now: Instant) {
        let Some(run) = self.run_mut(id) else { return };
        run.failures += 1;
        run.agains = 0;
        run.refusals = 0;
        let failures = run.failures;
        let key = Arc::clone(&run.ask.key);
        let class = after.map_or(RetryClass::Retry, RetryClass::RetryAfter);
        let wait = self.gates[gate].retry.wait(class, failures, &mut self.rng);
        let paid = wait.ok().filter(|_| self.budget.try_withdraw_at(now).is_ok());
        let wait = paid.unwrap_or_else(|| {
            let rounds = self.keys.failed(&key);
            if let Some(run) = self.run_mut(id) {
                run.failures = 0;
            }
            // Not before the wish, and spread: many were told the same.
            let wish = after.unwrap_or_default().min(LONGEST_WISH);
            let wish = wish + self.rng.up_to(wish / 2);
            self.key_backoff(rounds).max(wish)
        });
        self.park_for(id, Some(wait), now);
    }

    /// Everything that is due by now.
    pub(super) fn due(&mut self, now: Instant, fx: &mut Effects<B>) {
        self.gates.iter_mut().for_each(|gate| gate.due(now));
        while let Some(index) = self.alarms.expired(now) {
            let id = self.runs.ticket(index);
            self.alarms.remove(index);
            let run = self.runs.get_mut(index);
            run.alarm = None;
            let is_overdue = run.is_overdue(now);
            match &mut run.state {
                State::Parked { until: Some(_) } if !is_overdue => self.stand(id, now),
                // Their only alarm is the deadline.
                State::Queued(_) | State::Parked { .. } => {
                    self.end(id, Ending::Expired, now, fx);
                }
                State::Running(Running { give_up_at: Some(_), .. }) => {
                    self.give_up(id, fx);
                }
                State::Running(running) => {
                    running.doom = Some(Doom::TimedOut);
                    fx.stopped.extend(run.control.stop());
                }
            }
        }
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let gates = self.gates.iter().filter_map(|gate| gate.closed_until).min();
        time::earlier(gates, self.alarms.next())
    }

    /// A critical attempt has used up its grace: its tickets end now, `Failed` and indeterminate.
    /// Key, seat and breaker permit stay taken until the attempt really ends.
    pub(super) fn give_up(&mut self, id: RunId, fx: &mut Effects<B>) {
        let Some(run) = self.run_mut(id) else { return };
        let State::Running(running) = &mut run.state else { return };
        if std::mem::replace(&mut running.given_up, true) {
            return;
        }
        let was_due = run.alarm.take().is_some();
        fx.stopped.extend(run.control.stop());
        let tickets = std::mem::take(&mut run.tickets);
        self.ledger.record(Ending::Failed, tickets);
        self.run_ledger.record(Ending::Failed, 1);
        if was_due && let Some(index) = self.runs.index(id) {
            self.alarms.remove(index);
        }
        fx.given_up.push((id, tickets));
    }

    /// One ticket gives up. The last one ends the run: at once while it waits, at its next await
    /// point while it runs, at its end (or the end of its grace) in a critical attempt.
    pub(super) fn cancel(&mut self, id: RunId, now: Instant, fx: &mut Effects<B>) -> Cancelled {
        let Some(run) = self.run_mut(id) else { return Cancelled::TooLate };
        if run.tickets > 1 {
            run.tickets -= 1;
            self.ledger.record(Ending::Cancelled, 1);
            return Cancelled::Ticket;
        }
        if run.tickets == 0 || run.undoes() || run.is_settled() {
            return Cancelled::TooLate;
        }
        if run.is_running() {
            self.doom(id, now, fx);
        } else {
            self.end(id, Ending::Cancelled, now, fx);
        }
        Cancelled::Run
    }

    /// A running attempt is to stop.
    fn doom(&mut self, id: RunId, now: Instant, fx: &mut Effects<B>) {
        let grace = self.grace;
        let Some(run) = self.run_mut(id) else { return };
        let gate = run.gate;
        let State::Running(running) = &mut run.state else { return };
        if running.undoes {
            return;
        }
        running.doom.get_or_insert(Doom::Cancelled);
        fx.stopped.extend(run.control.stop());
        if self.gates[gate].critical
            && let Some(run) = self.run_mut(id)
            && let State::Running(running) = &mut run.state
        {
            running.give_up_at = time::earlier(running.give_up_at, time::later(now, grace));
        }
        self.set_alarm(id, now);
    }

    /// Nothing is accepted any more.
    pub(super) fn close(&mut self, fx: &mut Effects<B>) {
        if self.life == Life::Open {
            self.life = Life::Closing;
            fx.wakers.extend(self.room.close());
        }
    }

    /// Ends every run that is not inside an attempt `Returned`, and stops the attempts.
    pub(super) fn cut(&mut self, now: Instant, fx: &mut Effects<B>) {
        let mut ids: Vec<RunId> = self.runs.tickets().collect();
        ids.sort_by_key(|&id| self.run(id).map(|run| run.accept_no));
        for id in ids {
            if let Some(run) = self.run_mut(id) {
                // But for what somebody else had given up before; a cut does not undo another one's.
                run.left |= run.is_wanted();
            }
            match self.run(id) {
                Some(run) if run.is_running() => self.doom(id, now, fx),
                // It is waited for, as what runs is.
                Some(run) if run.is_settled() => {}
                // A successor that stood up behind an ended one is among `ids` itself.
                Some(_) => self.end(id, Ending::Returned, now, fx),
                None => {}
            }
        }
    }

    /// What is still inside an attempt: critical ones are given up, all are listed by key.
    pub(super) fn abandon(&mut self, now: Instant, fx: &mut Effects<B>) -> Abandoned {
        let mut left = Abandoned::default();
        let ids: Vec<RunId> = self.runs.tickets().collect();
        for id in ids {
            let Some(run) = self.run(id) else { continue };
            if !run.is_running() {
                // Only what is settled can wait now, and it ends as that.
                self.end(id, Ending::Returned, now, fx);
                continue;
            }
            let key = Arc::clone(&run.ask.key);
            if self.is_critical(id) {
                left.indeterminate.push(key);
                self.give_up(id, fx);
            } else {
                left.unresponsive.push(key);
            }
        }
        left
    }

    /// Workers leave after what they have.
    pub(super) fn over(&mut self) {
        self.life = Life::Over;
    }

    /// Whether nothing can come any more.
    pub(super) fn is_over(&self) -> bool {
        self.life == Life::Over || (self.life == Life::Closing && self.runs.len() == 0)
    }

    /// Tickets that have not ended, counted one by one.
    pub(super) fn live(&self) -> (usize, usize) {
        let wanted = self.runs.tickets().filter_map(|id| self.run(id));
        wanted.filter(|run| run.tickets > 0).fold((0, 0), |(tickets, runs), run| {
            let former = run.former_tickets();
            let more = if former > 0 { 2 } else { 1 };
            (tickets + (run.tickets + former) as usize, runs + more)
        })
    }
}

/// How far a key's backoff strays from its doubling, so that keys that failed together do not
/// come back together.
const KEY_JITTER: f64 = 0.2;

/// However long a backend or a block on this side asks to be left alone.
const LONGEST_WISH: Duration = Duration::from_secs(3_600);

/// The index of the highest class.
const HIGHEST: usize = Priority::ALL.len() - 1;

/// What a cancelled ticket was to its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Cancelled {
    /// One of several: it ends now, the run goes on.
    Ticket,
    /// The last one: it ends with the run.
    Run,
    /// The run has ended.
    TooLate,
}

/// What a shutdown had to leave behind.
#[derive(Debug, Default)]
pub(super) struct Abandoned {
    pub(super) indeterminate: Vec<Arc<str>>,
    pub(super) unresponsive: Vec<Arc<str>>,
}
