//! The pure heart: admission, keys, gates, seats, timers and the ledger, behind one lock.
//!
//! Every method is `(&mut self, event, now) -> decision`; what is to be done outside the lock goes
//! into [`Effects`]. `progress.rs` has the events after admission.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::checkpoints::Pages;
use super::config::PipelineConfig;
use super::dormant::Dormant;
use super::gate::Gate;
use super::keys::{Keys, Relation};
use super::metrics::Refusals;
use super::run::{AfterSave, Ask, Carried, Effects, EndedRun, Run, RunId, State, Unsaved};
use super::trace::Course;
use crate::blocks::worker_pool::crew::Roster;
use crate::gates::wait_queue::{Plan, Room, Rules};
use crate::ground::deadlines::Deadlines;
use crate::ground::rng::Rng;
use crate::ground::slab::Slab;
use crate::ground::time::{self, Instant};
use crate::retry::{Backoff, RetryBudget};
use crate::{Ending, Enforcement, Ledger, Priority, Reason};

#[derive(Debug)]
pub(super) struct Core<B> {
    pub(super) gates: Vec<Gate>,
    pub(super) runs: Slab<Run<B>>,
    pub(super) keys: Keys,
    /// Each run with an instant, by its slab index.
    pub(super) alarms: Deadlines,
    pub(super) room: Room,
    /// How often ingress tokens came back, or other quotas.
    pub(super) refunds: u64,
    pub(super) roster: Roster,
    pub(super) seats: u32,
    /// As many as there are workers.
    pub(super) most_seats: u32,
    pub(super) busy: u32,
    /// Runs that stand in a line, all together.
    pub(super) standing: usize,
    /// Runs that are parked: they hold places of the queue without standing in line.
    pub(super) parked: usize,
    /// Those of them that have not begun.
    pub(super) dormant: Dormant,
    /// Tickets.
    pub(super) ledger: Ledger,
    /// Runs.
    pub(super) run_ledger: Ledger,
    pub(super) refusals: Refusals,
    /// What was accepted only because admission is not enforced in full.
    pub(super) would_refuse: Refusals,
    pub(super) capacity: usize,
    enforcement: Enforcement,
    /// Decides whom a share of enforcement spares. Its own: a refusal moves no other chance.
    lots: Rng,
    pub(super) loops: Loops,
    pub(super) life: Life,
    /// Nothing is accepted or started.
    pub(super) paused: bool,
    /// What is on disk, in a pipeline with checkpoints.
    pub(super) pages: Option<Pages>,
    pub(super) key_backoff: Backoff,
    pub(super) budget: RetryBudget,
    pub(super) grace: Duration,
    pub(super) rng: Rng,
    /// The bells of runs that somebody follows and that have moved, to be rung after the unlock.
    pub(super) moved: Vec<Arc<Notify>>,
    /// When the timekeeper will look next.
    pub(super) armed: Option<Instant>,
}

/// Where the pipeline is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Open,
    /// Accepts nothing; what was accepted goes on.
    Closing,
    /// Starts nothing either: workers leave.
    Over,
}

/// Why somebody would not have been accepted, or somebody else evicted, were admission enforced in
/// full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) struct Spared(Option<Reason>);

/// What an intent would be to the runs of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Shares this run.
    Join(RunId),
    /// Takes the place of this one, which waits.
    Replace(RunId),
    /// A run of its own. `parked`: behind the running one of its key.
    New { parked: bool },
}

/// How a new run comes to its place in the queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As the line says.
    Line(Plan),
    /// In the place of this one, which is parked and has not begun.
    Instead(RunId),
}

pub(super) struct Limits {
    seats: u32,
    rules: Rules,
    remembered_keys: usize,
    key_backoff: Backoff,
    grace: Duration,
    enforcement: Enforcement,
    loop_after: Option<NonZeroU32>,
}

impl Limits {
    /// Of a configuration that was checked.
    pub(super) fn of(config: &PipelineConfig) -> Self {
        Self {
            seats: config.seats as u32,
            rules: config.rules(),
            remembered_keys: config.remembered_keys,
            key_backoff: config.key_backoff,
            grace: config.critical_grace,
            enforcement: config.enforcement,
            loop_after: config.loop_after,
        }
    }
}

