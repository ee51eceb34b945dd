//! Counters and estimates that rooms keep about themselves.

use std::time::Duration;

use super::primitives::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug)]
pub(crate) struct Counter(AtomicU64);

impl Default for Counter {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        // Relaxed: a statistic; nothing is read on the strength of it.
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// An exponentially weighted mean of durations: each sample moves it by an eighth, as the
/// smoothed round-trip time of TCP does (RFC 6298, section 2).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    mean_ns: f64,
    samples: u32,
}

impl Mean {
    pub(crate) fn sample(&mut self, took: Duration) {
        let ns = took.as_nanos() as f64;
        if self.samples == 0 {
            self.mean_ns = ns;
        } else {
            self.mean_ns += (ns - self.mean_ns) / 8.0;
        }
        self.samples = self.samples.saturating_add(1);
    }

    /// `None` before the first sample.
    pub(crate) fn any(&self) -> Option<Duration> {
        (self.samples > 0).then(|| Duration::from_nanos(self.mean_ns as u64))
    }

    /// `None` below 20 samples: too few to refuse anybody by.
    pub(crate) fn get(&self) -> Option<Duration> {
        (self.samples >= 20).then(|| Duration::from_nanos(self.mean_ns as u64))
    }
}
