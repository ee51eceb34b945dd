//! Random operations on a circuit breaker, three bytes a step, on one thread and a paused clock,
//! beside a naive model of it: a list of all calls, looked through from its beginning whenever
//! somebody asks. After every step both must say the same of everything that can be asked.
//!
//! Shared with the fuzz target of the same name, whose seeds run here.
use std::num::NonZeroU32;
use std::time::Duration;

use headworks::circuit_breaker::{
    CircuitBreakerConfig, InFlight, Overloaded, OwnedCallPermit, State, Unreported, Window,
};
use headworks::{CircuitBreaker, Enforcement, Instant, Outcome};
use tokio::time::advance;

/// Runs the steps, and panics where something does not hold.
pub(crate) fn run(steps: &[u8]) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime starts");
    runtime.block_on(live(steps));
}

const MS: Duration = Duration::from_millis(1);

/// One life of one breaker. The first six bytes are its rules.
async fn live(steps: &[u8]) {
    let Some((rules, steps)) = steps.split_first_chunk::<6>() else { return };
    let config = config(*rules);
    let breaker = CircuitBreaker::new(config.clone()).expect("every value is in range");
    let start = Instant::now();
    let mut model = Model::new(config, start);
    let mut held: Vec<(OwnedCallPermit, usize)> = Vec::new();
    for &[op, a, b] in steps.as_chunks::<3>().0 {
        let now = Instant::now();
        match op % 16 {
            0..=4 => match (breaker.try_acquire_owned(), model.admit(now)) {
                (Ok(permit), Ok(call)) => held.push((permit, call)),
                // By chance, or always: only the breaker knows.
                (Ok(permit), Err(_)) if model.config.enforcement != Enforcement::Full => {
                    held.push((permit, model.wave_through(now)));
                }
                (Err(open), Err(until)) if model.config.enforcement != Enforcement::Shadow => {
                    let is_forced = matches!(model.phase, Phase::ForcedOpen);
                    assert_eq!(open.next_probe_at(), (!is_forced).then_some(until));
                    model.refused += 1;
                }
                (got, expected) => panic!("{got:?}, and the model says {expected:?}"),
            },
            5..=7 => advance(MS * u32::from(a % 64)).await,
            8 => advance(MS * (u32::from(a) * u32::from(b))).await,
            9..=14 if !held.is_empty() => {
                let (permit, call) = held.swap_remove(usize::from(a) % held.len());
                match b % 8 {
                    0 | 1 => {
                        permit.success();
                        model.report(call, Said::Answer(Outcome::Success), now);
                    }
                    2 | 3 => {
                        permit.failure();
                        model.report(call, Said::Answer(Outcome::Failure), now);
                    }
                    4 => {
                        permit.ignore();
                        model.report(call, Said::Answer(Outcome::Ignored), now);
                    }
                    5 => {
                        let asked = MS * u32::from(a);
                        permit.overloaded(Some(asked));
                        model.report(call, Said::Patience(asked), now);
                    }
                    _ => {
                        drop(permit);
                        model.abandon(call, now);
                    }
                }
            }
            15 if b % 8 == 0 => {
                breaker.force_open();
                model.enter(Phase::ForcedOpen, now);
            }
            15 if b % 8 == 1 => {
                breaker.force_closed();
                model.openings = 0;
                model.enter(Phase::ForcedClosed, now);
            }
            15 => {
                breaker.release();
                model.release(now);
            }
            _ => {}
        }
        let now = Instant::now();
        model.look(now);
        let seen = breaker.snapshot();
        let (in_flight, overdue) = model.in_flight();
        let counts = [seen.in_flight, seen.overdue, seen.succeeded, seen.failed, seen.ignored];
        let more = [seen.late, seen.refused, seen.would_refuse, seen.trips];
        let m = &model;
        let next = m.refused_until(now).filter(|_| !matches!(m.phase, Phase::ForcedOpen));
        assert_eq!((seen.state, seen.next_probe_at), (m.state(), next), "{m:#?}");
        assert_eq!(counts, [in_flight, overdue, m.succeeded, m.failed, m.ignored], "{m:#?}");
        assert_eq!(more, [m.late, m.refused, m.would_refuse, m.trips], "{m:#?}");
    }
}