/// Reconciliation loops: from when on, and how often one was met.
#[derive(Debug)]
pub(super) struct Loops {
    pub(super) after: Option<NonZeroU32>,
    pub(super) met: u64,
}

impl Loops {
    /// How far beyond the bound so many in a row are; `None` below it.
    pub(super) fn beyond(&self, in_a_row: u32) -> Option<u32> {
        in_a_row.checked_sub(self.after?.get()).map(|beyond| beyond + 1)
    }
}

impl<B> Core<B> {
    pub(super) fn new(limits: Limits, gates: Vec<Gate>, budget: RetryBudget, mut rng: Rng) -> Self {
        Self {
            gates,
            runs: Slab::new(),
            keys: Keys::new(limits.remembered_keys, limits.key_backoff.most * 2),
            alarms: Deadlines::default(),
            room: Room::new(limits.rules),
            refunds: 0,
            roster: Roster::default(),
            seats: limits.seats,
            most_seats: limits.seats,
            busy: 0,
            standing: 0,
            parked: 0,
            dormant: Dormant::default(),
            ledger: Ledger::default(),
            run_ledger: Ledger::default(),
            refusals: Refusals::default(),
            would_refuse: Refusals::default(),
            capacity: limits.rules.cap,
            enforcement: limits.enforcement,
            lots: rng.fork(),
            moved: Vec::new(),
            loops: Loops { after: limits.loop_after, met: 0 },
            life: Life::Open,
            paused: false,
            pages: None,
            key_backoff: limits.key_backoff,
            budget,
            grace: limits.grace,
            rng,
            armed: None,
        }
    }

    /// Runs that wait: in line or parked.
    pub(super) fn depth(&self) -> usize {
        self.parked + self.standing
    }

    /// Step 1 of admission: closed, and what the key says. Costs nothing, changes nothing.
    pub(super) fn relate(&self, ask: &Ask) -> Result<Admission, Reason> {
        if self.is_closed() {
            return Err(Reason::Closed);
        }
        if self.paused || self.pages.as_ref().is_some_and(Pages::is_unrestored) {
            return Err(Reason::Paused);
        }
        let is_overwhelmed = self.pages.as_ref().is_some_and(Pages::is_overwhelmed);
        let of_its_own = |admission| match is_overwhelmed {
            true => Err(Reason::NotPersisted),
            false => Ok(admission),
        };
        let Some(key) = self.keys.get(&ask.key) else {
            return of_its_own(Admission::New { parked: false });
        };
        let Some(current) = key.current else {
            return of_its_own(Admission::New { parked: false });
        };
        // A version is held against every live one, the newest first: what is older than that is
        // stale, whatever else is live. Only what is newer than all goes on.
        for live in [key.successor, Some(current)].into_iter().flatten() {
            let Some(run) = self.run(live) else { continue };
            match ask.version.beside(run.ask.version) {
                Relation::Same if run.is_wanted() => return Ok(Admission::Join(live)),
                Relation::Same | Relation::Newer => {}
                Relation::Conflicting => return Err(Reason::Conflict),
                Relation::Older => return Err(Reason::Stale),
            }
        }
        let is_busy = self.run(current).is_some_and(Run::is_busy);
        let waiting = key.successor.or_else(|| (!is_busy).then_some(current));
        of_its_own(waiting.map_or(Admission::New { parked: true }, Admission::Replace))
    }

    /// Whether an attempt of this weight could ever run.
    pub(super) fn fits(&self, ask: &Ask) -> bool {
        let narrowest = self.gates.iter().map(|gate| gate.concurrency).min().unwrap_or(0);
        ask.weight.get() <= self.seats.min(narrowest)
    }

