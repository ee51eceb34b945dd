//! The decisions of a breaker, without clock, lock or waker.

use std::time::Duration;

use super::config::{CircuitBreakerConfig, Overloaded};
use super::stripes::Stripes;
use super::watch::Watch;
use crate::ground::exponential::exponential;
use crate::ground::outcome::{Outcome, RetryClass, Verdict};
use crate::ground::rng::Rng;
use crate::ground::time::Instant;

/// The shares of traffic, in percent, that a circuit closing again lets through, step by step.
const RAMP_PERCENT: [u32; 3] = [10, 25, 50];

/// Whether calls flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Calls flow, and their results are watched.
    Closed,
    /// Calls are refused.
    Open,
    /// A few probes are let through, the rest is refused.
    HalfOpen,
}

impl State {
    /// The snake-case word for metric labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Why a circuit changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Too large a share of the window has failed.
    Failures,
    /// As `Failures`, calls in flight among them that are slow by now.
    InFlight,
    /// Too many failures in a row.
    Consecutive,
    /// Too large a share of the window was slow.
    Slow,
    /// The backend asked for patience, and [`Overloaded`] says that this opens the circuit.
    Overloaded,
    /// The opening is over: the backend is tried.
    OpeningOver,
    /// Too many probes have failed.
    ProbesFailed,
    /// Enough probes have succeeded.
    ProbesSucceeded,
    /// Somebody forced it, or released it.
    Forced,
}

/// One change of a circuit's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateChange {
    /// What it was.
    pub from: State,
    /// What it is from then on.
    pub to: State,
    /// When.
    pub at: Instant,
    /// Why.
    pub cause: Cause,
}

/// What an asker gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Admission {
    Granted(Claim),
    Refused { until: Instant },
}

/// What a permit remembers of its admission. A result counts only in the generation it was
/// admitted in, so one from before a trip changes nothing after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) epoch: u64,
    /// `None`: no clock was read for it.
    pub(super) since: Option<Instant>,
    pub(super) place: Place,
}

/// Where a call in flight is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Nowhere,
    Stripe(u8),
    Probe(u32),
}

impl Claim {
    /// Nothing, if no clock was read for it.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    outcome: Outcome,
    /// The call was made, and ended with something: no refusal on this side, no permit dropped.
    is_answer: bool,
    /// The backend works, and asked for patience.
    is_overloaded: bool,
    /// For so long, if it said.
    asked: Option<Duration>,
}

impl From<Outcome> for Report {
    /// Of a call that said nothing.
    #[inline(always)]
    fn from(outcome: Outcome) -> Self {
        Self { outcome, is_answer: false, is_overloaded: false, asked: None }
    }
}

impl From<Verdict> for Report {
    #[inline(always)]
    fn from(verdict: Verdict) -> Self {
        let asked = match verdict.retry() {
            RetryClass::RetryAfter(after) if !verdict.is_refused() => Some(after),
            _ => None,
        };
        Self {
            outcome: verdict.outcome(),
            is_answer: !verdict.is_unsent(),
            is_overloaded: verdict.is_overloaded(),
            asked,
        }
    }
}

impl Report {
    /// Nothing has to be said beside it.
    #[inline(always)]
    pub(super) fn is_plain_success(self) -> bool {
        self.outcome == Outcome::Success && self.asked.is_none()
    }
}

/// What a decision may use beside the core's own state.
#[derive(Debug)]
pub(super) struct Cx<'a> {
    pub(super) now: Instant,
    pub(super) rng: &'a mut Rng,
    pub(super) stripes: &'a Stripes,
    /// The asker's own.
    pub(super) stripe: usize,
}

#[derive(Debug)]
enum Phase {
    Closed { ramp: Option<Ramp> },
    Open { until: Instant },
    HalfOpen(Votes),
    ForcedOpen,
    ForcedClosed,
}

/// What probes have brought.
#[derive(Clone, Copy, Debug, Default)]
struct Votes {
    succeeded: u32,
    failed: u32,
    /// Answers that were to be ignored.
    ignored: u32,
}

/// Traffic coming back. `owed` collects percents; a hundred of them let one call through.
#[derive(Debug)]
struct Ramp {
    since: Instant,
    step: Duration,
    owed: u32,
}