fn config([window, ratio, row, ages, slow, probes]: [u8; 6]) -> CircuitBreakerConfig {
    let n = |n: u8| NonZeroU32::MIN.saturating_add(u32::from(n));
    let minimum = n(window / 3 % 8);
    let row = (!row.is_multiple_of(3)).then(|| n(row / 3 % 8));
    let config = CircuitBreakerConfig::default()
        .with_minimum_calls(minimum)
        .with_failure_ratio(f64::from(1 + ratio % 4) / 4.0)
        .with_slow_after(Some(MS * (6 + u32::from(slow % 64) * 6)))
        .with_slow_ratio((slow > 127).then_some(0.5))
        .with_in_flight([InFlight::FailureIfSlow, InFlight::Ignored][usize::from(ages % 2)])
        .with_unreported(
            [Unreported::FailureIfSlow, Unreported::Failure, Unreported::Ignored]
                [usize::from(ages / 2 % 3)],
        )
        .with_overloaded(
            [Overloaded::Ignored, Overloaded::Failure, Overloaded::Opens]
                [usize::from(ages / 8 % 3)],
        )
        .with_consecutive_failures(row)
        .with_probes(n(probes % 4))
        .with_call_timeout(MS * 200)
        .with_open_for(MS * 300)
        .with_open_for_most(MS * 1_000)
        .with_open_jitter_ratio(0.0)
        .with_ramp_step([None, None, Some(MS * 20), Some(MS * 70)][usize::from(probes / 4 % 4)])
        .with_enforcement(
            [Enforcement::Full, Enforcement::Full, Enforcement::Share(0.5), Enforcement::Shadow]
                [usize::from(probes / 16 % 4)],
        );
    match window % 3 {
        0 => config.with_window(Window::Time(MS * 100)),
        1 => config.with_window(Window::Calls(minimum.saturating_add(u32::from(ratio / 4)))),
        _ if row.is_some() => config.with_window(Window::Off).with_slow_ratio(None),
        _ => config,
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen { succeeded: u32, failed: u32, ignored: u32 },
    ForcedOpen,
    ForcedClosed,
}

const HALF_OPEN: Phase = Phase::HalfOpen { succeeded: 0, failed: 0, ignored: 0 };

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    Answer(Outcome),
    /// The backend asked for so much of it.
    Patience(Duration),
    /// The permit was dropped.
    Nothing(Outcome),
}

/// Traffic coming back.
#[derive(Debug)]
struct Ramp {
    since: Instant,
    /// Percents that those who asked have collected.
    owed: u32,
}

/// A call that was let through.
#[derive(Clone, Copy, Debug)]
struct Call {
    generation: u64,
    since: Instant,
    /// A probe that was not given up.
    is_probe: bool,
    was_probe: bool,
    /// When the slot it began in closes; it is overdue so long after that as a call may take.
    slot_closes: Option<Instant>,
    /// Successes until that slot was opened: those that are overdue are in a row if none came since.
    succeeded_before: u64,
    is_overdue: bool,
    has_ended: bool,
}

#[derive(Debug)]
struct Ended {
    at: Instant,
    failed: bool,
    slow: bool,
}

#[derive(Debug)]
struct Model {
    config: CircuitBreakerConfig,
    phase: Phase,
    generation: u64,
    /// When the generation began.
    from: Instant,
    slot_closes: Instant,
    slot_succeeded: u64,
    calls: Vec<Call>,
    ended: Vec<Ended>,
    row: u64,
    openings: u32,
    /// While it is closed, and not all come back.
    ramp: Option<Ramp>,
    asked_until: Option<Instant>,
    succeeded: u64,
    failed: u64,
    ignored: u64,
    late: u64,
    refused: u64,
    would_refuse: u64,
    trips: u64,
}

impl Model {
    fn new(config: CircuitBreakerConfig, now: Instant) -> Self {
        let mut new = Self {
            config,
            phase: Phase::Closed,
            generation: 0,
            from: now,
            slot_closes: now,
            slot_succeeded: 0,
            calls: Vec::new(),
            ended: Vec::new(),
            row: 0,
            openings: 0,
            ramp: None,
            asked_until: None,
            succeeded: 0,
            failed: 0,
            ignored: 0,
            late: 0,
            refused: 0,
            would_refuse: 0,
            trips: 0,
        };
        new.enter(Phase::Closed, now);
        new
    }

    fn slow_after(&self) -> Duration {
        self.config.slow_after.unwrap_or(self.config.call_timeout)
    }

    fn counts_in_flight(&self) -> bool {
        self.config.in_flight == InFlight::FailureIfSlow
    }

    fn slot(&self) -> Duration {
        self.slow_after() / 6 + Duration::from_nanos(1)
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.generation += 1;
        self.from = now;
        self.slot_closes = now + self.slot();
        self.slot_succeeded = self.succeeded;
        self.ended.clear();
        self.row = 0;
        self.ramp = None;
        self.asked_until = None;
    }

    fn release(&mut self, now: Instant) {
        match self.phase {
            Phase::ForcedOpen => self.enter(HALF_OPEN, now),
            Phase::ForcedClosed => self.enter(Phase::Closed, now),
            _ => {}
        }
    }