    /// Step 2: what can be known by looking, and what of it was spared. Changes nothing here; a
    /// breaker may see by it that its opening is over, and who listens to that is woken after the
    /// lock.
    pub(super) fn peek(
        &mut self,
        ask: &Ask,
        now: Instant,
        fx: &mut Effects<B>,
    ) -> Result<Spared, (Reason, Option<Instant>)> {
        let open =
            self.gates.iter().filter_map(|gate| gate.breaker.as_ref()).find_map(|breaker| {
                breaker.peek_telling(now, |woken| fx.wakers.extend(woken)).err()
            });
        let spared = match open {
            Some(_) if self.spares() => Some(Reason::CircuitOpen),
            Some(open) => return Err((Reason::CircuitOpen, open.next_probe_at())),
            None => None,
        };
        let late = self.in_time(ask, now).map_err(|reason| (reason, None))?;
        Ok(Spared(spared.or(late.0)))
    }

    /// Whether a deadline that can't be met is spared, or met.
    pub(super) fn in_time(&mut self, ask: &Ask, now: Instant) -> Result<Spared, Reason> {
        if self.is_feasible(ask, now) {
            return Ok(Spared(None));
        }
        let is_past = ask.deadline.is_some_and(|deadline| deadline <= now);
        let spared = !is_past && self.spares();
        spared.then_some(Spared(Some(Reason::DeadlineInfeasible))).ok_or(Reason::DeadlineInfeasible)
    }

    /// Whether a refusal that is asked for is not carried out.
    fn spares(&mut self) -> bool {
        !self.enforcement.refuses(&mut self.lots)
    }

    /// It was accepted: what was spared is counted.
    pub(super) fn spared(&mut self, spared: Spared) {
        if let Spared(Some(reason)) = spared {
            self.would_refuse.count(reason);
        }
    }

    /// Whether its deadline leaves the time that the likes of it have taken. With a seat free and
    /// nobody in line it is tried whatever they took: only so can the estimate come down again.
    pub(super) fn is_feasible(&self, ask: &Ask, now: Instant) -> bool {
        let Some(deadline) = ask.deadline else { return true };
        if self.busy < self.seats && self.standing == 0 {
            return now < deadline;
        }
        let expected = self.expected(ask.class).unwrap_or_default();
        deadline > now && time::later(now, expected).is_some_and(|end| end <= deadline)
    }

    /// How long one of this class would take from now to its end, by the means of all phases;
    /// `None` while any has too few samples.
    fn expected(&self, class: Priority) -> Option<Duration> {
        let service = self.service()?;
        let line = &self.gates.first()?.line;
        let ahead: usize = Priority::ALL[class.index()..].iter().map(|&c| line.depth(c)).sum();
        Some(service + self.drain_interval()?.mul_f64(ahead as f64))
    }

    /// How long one run is in its attempts.
    fn service(&self) -> Option<Duration> {
        self.gates.iter().map(|gate| gate.took.get()).sum()
    }

    /// How far apart runs end while all seats are taken: they share the seats, and each phase lets
    /// no more than its concurrency in.
    fn drain_interval(&self) -> Option<Duration> {
        let by_seats = self.service()?.div_f64(f64::from(self.seats));
        let phases = self.gates.iter().filter_map(|gate| {
            gate.took.get().map(|took| took.div_f64(f64::from(gate.concurrency.max(1))))
        });
        phases.max().map(|slowest| slowest.max(by_seats))
    }

    /// When a place may be free again: by the measured drain rate, and not before a gate that is
    /// closed opens.
    pub(super) fn retry_after(&self, now: Instant) -> Option<Duration> {
        let per_place = self.drain_interval();
        let opens = self.gates.iter().filter_map(Gate::opens_at).max();
        let opens = opens.map(|at| at.saturating_duration_since(now));
        per_place.max(opens).map(|after| after.max(Duration::from_millis(1)))
    }

