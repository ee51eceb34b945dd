//! What a closed circuit knows of its calls, and whether that is enough to open it.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use super::config::{CircuitBreakerConfig, InFlight};
use super::core::{Cause, Claim, Place};
use super::stripes::Stripes;
use super::window::{Tally, Window};
use crate::ground::outcome::Outcome;
use crate::ground::time::{self, Instant};

/// Calls in flight are counted by when they began, so many slots until they are slow. One slot
/// more is the newest, and one is partly slow: they fit into the words of a stripe.
const SLOTS_UNTIL_SLOW: u32 = 6;

/// Calls that began in one epoch. It takes no more after `closes_at`.
#[derive(Clone, Copy, Debug)]
struct Slot {
    epoch: u64,
    closes_at: Instant,
    /// Successes ever, when it was opened.
    succeeded: u64,
}

/// See the numbered invariants of the room.
#[derive(Debug)]
pub(super) struct Watch {
    rules: Rules,
    window: Window,
    /// What ended in this generation; the successes in the stripes come on top.
    ended: Tally,
    /// Failures since the last success.
    row: u64,
    /// The newest epoch, and the first of this generation.
    epoch: u64,
    first: u64,
    /// The epochs that are counted in the stripes, oldest first; none while nothing is watched.
    slots: VecDeque<Slot>,
    /// Calls in flight that are slow by now; no stripe counts them any more.
    overdue: u64,
    /// Successes ever, but for those in the stripes.
    succeeded: u64,
}

#[derive(Debug)]
struct Rules {
    window: super::config::Window,
    failure_ratio: f64,
    slow_ratio: Option<f64>,
    minimum_calls: u64,
    consecutive: Option<NonZeroU32>,
    slow_after: Duration,
    slot: Duration,
    in_flight: InFlight,
}

impl Watch {
    pub(super) fn new(config: &CircuitBreakerConfig, now: Instant, stripes: &Stripes) -> Self {
        let slow_after = config.slow_threshold();
        let slot = slow_after.div_f64(f64::from(SLOTS_UNTIL_SLOW)) + Duration::from_nanos(1);
        let rules = Rules {
            window: config.window,
            failure_ratio: config.failure_ratio,
            slow_ratio: config.slow_ratio,
            minimum_calls: u64::from(config.minimum_calls.get()),
            consecutive: config.consecutive_failures,
            slow_after,
            slot,
            in_flight: config.in_flight,
        };
        let mut new = Self {
            window: Window::new(rules.window, now),
            rules,
            ended: Tally::default(),
            row: 0,
            epoch: 0,
            first: 0,
            slots: VecDeque::new(),
            overdue: 0,
            succeeded: 0,
        };
        new.start(now, stripes);
        new
    }

    /// A generation in which nothing is watched: whatever is under way counts no more.
    pub(super) fn stop(&mut self, stripes: &Stripes) {
        while let Some(slot) = self.slots.pop_front() {
            self.succeeded += stripes.retire(slot.epoch).successes;
        }
        self.overdue = 0;
        self.epoch += 1;
        self.first = self.epoch;
    }

    /// A generation that starts with a clean slate.
    pub(super) fn start(&mut self, now: Instant, stripes: &Stripes) {
        self.stop(stripes);
        self.window = Window::new(self.rules.window, now);
        self.ended = Tally::default();
        self.row = 0;
        self.open_slot(now, stripes);
    }

    fn open_slot(&mut self, now: Instant, stripes: &Stripes) {
        stripes.open(self.epoch);
        let (epoch, closes_at) = (self.epoch, now + self.rules.slot);
        let succeeded = self.all_succeeded(stripes);
        self.slots.push_back(Slot { epoch, closes_at, succeeded });
    }

    /// The newest epoch. It grows whenever something under way counts differently from then on.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the claim is of this generation.
    pub(super) fn knows(&self, claim: &Claim) -> bool {
        claim.epoch >= self.first
    }

    /// Lets time do what it does: calls leave the window, and calls in flight become slow.
    pub(super) fn advance(&mut self, now: Instant, stripes: &Stripes) {
        self.window.advance(now, self.total(stripes));
        if self.rules.in_flight == InFlight::Ignored {
            return;
        }
        if self.slots.back().is_some_and(|newest| newest.closes_at <= now) {
            self.epoch += 1;
            self.open_slot(now, stripes);
        }
        while let Some(oldest) = self.slots.front().copied()
            && oldest.closes_at + self.rules.slow_after <= now
        {
            let none_succeeded = self.all_succeeded(stripes) == oldest.succeeded;
            self.slots.pop_front();
            let left = stripes.retire(oldest.epoch);
            self.succeeded += left.successes;
            self.ended.calls += left.successes;
            self.overdue += left.in_flight;
            if none_succeeded {
                self.row += left.in_flight;
            }
        }
    }