impl Ramp {
    /// The share in force, and when the next one comes; `None` when the ramp is over.
    fn share(&self, now: Instant) -> Option<(u32, Instant)> {
        let passed = now.saturating_duration_since(self.since).as_nanos() / self.step.as_nanos();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        let percent = *RAMP_PERCENT.get(passed as usize)?;
        Some((percent, self.since + self.step.saturating_mul(passed + 1)))
    }
}

/// A probe under way. It stays listed, and its place taken, across later generations, until it
/// reports, is dropped, or reaches its greatest age.
#[derive(Debug)]
struct Probe {
    id: u32,
    epoch: u64,
    since: Instant,
}

/// See the numbered invariants of the room.
#[derive(Debug)]
pub(super) struct Core {
    config: CircuitBreakerConfig,
    phase: Phase,
    watch: Watch,
    probes: Vec<Probe>,
    next_probe: u32,
    /// Openings since the circuit last flowed fully.
    openings: u32,
    /// Until when the backend asked for patience in this generation.
    asked_until: Option<Instant>,
    /// Changes that nobody was told of yet.
    changes: Vec<StateChange>,
    pub(super) counts: Counts,
}

/// Since the breaker was made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) failed: u64,
    pub(super) ignored: u64,
    pub(super) late: u64,
    pub(super) refused: u64,
    pub(super) would_refuse: u64,
    pub(super) trips: u64,
}

impl Core {
    pub(super) fn new(config: CircuitBreakerConfig, now: Instant, stripes: &Stripes) -> Self {
        Self {
            watch: Watch::new(&config, now, stripes),
            phase: Phase::Closed { ramp: None },
            probes: Vec::new(),
            next_probe: 0,
            openings: 0,
            asked_until: None,
            changes: Vec::new(),
            counts: Counts::default(),
            config,
        }
    }

    pub(super) fn config(&self) -> &CircuitBreakerConfig {
        &self.config
    }

    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Whether every asker is admitted until something is reported.
    pub(super) fn flows(&self) -> bool {
        matches!(self.phase, Phase::Closed { ramp: None } | Phase::ForcedClosed)
    }

    /// Whether the next success has to come here.
    pub(super) fn is_alert(&self, stripes: &Stripes) -> bool {
        matches!(self.phase, Phase::Closed { .. }) && self.watch.is_alert(stripes)
    }

    pub(super) fn is_forced(&self) -> bool {
        matches!(self.phase, Phase::ForcedOpen | Phase::ForcedClosed)
    }

    /// When there is something to do though nobody reports, while calls flow.
    pub(super) fn next(&self) -> Option<Instant> {
        self.watch.next()
    }

