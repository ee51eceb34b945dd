//! The decisions of a hedge, without clock, lock or future.

use std::time::Duration;

use super::config::HedgeConfig;
use super::latencies::Latencies;

/// The delay is measured anew after so many calls.
const LOOK_EVERY: u64 = 16;
/// Hedges that can be saved up: enough for stragglers that come in twos and threes, and the most
/// that is sent in vain when all calls become slow.
const SAVED_MOST: u64 = 3;
/// Millionths of a hedge, so that sums are exact.
const ONE: u64 = 1_000_000;

#[derive(Debug)]
pub(super) struct Core {
    latencies: Latencies,
    quantile_ratio: f64,
    median_factor: f64,
    minimum_samples: u64,
    delay: Option<Duration>,
    earned: u64,
    savings: u64,
}

impl Core {
    pub(super) fn new(config: &HedgeConfig) -> Self {
        Self {
            latencies: Latencies::new(config.window_calls.get()),
            quantile_ratio: config.quantile_ratio,
            median_factor: config.median_factor,
            minimum_samples: u64::from(config.minimum_samples.get()),
            delay: None,
            earned: (config.extra_ratio * ONE as f64).round() as u64,
            savings: 0,
        }
    }

    /// After how long a call is late; `None`: too few calls to know.
    pub(super) fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// A call was answered before it was late.
    pub(super) fn in_time(&mut self, took: Duration) {
        self.savings = (self.savings + self.earned).min(SAVED_MOST * ONE);
        self.learn(took);
    }

    /// A call was answered late, or given up when it was late: it took so long at least. (Too
    /// little, but more than the delay, which is all that the quantile needs to know.)
    pub(super) fn late(&mut self, took: Duration) {
        self.learn(took);
    }

    /// Whether a call that is late now may be hedged.
    pub(super) fn may_hedge(&self) -> bool {
        self.savings >= ONE
    }

    pub(super) fn hedged(&mut self) {
        self.savings = self.savings.saturating_sub(ONE);
    }

    fn learn(&mut self, took: Duration) {
        self.latencies.record(took);
        let seen = self.latencies.seen();
        let is_first = seen == self.minimum_samples;
        if is_first || (seen > self.minimum_samples && seen.is_multiple_of(LOOK_EVERY)) {
            let usual = self.latencies.recent_median();
            let spread = usual.as_secs_f64() * self.median_factor;
            let spread = Duration::try_from_secs_f64(spread).unwrap_or(Duration::MAX);
            self.delay = Some(self.latencies.quantile(self.quantile_ratio).max(spread));
        }
    }
}