    /// When `advance` has something to do next; `None`: never.
    pub(super) fn next(&self) -> Option<Instant> {
        let ages = match (self.rules.in_flight, self.slots.front(), self.slots.back()) {
            (InFlight::FailureIfSlow, Some(oldest), Some(newest)) => {
                Some(newest.closes_at.min(oldest.closes_at + self.rules.slow_after))
            }
            _ => None,
        };
        time::earlier(self.window.next(), ages)
    }

    /// A call is let through.
    pub(super) fn admit(&self, now: Instant, stripe: usize, stripes: &Stripes) -> Claim {
        let counts = self.rules.in_flight == InFlight::FailureIfSlow;
        let is_counted = counts && stripes.begin(stripe, self.epoch);
        let place = if is_counted { Place::Stripe(stripe as u8) } else { Place::Nowhere };
        Claim { epoch: self.epoch, since: Some(now), place }
    }

    /// A call of this generation has ended. A success that is nothing more than that needs not
    /// come here: the stripes count it.
    pub(super) fn record(
        &mut self,
        claim: &Claim,
        outcome: Outcome,
        now: Instant,
        stripes: &Stripes,
    ) {
        let was_overdue = self.leave(claim, stripes);
        if outcome == Outcome::Ignored {
            return;
        }
        let failed = outcome == Outcome::Failure;
        let is_slow = self.rules.slow_ratio.is_some()
            && (was_overdue || claim.age(now) >= self.rules.slow_after);
        self.ended.calls += 1;
        self.ended.failures += u64::from(failed);
        self.ended.slow += u64::from(is_slow);
        self.window.record(failed, is_slow, self.total(stripes));
        if !failed {
            self.row = 0;
            // Perhaps it came here because its word was full.
            self.gather(stripes);
        } else if !was_overdue {
            self.row += 1;
        }
    }

    /// It is in flight no more. Whether it had become slow before, and was counted for that.
    fn leave(&mut self, claim: &Claim, stripes: &Stripes) -> bool {
        let Place::Stripe(stripe) = claim.place else { return false };
        // By its epoch: the word of one long retired may count for another that has the same tag.
        let is_young = self.slots.front().is_some_and(|oldest| oldest.epoch <= claim.epoch);
        let is_overdue = !(is_young && stripes.end(usize::from(stripe), claim.epoch));
        if is_overdue {
            self.overdue = self.overdue.saturating_sub(1);
        }
        is_overdue
    }

    fn gather(&mut self, stripes: &Stripes) {
        let gathered = stripes.gather(self.epoch);
        self.ended.calls += gathered;
        self.succeeded += gathered;
    }

    /// A success that was counted elsewhere.
    pub(super) fn succeeded(&mut self) {
        self.succeeded += 1;
    }

    /// Whether what is known opens the circuit, and by which rule. A call in flight that is slow
    /// counts as one that has failed, and as a slow one.
    pub(super) fn judge(&self, stripes: &Stripes) -> Option<Cause> {
        if self.rules.consecutive.is_some_and(|most| self.row >= u64::from(most.get())) {
            return Some(Cause::Consecutive);
        }
        let Tally { calls, failures, slow } = self.sample(stripes);
        if calls < self.rules.minimum_calls {
            return None;
        }
        let reached = |part: u64, ratio: f64| part > 0 && part as f64 >= ratio * calls as f64;
        if reached(failures, self.rules.failure_ratio) {
            return Some(if self.overdue > 0 { Cause::InFlight } else { Cause::Failures });
        }
        self.rules.slow_ratio.is_some_and(|ratio| reached(slow, ratio)).then_some(Cause::Slow)
    }

    /// Whether the next success matters: it ends a row, or completes the sample.
    pub(super) fn is_alert(&self, stripes: &Stripes) -> bool {
        if self.rules.consecutive.is_some() && self.row > 0 {
            return true;
        }
        let Tally { calls, failures, slow } = self.sample(stripes);
        calls < self.rules.minimum_calls && failures + slow > 0
    }

    /// What is in the window, and the calls in flight that are slow.
    fn sample(&self, stripes: &Stripes) -> Tally {
        let within = match self.window {
            Window::Off => return Tally::default(),
            _ => self.window.tally(self.total(stripes)),
        };
        let overdue = self.overdue;
        Tally {
            calls: within.calls + overdue,
            failures: within.failures + overdue,
            slow: within.slow + overdue,
        }
    }

    fn total(&self, stripes: &Stripes) -> Tally {
        Tally { calls: self.ended.calls + self.in_stripes(stripes), ..self.ended }
    }

    fn in_stripes(&self, stripes: &Stripes) -> u64 {
        self.slots.iter().map(|slot| stripes.look(slot.epoch).successes).sum()
    }

    /// How many have succeeded since the breaker was made.
    pub(super) fn all_succeeded(&self, stripes: &Stripes) -> u64 {
        self.succeeded + self.in_stripes(stripes)
    }

    /// The calls in flight that this generation let through, and those of them that are slow.
    pub(super) fn in_flight(&self, stripes: &Stripes) -> (u64, u64) {
        let young: u64 = self.slots.iter().map(|slot| stripes.look(slot.epoch).in_flight).sum();
        (young + self.overdue, self.overdue)
    }
}