    fn state(&self) -> State {
        match self.phase {
            Phase::Closed | Phase::ForcedClosed => State::Closed,
            Phase::Open { .. } | Phase::ForcedOpen => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    fn watches(&self) -> bool {
        matches!(self.phase, Phase::Closed | Phase::ForcedClosed)
    }

    /// Somebody looks, so what time has done is done.
    fn look(&mut self, now: Instant) {
        if self.ramp.is_some() && self.share(now).is_none() {
            self.ramp = None;
            self.openings = 0;
        }
        if self.watches() && self.counts_in_flight() {
            if self.slot_closes <= now {
                self.slot_closes = now + self.slot();
                self.slot_succeeded = self.succeeded;
            }
            let (generation, slow_after) = (self.generation, self.slow_after());
            for call in &mut self.calls {
                let slow = call.slot_closes.is_some_and(|closes| closes + slow_after <= now);
                if call.generation == generation && !call.has_ended && !call.is_overdue && slow {
                    call.is_overdue = true;
                    self.row += u64::from(call.succeeded_before == self.succeeded);
                }
            }
        }
        self.judge(now);
        if let Phase::Open { until } = self.phase
            && until <= now
        {
            self.enter(HALF_OPEN, now);
        }
        for place in 0..self.calls.len() {
            let call = self.calls[place];
            if call.is_probe && now - call.since >= self.config.call_timeout {
                self.calls[place].is_probe = false;
                if call.generation == self.generation {
                    self.vote(true, now);
                }
            }
        }
    }

    fn refused_until(&self, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Closed | Phase::ForcedClosed => None,
            Phase::Open { until } => Some(until),
            Phase::ForcedOpen => Some(now + self.config.open_for),
            Phase::HalfOpen { succeeded, failed, .. } => {
                let probing = self.calls.iter().filter(|call| call.is_probe);
                let taken = probing.clone().count() as u32 + succeeded + failed;
                let oldest = probing.map(|probe| probe.since).min();
                oldest
                    .filter(|_| taken >= self.config.probes.get())
                    .map(|oldest| oldest + self.config.call_timeout)
            }
        }
    }

    /// Of a hundred who ask while traffic comes back so many get through, and until when.
    fn share(&self, now: Instant) -> Option<(u32, Instant)> {
        let (ramp, step) = (self.ramp.as_ref()?, self.config.ramp_step?);
        let (mut percents, mut until) = ([10, 25, 50].into_iter(), ramp.since + step);
        while until <= now {
            percents.next();
            until += step;
        }
        percents.next().map(|percent| (percent, until))
    }

    fn admit(&mut self, now: Instant) -> Result<usize, Instant> {
        self.look(now);
        if let Some(until) = self.refused_until(now) {
            return Err(until);
        }
        if let (Some((percent, next)), Some(ramp)) = (self.share(now), &mut self.ramp) {
            ramp.owed += percent;
            if ramp.owed < 100 {
                let tenth = self.config.ramp_step.map(|step| now + step / 10);
                return Err(tenth.map_or(next, |tenth| tenth.min(next)));
            }
            ramp.owed -= 100;
        }
        let is_probe = self.state() == State::HalfOpen;
        let is_counted = self.watches() && self.counts_in_flight();
        self.calls.push(Call {
            generation: self.generation,
            since: now,
            is_probe,
            was_probe: is_probe,
            slot_closes: is_counted.then_some(self.slot_closes),
            succeeded_before: self.slot_succeeded,
            is_overdue: false,
            has_ended: false,
        });
        Ok(self.calls.len() - 1)
    }

    /// Let through though it was refused: no probe, and in nobody's count of calls in flight.
    fn wave_through(&mut self, now: Instant) -> usize {
        self.would_refuse += 1;
        self.calls.push(Call {
            generation: self.generation,
            since: now,
            is_probe: false,
            was_probe: false,
            slot_closes: None,
            succeeded_before: 0,
            is_overdue: false,
            has_ended: false,
        });
        self.calls.len() - 1
    }

    fn abandon(&mut self, call: usize, now: Instant) {
        let is_slow = now - self.calls[call].since >= self.slow_after();
        let failed = match self.config.unreported {
            Unreported::Failure => true,
            Unreported::FailureIfSlow => is_slow,
            _ => false,
        };
        let outcome = if failed { Outcome::Failure } else { Outcome::Ignored };
        self.report(call, Said::Nothing(outcome), now);
    }

    fn report(&mut self, call: usize, said: Said, now: Instant) {
        self.look(now);
        let is_overloaded = matches!(said, Said::Patience(_));
        let outcome = match said {
            Said::Answer(outcome) | Said::Nothing(outcome) => outcome,
            Said::Patience(_) if self.config.overloaded == Overloaded::Ignored => Outcome::Ignored,
            Said::Patience(_) => Outcome::Failure,
        };
        *match outcome {
            Outcome::Success => &mut self.succeeded,
            Outcome::Failure => &mut self.failed,
            Outcome::Ignored => &mut self.ignored,
        } += 1;
        let was = self.calls[call];
        self.calls[call].has_ended = true;
        self.calls[call].is_probe = false;
        if was.generation != self.generation || was.was_probe && !was.is_probe {
            self.late += 1;
            return;
        }
        if let Said::Patience(asked) = said {
            let until = now + asked.min(self.config.open_for_most);
            self.asked_until = self.asked_until.max(Some(until));
        }
        let is_slow = self.config.slow_ratio.is_some()
            && (was.is_overdue || now - was.since >= self.slow_after());
        if self.watches() {
            self.record(was, outcome, is_slow, now);
            if is_overloaded
                && self.config.overloaded == Overloaded::Opens
                && self.phase == Phase::Closed
            {
                return self.trip(now);
            }
            self.judge(now);
        } else if was.was_probe && self.decides(outcome, said) {
            self.vote(outcome == Outcome::Failure || is_slow, now);
        }
    }

    /// Answers that say nothing else say, after as many as there are probes, that it answers.
    fn decides(&mut self, outcome: Outcome, said: Said) -> bool {
        let Phase::HalfOpen { ignored, .. } = &mut self.phase else { return false };
        match said {
            Said::Answer(Outcome::Ignored) => {
                *ignored += 1;
                *ignored > self.config.probes.get()
            }
            Said::Answer(_) | Said::Patience(_) => true,
            Said::Nothing(_) => outcome != Outcome::Ignored,
        }
    }

    fn record(&mut self, was: Call, outcome: Outcome, slow: bool, now: Instant) {
        match outcome {
            Outcome::Ignored => return,
            Outcome::Success => self.row = 0,
            Outcome::Failure => self.row += u64::from(!was.is_overdue),
        }
        self.ended.push(Ended { at: now, failed: outcome == Outcome::Failure, slow });
    }

    fn judge(&mut self, now: Instant) {
        if self.phase != Phase::Closed {
            return;
        }
        let row = self.config.consecutive_failures;
        if row.is_some_and(|most| self.row >= u64::from(most.get())) {
            return self.trip(now);
        }
        let bucket = |at: Instant, width: Duration| (at - self.from).as_nanos() / width.as_nanos();
        let within: Vec<&Ended> = match self.config.window {
            Window::Time(length) => {
                let width = length / 10;
                let recent = |call: &&Ended| bucket(call.at, width) + 10 > bucket(now, width);
                self.ended.iter().filter(recent).collect()
            }
            Window::Calls(size) => self.ended.iter().rev().take(size.get() as usize).collect(),
            _ => return,
        };
        let overdue = self.in_flight().1 as usize;
        let calls = within.len() + overdue;
        let failures = within.iter().filter(|call| call.failed).count() + overdue;
        let slow = within.iter().filter(|call| call.slow).count() + overdue;
        let reached = |part: usize, ratio: f64| part > 0 && part as f64 >= ratio * calls as f64;
        let by_failures = reached(failures, self.config.failure_ratio);
        let by_slow = self.config.slow_ratio.is_some_and(|ratio| reached(slow, ratio));
        if calls >= self.config.minimum_calls.get() as usize && (by_failures || by_slow) {
            self.trip(now);
        }
    }

    fn vote(&mut self, failure: bool, now: Instant) {
        let Phase::HalfOpen { succeeded, failed, .. } = &mut self.phase else { return };
        *(if failure { &mut *failed } else { &mut *succeeded }) += 1;
        let (succeeded, failed, probes) = (*succeeded, *failed, self.config.probes.get());
        if f64::from(failed) >= self.config.failure_ratio * f64::from(probes) {
            self.trip(now);
        } else if succeeded + failed >= probes {
            self.enter(Phase::Closed, now);
            match self.config.ramp_step {
                // The first who asks gets through.
                Some(_) => self.ramp = Some(Ramp { since: now, owed: 90 }),
                None => self.openings = 0,
            }
        }
    }

    fn trip(&mut self, now: Instant) {
        let longest = self.config.open_for_most;
        let length = (self.config.open_for * (1 << self.openings.min(10))).min(longest);
        let until = (now + length).max(self.asked_until.unwrap_or(now));
        self.openings += 1;
        self.trips += 1;
        self.enter(Phase::Open { until }, now);
    }

    /// Of this generation, and how many of them are overdue.
    fn in_flight(&self) -> (u64, u64) {
        let mine = self.calls.iter().filter(|call| {
            self.watches()
                && call.generation == self.generation
                && call.slot_closes.is_some()
                && !call.has_ended
        });
        let overdue = mine.clone().filter(|call| call.is_overdue).count() as u64;
        (mine.count() as u64, overdue)
    }
}
