//! The throughput guard: what more concurrency brought decides whether it is kept.

use super::rule::Rule;
use super::window::{Measured, Sample, Window};
use crate::ground::time::Instant;

/// A trial changes the limit by this share: enough to be seen, little enough to be borne.
const STEP: f64 = 0.1;
/// While nothing is known, or much has changed, it is doubled.
const LEAP: f64 = 1.0;
/// Of the throughput that a change of the limit would bring if nothing else bounded it, so much
/// must come for it to be kept.
const WORTH: f64 = 0.5;
/// That mean when there was none yet.
const UNKNOWN: f64 = 0.25;
/// How well throughput is known when a trial is judged: its standard error, as a share.
const ERROR: f64 = 0.02;
/// The same for a leap.
const LEAP_ERROR: f64 = 0.1;
/// How much of the last trial the mean of their gains takes.
const NEWEST: f64 = 0.25;
/// So many windows at most from one trial that brought nothing to the next.
const PAUSE: u32 = 6;
/// So many trials in a row that were worth it: the knee is far.
const FAR: u32 = 2;
/// So many times in a row throughput must speak against latency.
const REFUTED: u32 = 2;

/// Sets a limit by what tasks took and how they ended.
#[derive(Clone, Debug)]
pub(in crate::blocks::worker_pool) struct Tuner<R> {
    rule: R,
    min: f64,
    max: f64,
    /// What has proven itself.
    base: f64,
    /// What is in force: the base, or a trial.
    limit: f64,
    window: Window,
    trial: Trial,
    /// The mean gain of trials.
    gain: f64,
    step: f64,
    wins: u32,
    pause: u32,
    waits: u32,
    /// Times in a row that less took away throughput in proportion.
    refuted: u32,
}

/// What the window that is open is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trial {
    None,
    /// More than the base, which brought this throughput.
    Up {
        was: f64,
    },
    /// The base was lowered for its latency. What it was, and brought.
    Down {
        from: f64,
        was: f64,
    },
}

impl<R: Rule> Tuner<R> {
    pub(in crate::blocks::worker_pool) fn new(min: u32, max: u32, rule: R, now: Instant) -> Self {
        let (min, max) = (f64::from(min), f64::from(max));
        Self {
            rule,
            min,
            max,
            base: min,
            limit: min,
            window: Window::since(now),
            trial: Trial::None,
            gain: UNKNOWN,
            step: LEAP,
            wins: 0,
            pause: 0,
            waits: 0,
            refuted: 0,
        }
    }

    pub(in crate::blocks::worker_pool) fn limit(&self) -> u32 {
        // Between two of them.
        self.limit.round() as u32
    }

    /// One task has ended: the limit from here on.
    pub(in crate::blocks::worker_pool) fn sample(&mut self, sample: Sample, now: Instant) -> u32 {
        let error = if self.step > STEP { LEAP_ERROR } else { ERROR };
        if let Some(measured) = self.window.add(sample, self.limit, error, now) {
            self.limit = self.next(measured).clamp(self.min, self.max);
            self.window = Window::since(now);
        }
        self.limit()
    }

    fn next(&mut self, measured: Measured) -> f64 {
        let Measured { dropped_ratio, took, .. } = measured;
        let Some(took) = took.filter(|_| dropped_ratio < 0.1) else {
            return self.cut(dropped_ratio);
        };
        let took = took.as_secs_f64();
        if f64::from(measured.in_flight) < self.limit().into() {
            // Nobody wanted more: that says nothing of the limit.
            self.trial = Trial::None;
            self.rule.wanted(self.base, took);
            return self.base;
        }
        match std::mem::replace(&mut self.trial, Trial::None) {
            Trial::None => self.at_base(took, measured.throughput),
            Trial::Up { was } => self.raised(was, measured.throughput),
            Trial::Down { from, was } => self.lowered(from, was, took, measured.throughput),
        }
    }

    /// Every window of drops takes half of the share that was dropped (DCTCP, RFC 8257, 3.3).
    fn cut(&mut self, dropped_ratio: f64) -> f64 {
        self.base = (self.base * (1.0 - dropped_ratio / 2.0)).max(self.min);
        self.trial = Trial::None;
        (self.wins, self.pause, self.waits) = (0, 0, 0);
        self.step = if dropped_ratio > 0.5 { LEAP } else { STEP };
        self.base
    }

    fn at_base(&mut self, took: f64, throughput: f64) -> f64 {
        let wanted = self.rule.wanted(self.base, took);
        if wanted < self.base && self.base > self.min {
            self.trial = Trial::Down { from: self.base, was: throughput };
            self.base = wanted.min(self.base * (1.0 - STEP)).max(self.min);
            self.step = STEP;
            return self.base;
        }
        if wanted <= self.base || self.base >= self.max {
            return self.base;
        }
        if self.waits > 0 {
            self.waits -= 1;
            return self.base;
        }
        self.try_more(throughput)
    }

    fn try_more(&mut self, throughput: f64) -> f64 {
        self.trial = Trial::Up { was: throughput };
        (self.base + (self.base * self.step).max(1.0)).min(self.max)
    }

    /// More was tried.
    fn raised(&mut self, was: f64, throughput: f64) -> f64 {
        let gain = gain(self.base, was, self.limit, throughput);
        let is_leap = self.step > STEP;
        self.gain = if is_leap { UNKNOWN } else { self.gain + (gain - self.gain) * NEWEST };
        if is_leap {
            // As much of it as brought something.
            self.base += (self.limit - self.base) * gain.clamp(0.0, 1.0);
        }
        let has_won = gain >= WORTH;
        if !has_won || (!is_leap && self.gain < WORTH) {
            // Once may be chance: at once again then.
            self.pause = if is_leap || has_won { 0 } else { (self.pause * 2 + 1).min(PAUSE) };
            self.waits = self.pause;
            self.step = STEP;
            self.wins = 0;
            return self.base;
        }
        if !is_leap {
            self.base = self.limit;
        }
        self.wins += 1;
        self.pause = 0;
        if self.wins >= FAR {
            self.step = LEAP;
        }
        if self.base < self.max { self.try_more(throughput) } else { self.base }
    }

    /// Less was tried. If that cost throughput in proportion, the latency was not of our making.
    /// Once may be chance, or a backend that changed meanwhile.
    fn lowered(&mut self, from: f64, was: f64, took: f64, throughput: f64) -> f64 {
        if gain(self.base, throughput, from, was) < WORTH {
            self.refuted = 0;
            return self.at_base(took, throughput);
        }
        self.refuted += 1;
        if self.refuted >= REFUTED {
            self.refuted = 0;
            self.rule.is_free(took);
        }
        self.base = from;
        from
    }
}

/// How much of the throughput that more concurrency would bring, were there nothing else to bound
/// it, came: 1 in an idle backend, 0 in a saturated one, below in one that thrashes.
fn gain(less: f64, brought: f64, more: f64, brings: f64) -> f64 {
    if brought <= 0.0 {
        return if brings > 0.0 { 1.0 } else { 0.0 };
    }
    (brings / brought - 1.0) / (more / less - 1.0)
}