    /// Step 3: what admitting a new run would mean, and what of that was spared.
    pub(super) fn plan(&mut self, ask: &Ask, now: Instant) -> (Way, Spared) {
        let depth = self.depth();
        let line = &mut self.gates[0].line;
        line.set_held(depth - line.len());
        // Runs end at their deadline by the alarms, so the line itself has none to drop.
        let plan = line.plan(ask.class, ask.tenant, now, &mut Vec::new());
        let standing = match plan {
            Plan::Queue => return (Way::Line(plan), Spared(None)),
            Plan::Refuse => None,
            Plan::Evict(victim) => line.place(victim).map(|place| place.class),
        };
        let dormant = self.dormant.victim_for(ask.class);
        let way = match dormant {
            Some((class, run)) if standing.is_none_or(|standing| class < standing) => {
                Way::Instead(run)
            }
            _ => Way::Line(plan),
        };
        if depth >= self.capacity || !self.spares() {
            return (way, Spared(None));
        }
        let refused = way == Way::Line(Plan::Refuse);
        let spared = if refused { Reason::QueueFull } else { Reason::Evicted };
        (Way::Line(Plan::Queue), Spared(Some(spared)))
    }

    /// Step 5: a run of its own.
    pub(super) fn admit(
        &mut self,
        way: Way,
        ask: Ask,
        parked: bool,
        carried: Carried<B>,
        now: Instant,
        fx: &mut Effects<B>,
    ) -> RunId {
        let (plan, dormant) = match way {
            Way::Line(plan) => (plan, None),
            Way::Instead(run) => (Plan::Queue, Some(run)),
        };
        let (accept_no, standing) = self.gates[0].line.reserve(plan);
        if let Some(victim) = standing.or(dormant) {
            self.end(victim, Ending::Evicted, now, fx);
        }
        let id = self.accept(ask, accept_no, carried, now);
        if self.saves_first(id, AfterSave::Enter, now) {
            self.set_alarm(id, now);
        } else if parked {
            self.park_for(id, None, now);
        } else {
            self.enter(id, now);
        }
        id
    }

    /// A run more, parked before its first phase: its key's current one, or its successor.
    pub(super) fn accept(
        &mut self,
        ask: Ask,
        accept_no: u64,
        carried: Carried<B>,
        now: Instant,
    ) -> RunId {
        let Carried { control, body, kept } = carried;
        self.ledger.accepted += 1;
        self.run_ledger.accepted += 1;
        self.parked += 1;
        let key = Arc::clone(&ask.key);
        let id = self.runs.insert(Run {
            ask,
            control,
            accept_no,
            gate: 0,
            state: State::Parked { until: None },
            begun: false,
            failures: 0,
            agains: 0,
            refusals: 0,
            tickets: 1,
            alarm: None,
            course: Course::new(now),
            body,
            kept,
            unsaved: None,
            left: false,
            former: None,
            followed: false,
        });
        self.keys.add(&key, id);
        id
    }

    /// Whether a parked run first has to come to the disk. Then it goes on from there. Once all is over
    /// nobody tries for ever to get it there, so nobody waits for it.
    pub(super) fn saves_first(&mut self, id: RunId, then: AfterSave, now: Instant) -> bool {
        if self.life == Life::Over {
            return false;
        }
        let Some(pages) = &mut self.pages else { return false };
        let Some(index) = self.runs.index(id) else { return false };
        let run = self.runs.get_mut(index);
        let no = pages.mark(&run.ask.key, now);
        run.unsaved = Some(Unsaved { no, then });
        true
    }

    /// A run that is its key's current one now: into its line, or, where its key goes round in a
    /// loop, by way of the key's backoff. One that is not on disk yet enters when it is.
    pub(super) fn enter(&mut self, id: RunId, now: Instant) {
        let Some(run) = self.run(id).filter(|run| run.unsaved.is_none()) else { return };
        let in_a_row = self.keys.in_a_row(&run.ask.key, run.ask.version, now);
        match self.loops.beyond(in_a_row) {
            None => self.stand(id, now),
            Some(beyond) => {
                let backoff = self.key_backoff(beyond);
                self.park_for(id, Some(backoff), now);
            }
        }
    }

