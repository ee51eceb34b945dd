//! Samples of single tasks, gathered until they say something.

use std::time::Duration;

use crate::ground::time::Instant;

/// So many samples at the least.
const FEWEST: f64 = 16.0;
/// So many rounds of the limit at the least: each place in it has been used about that often.
const ROUNDS: f64 = 3.0;
/// And at the most: tasks may differ as they like.
const MOST_ROUNDS: f64 = 30.0;

/// How one task ended.
#[derive(Clone, Copy, Debug)]
pub(in crate::blocks::worker_pool) struct Sample {
    pub(in crate::blocks::worker_pool) took: Duration,
    /// What it calls has too much to do: it timed out, or was told so.
    pub(in crate::blocks::worker_pool) is_dropped: bool,
    /// Seats taken when it ended, its own among them.
    pub(in crate::blocks::worker_pool) in_flight: u32,
}

/// What a limit did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// The mean time a task took that was not dropped; nothing if all were.
    pub(super) took: Option<Duration>,
    /// Ended well, a second.
    pub(super) throughput: f64,
    /// The share of those that ended which was dropped.
    pub(super) dropped_ratio: f64,
    /// The most that ran at once.
    pub(super) in_flight: u32,
}

/// So many tasks one after the other, each begun when the one before had ended, until what a limit
/// does shows.
const GENERATIONS: u32 = 2;

/// The tasks that ended under one limit, once it shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// When the limit was set, or the last generation ended.
    since: Instant,
    generations: u32,
    ended: u32,
    dropped: u32,
    took: Duration,
    /// In seconds squared.
    squares: f64,
    in_flight: u32,
}

impl Window {
    pub(super) fn since(now: Instant) -> Self {
        Self {
            since: now,
            generations: 0,
            ended: 0,
            dropped: 0,
            took: Duration::ZERO,
            squares: 0.0,
            in_flight: 0,
        }
    }

    /// What the limit did, once the throughput is known so well (its standard error, as a share).
    pub(super) fn add(
        &mut self,
        sample: Sample,
        limit: f64,
        error: f64,
        now: Instant,
    ) -> Option<Measured> {
        if self.generations < GENERATIONS {
            if now.saturating_duration_since(self.since) >= sample.took {
                self.generations += 1;
                self.since = now;
            }
            return None;
        }
        self.ended += 1;
        self.in_flight = self.in_flight.max(sample.in_flight);
        if sample.is_dropped {
            self.dropped += 1;
        } else {
            self.took += sample.took;
            self.squares += sample.took.as_secs_f64().powi(2);
        }
        let (ended, dropped) = (f64::from(self.ended), f64::from(self.dropped));
        let enough = self.spread() / error.powi(2);
        let enough = enough.clamp(limit * ROUNDS, limit * MOST_ROUNDS).max(FEWEST);
        let is_clear = dropped * 2.0 > ended && ended * 2.0 >= FEWEST;
        let is_full = ended >= enough || is_clear;
        let lasted = now.saturating_duration_since(self.since).as_secs_f64();
        (is_full && lasted > 0.0).then(|| self.measured(lasted))
    }

    /// The variance of what a task takes, as a multiple of the mean squared.
    fn spread(&self) -> f64 {
        let well = f64::from(self.ended - self.dropped);
        let mean = self.took.as_secs_f64() / well;
        let spread = self.squares / well / mean.powi(2) - 1.0;
        if spread.is_finite() { spread } else { 0.0 }
    }

    fn measured(&self, lasted: f64) -> Measured {
        let well = self.ended - self.dropped;
        Measured {
            took: self.took.checked_div(well),
            throughput: f64::from(well) / lasted,
            dropped_ratio: f64::from(self.dropped) / f64::from(self.ended),
            in_flight: self.in_flight,
        }
    }
}
