//! What was not chosen, and what there would be without the guard.

use super::backend::Control;
use crate::blocks::worker_pool::limit::rule::{Rule, Vegas};
use crate::blocks::worker_pool::limit::tuner::Tuner;
use crate::blocks::worker_pool::limit::window::{Measured, Sample, Window};
use crate::ground::time::Instant;

impl<R: Rule> Control for Tuner<R> {
    fn limit(&self) -> u32 {
        Self::limit(self)
    }

    fn sample(&mut self, sample: Sample, now: Instant) {
        Self::sample(self, sample, now);
    }
}

/// More while nothing is dropped (Chiu, Jain: "Analysis of the increase and decrease algorithms",
/// 1989): it does not look at latency.
#[derive(Clone, Debug, Default)]
pub(super) struct Aimd;

impl Rule for Aimd {
    fn wanted(&mut self, limit: f64, _took: f64) -> f64 {
        limit + 1.0
    }

    fn is_free(&mut self, _took: f64) {}
}

/// Netflix's Gradient2: the latency of a window against a long mean of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Gradient2 {
    long: Option<f64>,
}

impl Gradient2 {
    const TOLERANCE: f64 = 1.5;
    const QUEUE: f64 = 4.0;
    const SMOOTHING: f64 = 0.2;
    const LONG: f64 = 600.0;
}

impl Rule for Gradient2 {
    fn wanted(&mut self, limit: f64, took: f64) -> f64 {
        let mut long = self.long.unwrap_or(took);
        long += (took - long) * 2.0 / (Self::LONG + 1.0);
        if long / took > 2.0 {
            long *= 0.9;
        }
        self.long = Some(long);
        let gradient = (Self::TOLERANCE * long / took).clamp(0.5, 1.0);
        limit * (1.0 - Self::SMOOTHING) + (limit * gradient + Self::QUEUE) * Self::SMOOTHING
    }

    fn is_free(&mut self, took: f64) {
        self.long = Some(took);
    }
}

/// A rule that sets the limit by itself, window by window.
pub(super) struct Alone<R> {
    rule: R,
    /// What a window does to the limit in which something was dropped; `None`: it does not look.
    cut: Option<f64>,
    limit: f64,
    max: f64,
    window: Window,
}

impl<R> Alone<R> {
    pub(super) fn new(rule: R, cut: Option<f64>, from: u32, max: u32, now: Instant) -> Self {
        let window = Window::since(now);
        Self { rule, cut, limit: f64::from(from), max: f64::from(max), window }
    }
}

impl<R: Rule> Control for Alone<R> {
    fn limit(&self) -> u32 {
        self.limit as u32
    }

    fn sample(&mut self, sample: Sample, now: Instant) {
        let Some(measured) = self.window.add(sample, self.limit, 0.05, now) else { return };
        self.window = Window::since(now);
        let Measured { took, dropped_ratio, in_flight, .. } = measured;
        self.limit = match self.cut {
            Some(cut) if dropped_ratio > 0.0 => self.limit * cut,
            _ if f64::from(in_flight) * 2.0 < self.limit => self.limit,
            _ => {
                let took = took.unwrap_or(sample.took).as_secs_f64();
                self.rule.wanted(self.limit, took)
            }
        }
        .clamp(1.0, self.max);
    }
}

/// Vegas with the bounds it has in concurrency-limits, and its way to take the idle latency anew.
#[derive(Clone, Debug, Default)]
pub(super) struct NetflixVegas {
    idle: Option<f64>,
    since: u32,
}

impl Rule for NetflixVegas {
    fn wanted(&mut self, limit: f64, took: f64) -> f64 {
        self.since += 1;
        // There it counts samples; about as many windows.
        let anew = self.since >= 30;
        let idle = self.idle.filter(|_| !anew).map_or(took, |idle| idle.min(took));
        if anew {
            self.since = 0;
        }
        self.idle = Some(idle);
        let unit = limit.log10().max(1.0);
        let waiting = (limit * (1.0 - idle / took)).ceil();
        if waiting <= unit {
            limit + 6.0 * unit
        } else if waiting < 3.0 * unit {
            limit + unit
        } else if waiting > 6.0 * unit {
            limit - unit
        } else {
            limit
        }
    }

    fn is_free(&mut self, took: f64) {
        self.idle = Some(took);
    }
}

/// By its name in the table.
pub(super) fn named(name: &str, max: u32, now: Instant) -> Box<dyn Control> {
    match name {
        "AIMD" => Box::new(Tuner::new(1, max, Aimd, now)),
        "Gradient2" => Box::new(Tuner::new(1, max, Gradient2::default(), now)),
        "Vegas" => Box::new(Tuner::new(1, max, Vegas::default(), now)),
        "AIMD alone" => Box::new(Alone::new(Aimd, Some(0.9), 20, max, now)),
        "Gradient2 alone" => Box::new(Alone::new(Gradient2::default(), None, 20, max, now)),
        "Vegas alone" => Box::new(Alone::new(NetflixVegas::default(), Some(0.9), 20, max, now)),
        _ => panic!("nobody is named {name}"),
    }
}