    /// One ticket more for a live run: the higher class, the later deadline.
    pub(super) fn join(&mut self, id: RunId, ask: &Ask, now: Instant) {
        let Some(index) = self.runs.index(id) else { return };
        let run = self.runs.get_mut(index);
        self.ledger.accepted += 1;
        run.tickets += 1;
        let (class, is_dormant) = (run.ask.class, run.is_dormant());
        let before = (class, run.ask.deadline);
        run.ask.class = class.max(ask.class);
        let ends = run.ask.deadline.zip(ask.deadline);
        run.ask.deadline = ends.map(|(old, new)| old.max(new));
        run.control.set_deadline(run.ask.deadline);
        let (class, gate) = (run.ask.class, &mut self.gates[run.gate]);
        match &mut run.state {
            State::Queued(ticket) => gate.line.raise(*ticket, class),
            State::Running(running) => {
                running.give_up_at = gate.give_up_at(running.since, run.ask.deadline, self.grace);
            }
            State::Parked { .. } if is_dormant => {
                self.dormant.remove(before.0, run.accept_no);
                self.dormant.add(class, run.accept_no, id);
            }
            State::Parked { .. } => {}
        }
        if let Some(pages) = &mut self.pages
            && before != (run.ask.class, run.ask.deadline)
        {
            pages.mark(&run.ask.key, now);
        }
        self.set_alarm(id, now);
    }

    /// A newer version takes the place of one that waits: accept number, token and the higher
    /// class stay; its tickets end `Superseded`, and it begins at the first phase.
    pub(super) fn replace(
        &mut self,
        id: RunId,
        ask: Ask,
        Carried { control, body, kept }: Carried<B>,
        now: Instant,
        fx: &mut Effects<B>,
    ) {
        let Some(index) = self.runs.index(id) else { return };
        let before = self.before(id);
        let stood_in_line = self.park(id);
        let run = self.runs.get_mut(index);
        let class = run.ask.class.max(ask.class);
        // Behind a running one it stays there; out of a backoff it comes at once.
        let is_successor = self.keys.get(&ask.key).is_some_and(|key| key.successor == Some(id));
        run.ask = Ask { class, ..ask };
        let control = std::mem::replace(&mut run.control, control);
        if std::mem::take(&mut run.followed) {
            self.moved.push(control.bell());
        }
        run.gate = 0;
        run.failures = 0;
        run.agains = 0;
        run.refusals = 0;
        run.state = State::Parked { until: None };
        let tickets = std::mem::replace(&mut run.tickets, 1);
        let trace = std::mem::replace(&mut run.course, Course::new(now)).end(now);
        let body = std::mem::replace(&mut run.body, body);
        let kept = std::mem::replace(&mut run.kept, kept);
        self.ledger.accepted += 1;
        self.run_ledger.accepted += 1;
        let ended = EndedRun {
            body,
            ending: Ending::Superseded,
            tickets,
            phase: stood_in_line,
            refund: false,
            trace,
            control,
            kept,
        };
        // Where it is kept on disk, it is superseded when the newer one is there.
        if let Some(ended) = self.hold(id, before, ended) {
            self.ledger.record(Ending::Superseded, tickets);
            self.run_ledger.record(Ending::Superseded, 1);
            fx.ended.push(ended);
        }
        if self.saves_first(id, AfterSave::Enter, now) {
            self.set_alarm(id, now);
        } else if is_successor {
            self.park_for(id, None, now);
        } else {
            self.enter(id, now);
        }
    }

    /// Ends a run that is not inside an attempt, or no longer.
    pub(super) fn end(&mut self, id: RunId, ending: Ending, now: Instant, fx: &mut Effects<B>) {
        if self.falls_back(id, ending, now, fx) {
            return;
        }
        let Some(index) = self.runs.index(id) else { return };
        self.park(id);
        self.parked -= 1;
        let mut run = self.runs.remove(index);
        if run.followed {
            self.moved.push(run.control.bell());
        }
        // Its end was settled before: nobody waits any longer for the disk, or for a seat to undo in.
        let ending = match (run.is_done(), run.is_condemned()) {
            (true, _) => Ending::Completed,
            (_, true) => Ending::Failed,
            _ => ending,
        };
        if run.tickets > 0 {
            self.ledger.record(ending, run.tickets);
            self.run_ledger.record(ending, 1);
        }
        if matches!(ending, Ending::Completed | Ending::Failed) {
            let since = run.course.accepted();
            let in_a_row = self.keys.came_round(&run.ask.key, ending, run.ask.version, since, now);
            self.report_loop(in_a_row, &run.ask.key, None, fx);
        }
        let successor = self.keys.ended(&run.ask.key, id);
        self.unkeep(id, &mut run, ending, now);
        fx.ended.push(EndedRun {
            body: run.body,
            ending,
            tickets: run.tickets,
            phase: run.gate,
            refund: !run.begun,
            trace: run.course.end(now),
            control: run.control,
            kept: run.kept,
        });
        if let Some(successor) = successor {
            self.enter(successor, now);
        }
    }