    /// The state at `now`: an opening that is over reads half-open before anybody asks.
    pub(super) fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Closed { .. } | Phase::ForcedClosed => State::Closed,
            Phase::Open { until } if now < until => State::Open,
            Phase::ForcedOpen => State::Open,
            Phase::Open { .. } | Phase::HalfOpen(_) => State::HalfOpen,
        }
    }

    /// The changes since this was last asked.
    pub(super) fn take_changes(&mut self) -> Vec<StateChange> {
        std::mem::take(&mut self.changes)
    }

    /// Lets time do what it does: openings and ramps end, probes grow too old, calls leave the
    /// window, calls in flight become slow.
    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) {
        match &self.phase {
            Phase::Closed { ramp } => {
                if ramp.as_ref().is_some_and(|ramp| ramp.share(cx.now).is_none()) {
                    self.phase = Phase::Closed { ramp: None };
                    self.openings = 0;
                }
                self.watch.advance(cx.now, cx.stripes);
                self.judge(cx);
            }
            Phase::ForcedClosed => self.watch.advance(cx.now, cx.stripes),
            Phase::Open { until } if cx.now >= *until => {
                self.enter(Phase::HalfOpen(Votes::default()), Cause::OpeningOver, cx);
            }
            Phase::Open { .. } | Phase::HalfOpen(_) | Phase::ForcedOpen => {}
        }
        self.give_up_old_probes(cx);
    }

    /// May one more call be made?
    pub(super) fn admit(&mut self, cx: &mut Cx<'_>) -> Admission {
        self.advance(cx);
        if let Some(until) = self.refused_until(cx.now) {
            return Admission::Refused { until };
        }
        if let Phase::Closed { ramp: Some(ramp) } = &mut self.phase
            && let Some((percent, next)) = ramp.share(cx.now)
        {
            ramp.owed += percent;
            if ramp.owed < 100 {
                // Asking again is how a lone waiting caller gets its share.
                return Admission::Refused { until: next.min(cx.now + ramp.step / 10) };
            }
            ramp.owed -= 100;
        }
        Admission::Granted(match self.phase {
            Phase::HalfOpen(_) => {
                self.next_probe = self.next_probe.wrapping_add(1);
                let (id, epoch) = (self.next_probe, self.watch.epoch());
                self.probes.push(Probe { id, epoch, since: cx.now });
                Claim { epoch, since: Some(cx.now), place: Place::Probe(id) }
            }
            _ => self.watch.admit(cx.now, cx.stripe, cx.stripes),
        })
    }

    /// Let through though it was refused. No probe: its result decides nothing.
    pub(super) fn wave_through(&mut self, now: Instant) -> Claim {
        self.counts.would_refuse += 1;
        Claim { epoch: self.watch.epoch(), since: Some(now), place: Place::Nowhere }
    }

    /// Until when nobody is admitted; `None` when somebody may be. Call after `advance`.
    pub(super) fn refused_until(&self, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Closed { .. } | Phase::ForcedClosed => None,
            Phase::Open { until } => Some(until),
            // Nobody knows: worth another look after a while.
            Phase::ForcedOpen => Some(now + self.config.open_for),
            Phase::HalfOpen(Votes { succeeded, failed, .. }) => {
                let taken = self.probes.len() as u64 + u64::from(succeeded) + u64::from(failed);
                if taken < u64::from(self.config.probes.get()) {
                    return None;
                }
                // Fewer results than probes are decisive, so somebody is under way: the oldest
                // makes a place at the latest when it is given up.
                self.probes.first().map(|oldest| oldest.since + self.config.call_timeout)
            }
        }
    }

    /// How an admitted call ended.
    pub(super) fn report(&mut self, claim: Claim, report: Report, cx: &mut Cx<'_>) {
        self.advance(cx);
        let outcome = self.outcome_of(report);
        match outcome {
            Outcome::Success => self.watch.succeeded(),
            Outcome::Failure => self.counts.failed += 1,
            Outcome::Ignored => self.counts.ignored += 1,
        }
        if let Place::Probe(id) = claim.place {
            match self.probes.iter().position(|probe| probe.id == id) {
                Some(place) => drop(self.probes.remove(place)),
                // Given up at its greatest age, and counted then.
                None => return self.counts.late += 1,
            }
        }
        if !self.watch.knows(&claim) {
            self.counts.late += 1;
            return;
        }
        if let Some(asked) = report.asked {
            let until = cx.now + asked.min(self.config.open_for_most);
            self.asked_until = self.asked_until.max(Some(until));
        }
        match (&self.phase, claim.place) {
            (Phase::Closed { .. } | Phase::ForcedClosed, _) => {
                self.watch.record(&claim, outcome, cx.now, cx.stripes);
                let opens = self.config.overloaded == Overloaded::Opens;
                if opens && report.is_overloaded && !self.is_forced() {
                    return self.trip(Cause::Overloaded, cx);
                }
                self.judge(cx);
            }
            (Phase::HalfOpen(_), Place::Probe(_)) => {
                let is_slow = self.config.slow_ratio.is_some()
                    && claim.age(cx.now) >= self.config.slow_threshold();
                if self.decides(outcome, report) {
                    self.vote(outcome == Outcome::Failure || is_slow, cx);
                }
            }
            // Let through by `Enforcement` only: no probe, no vote.
            _ => {}
        }
    }

    /// Whether what a probe brought is a vote. One that was told to be patient has reached a backend
    /// that works. What is to be ignored may be the caller's own mistake, and gives its place
    /// back; but when as many as there are probes were all the backend had to say, it answers, and
    /// each further one is a vote that it does. Else a backend that answers 404 to all that comes
    /// would be half-open for ever.
    fn decides(&mut self, outcome: Outcome, report: Report) -> bool {
        let Phase::HalfOpen(votes) = &mut self.phase else { return false };
        if outcome != Outcome::Ignored || report.is_overloaded {
            return true;
        }
        if !report.is_answer {
            return false;
        }
        votes.ignored = votes.ignored.saturating_add(1);
        votes.ignored > self.config.probes.get()
    }

    fn outcome_of(&self, report: Report) -> Outcome {
        match self.config.overloaded {
            Overloaded::Failure | Overloaded::Opens if report.is_overloaded => Outcome::Failure,
            _ => report.outcome,
        }
    }

    /// From now on it is open, whatever is reported, until it is released.
    pub(super) fn force_open(&mut self, cx: &mut Cx<'_>) {
        self.enter(Phase::ForcedOpen, Cause::Forced, cx);
    }

    /// From now on calls flow, whatever is reported, until it is released.
    pub(super) fn force_closed(&mut self, cx: &mut Cx<'_>) {
        self.openings = 0;
        self.enter(Phase::ForcedClosed, Cause::Forced, cx);
    }

    /// It decides by itself again: from open by way of the probes. Nothing if it wasn't forced.
    pub(super) fn release(&mut self, cx: &mut Cx<'_>) {
        match self.phase {
            Phase::ForcedOpen => {
                self.enter(Phase::HalfOpen(Votes::default()), Cause::Forced, cx);
            }
            Phase::ForcedClosed => self.enter(Phase::Closed { ramp: None }, Cause::Forced, cx),
            Phase::Closed { .. } | Phase::Open { .. } | Phase::HalfOpen(_) => {}
        }
    }

    fn judge(&mut self, cx: &mut Cx<'_>) {
        if let (Phase::Closed { .. }, Some(cause)) = (&self.phase, self.watch.judge(cx.stripes)) {
            self.trip(cause, cx);
        }
    }

    fn vote(&mut self, failure: bool, cx: &mut Cx<'_>) {
        let Phase::HalfOpen(votes) = &mut self.phase else { return };
        *(if failure { &mut votes.failed } else { &mut votes.succeeded }) += 1;
        let (Votes { succeeded, failed, .. }, probes) = (*votes, self.config.probes.get());
        if f64::from(failed) >= self.config.failure_ratio * f64::from(probes) {
            self.trip(Cause::ProbesFailed, cx);
        } else if succeeded + failed >= probes {
            let ramp = self.config.ramp_step.map(|step| Ramp { since: cx.now, step, owed: 90 });
            if ramp.is_none() {
                self.openings = 0;
            }
            self.enter(Phase::Closed { ramp }, Cause::ProbesSucceeded, cx);
        }
    }

    fn trip(&mut self, cause: Cause, cx: &mut Cx<'_>) {
        let config = &self.config;
        let (first, most) = (config.open_for, config.open_for_most);
        let length = exponential(first, config.open_factor, most, self.openings);
        let until = cx.now + cx.rng.around(length, config.open_jitter_ratio);
        let until = self.asked_until.map_or(until, |asked| {
            // Not before: whoever was told the same comes back spread, and later.
            let spread = asked.saturating_duration_since(cx.now).mul_f64(config.open_jitter_ratio);
            until.max(asked + cx.rng.up_to(spread))
        });
        self.openings = self.openings.saturating_add(1);
        self.counts.trips += 1;
        self.enter(Phase::Open { until }, cause, cx);
    }

    /// Every change of state goes through here: a new generation, a clean slate.
    fn enter(&mut self, phase: Phase, cause: Cause, cx: &mut Cx<'_>) {
        // As it was, not as it would read by now.
        let from = match self.phase {
            Phase::Open { .. } => State::Open,
            _ => self.state(cx.now),
        };
        self.phase = phase;
        self.asked_until = None;
        let to = self.state(cx.now);
        match to {
            State::Closed => self.watch.start(cx.now, cx.stripes),
            State::Open | State::HalfOpen => self.watch.stop(cx.stripes),
        }
        if from != to {
            self.changes.push(StateChange { from, to, at: cx.now, cause });
        }
    }

    /// A probe that hangs is a failed probe, and doesn't hold its place for ever.
    fn give_up_old_probes(&mut self, cx: &mut Cx<'_>) {
        while let Some(oldest) = self.probes.first() {
            if cx.now.saturating_duration_since(oldest.since) < self.config.call_timeout {
                return;
            }
            let oldest = self.probes.remove(0);
            if oldest.epoch == self.watch.epoch() {
                self.vote(true, cx);
            }
        }
    }
}
