//! What is usual lately: a quantile of the last calls, and the median of the very last.

use std::time::Duration;

use crate::ground::metrics::{BUCKETS, bucket_of, end_of};

/// So many calls tell what is usual right now.
const RECENT: usize = 64;

/// Counts by logarithmic buckets over two windows of so many calls each: the one that fills and
/// the full one before it. Forgets by calls, so it needs no clock.
#[derive(Debug)]
pub(super) struct Latencies {
    filling: Box<[u32; BUCKETS]>,
    filled: u32,
    full: Box<[u32; BUCKETS]>,
    window: u32,
    /// The last ones, in nanoseconds; a ring.
    recent: [u64; RECENT],
    seen: u64,
}

impl Latencies {
    pub(super) fn new(window: u32) -> Self {
        let none = || Box::new([0; BUCKETS]);
        Self { filling: none(), filled: 0, full: none(), window, recent: [0; RECENT], seen: 0 }
    }

    pub(super) fn record(&mut self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if self.filled == self.window {
            std::mem::swap(&mut self.filling, &mut self.full);
            self.filling.fill(0);
            self.filled = 0;
        }
        self.filling[bucket_of(ns)] += 1;
        self.filled += 1;
        self.recent[(self.seen % RECENT as u64) as usize] = ns;
        self.seen += 1;
    }

    /// Calls recorded since it was made.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// What this share of the last calls did not exceed, at most an eighth too high; zero before
    /// the first.
    pub(super) fn quantile(&self, ratio: f64) -> Duration {
        let counts = || self.filling.iter().zip(&*self.full).map(|(a, b)| u64::from(a + b));
        let rank = (counts().sum::<u64>() as f64 * ratio).ceil() as u64;
        let mut so_many = 0;
        let reaches = |count| {
            so_many += count;
            so_many >= rank
        };
        match counts().position(reaches) {
            Some(bucket) if rank > 0 => end_of(bucket),
            _ => Duration::ZERO,
        }
    }

    /// The median of the very last calls; zero before the first.
    pub(super) fn recent_median(&self) -> Duration {
        let known = (self.seen as usize).min(RECENT);
        let mut recent = self.recent;
        let (_, median, _) = recent[..known.max(1)].select_nth_unstable(known / 2);
        Duration::from_nanos(*median)
    }
}