    /// Told once for each loop, when it becomes one.
    pub(super) fn report_loop(
        &mut self,
        in_a_row: u32,
        key: &Arc<str>,
        phase: Option<&'static str>,
        fx: &mut Effects<B>,
    ) {
        if self.loops.beyond(in_a_row) == Some(1) {
            self.loops.met += 1;
            fx.loops.push((Arc::clone(key), phase));
        }
    }

    /// From parked into the line of its gate. A begun run is never evicted from there.
    pub(super) fn stand(&mut self, id: RunId, now: Instant) {
        let Some(index) = self.runs.index(id) else { return };
        let run = self.runs.get_mut(index);
        let line = &mut self.gates[run.gate].line;
        let place = run.place();
        let ticket = if run.begun {
            line.readmit(place, run.accept_no, id)
        } else {
            line.resume(place, run.accept_no, id)
        };
        run.state = State::Queued(ticket);
        self.dormant.remove(run.ask.class, run.accept_no);
        self.parked -= 1;
        self.standing += 1;
        self.set_alarm(id, now);
    }

    /// Parked for so long, or until its key's running one has ended.
    pub(super) fn park_for(&mut self, id: RunId, after: Option<Duration>, now: Instant) {
        if let Some(run) = self.run_mut(id) {
            run.state = State::Parked { until: after.and_then(|after| time::later(now, after)) };
            let (class, accept_no) = (run.ask.class, run.accept_no);
            if run.is_dormant() {
                self.dormant.add(class, accept_no, id);
            }
            self.set_alarm(id, now);
        }
    }

    /// From wherever it is to parked, without an alarm. The phase it was at.
    pub(super) fn park(&mut self, id: RunId) -> usize {
        let Some(index) = self.runs.index(id) else { return 0 };
        let run = self.runs.get_mut(index);
        let state = std::mem::replace(&mut run.state, State::Parked { until: None });
        if run.alarm.take().is_some() {
            self.alarms.remove(index);
        }
        match state {
            State::Queued(ticket) => {
                self.gates[run.gate].line.cancel(ticket);
                self.standing -= 1;
                self.parked += 1;
            }
            State::Running(_) => {
                if run.followed {
                    self.moved.push(run.control.bell());
                }
                let weight = run.ask.weight.get();
                self.gates[run.gate].running -= weight;
                self.busy -= weight;
                self.parked += 1;
            }
            State::Parked { .. } => self.dormant.remove(run.ask.class, run.accept_no),
        }
        run.gate
    }

    /// Sets the one alarm of a run to when something is due by itself.
    pub(super) fn set_alarm(&mut self, id: RunId, now: Instant) {
        let Some(index) = self.runs.index(id) else { return };
        let run = self.runs.get_mut(index);
        let due = run.due();
        if run.alarm == due {
            return;
        }
        if run.alarm.is_some() {
            self.alarms.remove(index);
        }
        run.alarm = due;
        if let Some(due) = due {
            self.alarms.insert(index, due, now);
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.life != Life::Open
    }

    pub(super) fn run(&self, id: RunId) -> Option<&Run<B>> {
        self.runs.index(id).map(|index| self.runs.get(index))
    }

    pub(super) fn run_mut(&mut self, id: RunId) -> Option<&mut Run<B>> {
        self.runs.index(id).map(|index| self.runs.get_mut(index))
    }
}
