//! The decisions of a breaker, without clock, lock or waker.

use std::time::{Duration, Instant};

use super::config::CircuitBreakerConfig;
use super::window::Window;
use crate::ground::exponential::exponential;
use crate::ground::outcome::Outcome;
use crate::ground::rng::Rng;

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
    pub(super) generation: u64,
    pub(super) probe: Option<u64>,
}

#[derive(Debug)]
enum Phase {
    Closed { ramp: Option<Ramp> },
    Open { until: Instant },
    HalfOpen { succeeded: u32, failed: u32 },
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
        Some((percent, later(self.since, self.step.saturating_mul(passed + 1))))
    }
}

/// A probe under way. It stays listed, and its place taken, across later generations, until it
/// reports, is dropped, or reaches its greatest age.
#[derive(Debug)]
struct Probe {
    id: u64,
    generation: u64,
    since: Instant,
}

/// See the numbered invariants of the room.
#[derive(Debug)]
pub(super) struct Core {
    config: CircuitBreakerConfig,
    phase: Phase,
    generation: u64,
    window: Window,
    consecutive: u32,
    probes: Vec<Probe>,
    next_probe: u64,
    /// Openings since the circuit last flowed fully.
    row: u32,
    trips: u64,
    late: u64,
}

impl Core {
    pub(super) fn new(config: CircuitBreakerConfig, now: Instant) -> Self {
        Self {
            window: Window::new(config.window, now),
            phase: Phase::Closed { ramp: None },
            generation: 0,
            consecutive: 0,
            probes: Vec::new(),
            next_probe: 0,
            row: 0,
            trips: 0,
            late: 0,
            config,
        }
    }

    pub(super) fn config(&self) -> &CircuitBreakerConfig {
        &self.config
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn trips(&self) -> u64 {
        self.trips
    }

    pub(super) fn late(&self) -> u64 {
        self.late
    }

    /// Whether every asker is admitted until something is reported.
    pub(super) fn flows(&self) -> bool {
        matches!(self.phase, Phase::Closed { ramp: None })
    }

    /// The state at `now`: an opening that is over reads half-open before anybody asks.
    pub(super) fn state(&self, now: Instant) -> State {
        match self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { until } if now < until => State::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Lets time do what it does: openings end, ramps end, probes grow too old.
    pub(super) fn advance(&mut self, now: Instant, rng: &mut Rng) {
        if let Phase::Closed { ramp: Some(ramp) } = &self.phase
            && ramp.share(now).is_none()
        {
            self.phase = Phase::Closed { ramp: None };
            self.row = 0;
        }
        if let Phase::Open { until } = self.phase
            && now >= until
        {
            self.enter(Phase::HalfOpen { succeeded: 0, failed: 0 });
        }
        self.give_up_old_probes(now, rng);
    }

    /// May one more call be made?
    pub(super) fn admit(&mut self, now: Instant, rng: &mut Rng) -> Admission {
        self.advance(now, rng);
        if let Some(until) = self.refused_until() {
            return Admission::Refused { until };
        }
        let probe = match &mut self.phase {
            Phase::Closed { ramp: None } | Phase::Open { .. } => None,
            Phase::Closed { ramp: Some(ramp) } => {
                if let Some((percent, next)) = ramp.share(now) {
                    ramp.owed += percent;
                    if ramp.owed < 100 {
                        // Asking again is how a lone waiting caller gets its share.
                        return Admission::Refused { until: next.min(later(now, ramp.step / 10)) };
                    }
                    ramp.owed -= 100;
                }
                None
            }
            Phase::HalfOpen { .. } => {
                self.next_probe += 1;
                let (id, generation) = (self.next_probe, self.generation);
                self.probes.push(Probe { id, generation, since: now });
                Some(id)
            }
        };
        Admission::Granted(Claim { generation: self.generation, probe })
    }

    /// Until when nobody is admitted; `None` when somebody may be. Call after `advance`.
    pub(super) fn refused_until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Closed { .. } => None,
            Phase::Open { until } => Some(until),
            Phase::HalfOpen { succeeded, failed } => {
                let taken = self.probes.len() as u64 + u64::from(succeeded) + u64::from(failed);
                if taken < u64::from(self.config.probes.get()) {
                    return None;
                }
                // Fewer results than probes are decisive, so somebody is under way: the oldest
                // makes a place at the latest when it is given up.
                self.probes.first().map(|oldest| later(oldest.since, self.config.call_timeout))
            }
        }
    }

    /// How an admitted call ended.
    pub(super) fn report(&mut self, claim: Claim, outcome: Outcome, now: Instant, rng: &mut Rng) {
        self.advance(now, rng);
        let mut is_probe = false;
        if let Some(id) = claim.probe {
            match self.probes.iter().position(|probe| probe.id == id) {
                Some(place) => drop(self.probes.remove(place)),
                // Given up at its greatest age, and counted then.
                None => return self.late += 1,
            }
            is_probe = true;
        }
        if claim.generation != self.generation {
            self.late += 1;
            return;
        }
        match (&self.phase, outcome) {
            (_, Outcome::Ignored) | (Phase::Open { .. }, _) => {}
            (Phase::Closed { .. }, _) => self.watch(outcome == Outcome::Failure, now, rng),
            (Phase::HalfOpen { .. }, _) if is_probe => {
                self.vote(outcome == Outcome::Failure, now, rng);
            }
            // Let through by `Enforcement` only: no probe, no vote.
            (Phase::HalfOpen { .. }, _) => {}
        }
    }

    fn watch(&mut self, failed: bool, now: Instant, rng: &mut Rng) {
        let tally = self.window.record(failed, now);
        self.consecutive = if failed { self.consecutive.saturating_add(1) } else { 0 };
        let enough = tally.calls >= u64::from(self.config.minimum_calls.get());
        let by_ratio =
            enough && tally.failures as f64 >= self.config.failure_ratio * tally.calls as f64;
        let by_row = self.config.consecutive_failures.is_some_and(|n| self.consecutive >= n.get());
        if by_ratio || by_row {
            self.trip(now, rng);
        }
    }

    fn vote(&mut self, failure: bool, now: Instant, rng: &mut Rng) {
        let Phase::HalfOpen { succeeded, failed } = &mut self.phase else { return };
        *(if failure { &mut *failed } else { &mut *succeeded }) += 1;
        let (succeeded, failed, probes) = (*succeeded, *failed, self.config.probes.get());
        if f64::from(failed) >= self.config.failure_ratio * f64::from(probes) {
            self.trip(now, rng);
        } else if succeeded + failed >= probes {
            let ramp = self.config.ramp_step.map(|step| Ramp { since: now, step, owed: 90 });
            if ramp.is_none() {
                self.row = 0;
            }
            self.enter(Phase::Closed { ramp });
        }
    }

    fn trip(&mut self, now: Instant, rng: &mut Rng) {
        let config = &self.config;
        let (first, most) = (config.open_for, config.open_for_most);
        let length = exponential(first, config.open_factor, most, self.row);
        let until = later(now, rng.around(length, config.open_jitter_ratio));
        self.row = self.row.saturating_add(1);
        self.trips += 1;
        self.enter(Phase::Open { until });
    }

    /// Every change of state goes through here: a new generation, a clean slate.
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation += 1;
        self.consecutive = 0;
        self.window.clear();
    }

    /// A probe that hangs is a failed probe, and doesn't hold its place for ever.
    fn give_up_old_probes(&mut self, now: Instant, rng: &mut Rng) {
        while let Some(oldest) = self.probes.first() {
            if now.saturating_duration_since(oldest.since) < self.config.call_timeout {
                return;
            }
            let oldest = self.probes.remove(0);
            if oldest.generation == self.generation {
                self.vote(true, now, rng);
            }
        }
    }
}

/// `at + after`; a time beyond what the clock can say is a century away.
fn later(at: Instant, after: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(3_155_760_000);
    at.checked_add(after.min(CENTURY)).unwrap_or(at)
}
