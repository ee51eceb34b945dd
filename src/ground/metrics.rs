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

/// What one sample leaves of the old mean.
const LEFT: f64 = 0.875;

impl Mean {
    pub(crate) fn sample(&mut self, took: Duration) {
        let ns = took.as_nanos() as f64;
        self.mean_ns = if self.samples == 0 { ns } else { ns + (self.mean_ns - ns) * LEFT };
        self.samples = self.samples.saturating_add(1);
    }

    /// As if so many samples of this size had come one after the other.
    pub(crate) fn samples(&mut self, took: Duration, n: u64) {
        let ns = took.as_nanos() as f64;
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        // What is left of the old mean; nothing of none.
        let left = if self.samples == 0 { 0.0 } else { LEFT.powi(n.min(1_000) as i32) };
        self.mean_ns = ns + (self.mean_ns - ns) * left;
        self.samples = self.samples.saturating_add(n);
    }

    /// `None` before the first sample.
    pub(crate) fn any_ns(&self) -> Option<f64> {
        (self.samples > 0).then_some(self.mean_ns)
    }

    /// `None` below 20 samples: too few to refuse anybody by.
    pub(crate) fn get(&self) -> Option<Duration> {
        (self.samples >= 20).then(|| Duration::from_nanos(self.mean_ns as u64))
    }
}

/// So many buckets for each power of two.
const FINE: usize = 8;
/// The last bucket ends at 2^43 ns, two hours and a half; what takes longer is counted there.
pub(crate) const BUCKETS: usize = 41 * FINE;

/// Counts durations by logarithmic buckets. Wait-free.
#[derive(Debug)]
pub(crate) struct Recorder {
    buckets: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

impl Default for Recorder {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self { buckets: std::iter::repeat_with(zero).take(BUCKETS).collect(), sum_ns: zero() }
    }
}

impl Recorder {
    pub(crate) fn record(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Relaxed, here and below: statistics.
        self.buckets[bucket_of(ns)].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    pub(crate) fn look(&self) -> Histogram {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Histogram { buckets: self.buckets.iter().map(load).collect(), sum_ns: load(&self.sum_ns) }
    }
}

/// The bucket of a duration: below eight nanoseconds one for each, then eight for each power of
/// two.
pub(crate) fn bucket_of(ns: u64) -> usize {
    let Some(power) = (ns >> 3).checked_ilog2() else { return ns as usize };
    let fine = (ns >> power) as usize - FINE;
    ((power as usize + 1) * FINE + fine).min(BUCKETS - 1)
}

/// Where a bucket ends: everything in it is shorter.
pub(crate) fn end_of(bucket: usize) -> Duration {
    let (power, fine) = (bucket / FINE, (bucket % FINE) as u64);
    let ns = if power == 0 { fine + 1 } else { (FINE as u64 + fine + 1) << (power - 1) };
    Duration::from_nanos(ns)
}

/// How long something took, how often: counts by logarithmic buckets, eight for each power of two
/// (as HdrHistogram's with one significant digit). So a quantile is at most an eighth too high,
/// and never too low; of what took more than 2^43 ns (two hours and a half) it says that long.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: Box<[u64]>,
    sum_ns: u64,
}

impl Histogram {
    /// How many were measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What they took in all.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }

    /// What this share of them (`0.0..=1.0`) did not exceed; `None` if none was measured. The
    /// median is `quantile(0.5)`.
    #[must_use]
    pub fn quantile(&self, ratio: f64) -> Option<Duration> {
        let rank = (self.count() as f64 * ratio).ceil().max(1.0) as u64;
        let mut reached = self.buckets().filter(|&(_, so_many)| so_many >= rank);
        reached.next().or_else(|| self.buckets().last()).map(|(end, _)| end)
    }

    /// The buckets that hold something: where each ends, and how many took less than that. The
    /// shape in which Prometheus wants its histograms.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let filled = self.buckets.iter().enumerate().filter(|&(_, &count)| count > 0);
        filled.scan(0, |so_many, (bucket, count)| {
            *so_many += count;
            Some((end_of(bucket), *so_many))
        })
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count())
            .field("sum", &self.sum())
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .finish()
    }
}

/// One number of a room, as an exporter wants it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Metric<'a> {
    /// What it is called.
    pub name: &'static str,
    /// What it is now.
    pub value: MetricValue<'a>,
}

impl<'a> Metric<'a> {
    /// Each of these.
    pub(crate) fn all<const N: usize>(
        named: [(&'static str, MetricValue<'a>); N],
    ) -> impl Iterator<Item = Self> + use<'a, N> {
        named.into_iter().map(|(name, value)| Self { name, value })
    }
}

/// The value of a [`Metric`], by its kind.
#[derive(Clone, Copy, Debug)]
pub enum MetricValue<'a> {
    /// Only grows.
    Counter(u64),
    /// Goes up and down.
    Gauge(u64),
    /// Durations, counted by how long they are.
    Histogram(&'a Histogram),
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_duration_lies_in_its_bucket_and_not_an_eighth_below_its_end() {
        let powers = (0..43).map(|power| 1_u64 << power);
        for ns in powers.flat_map(|ns| [ns.saturating_sub(1), ns, ns + 1, ns + ns / 3]) {
            let end = end_of(bucket_of(ns)).as_nanos() as u64;
            assert!(ns < end && end - ns <= ns / 8 + 1, "{ns} < {end}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert!((1..BUCKETS).all(|bucket| end_of(bucket - 1) < end_of(bucket)));
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let recorder = Recorder::default();
        assert_eq!(recorder.look().quantile(0.5), None);
        (1..=1_000).for_each(|ms| recorder.record(Duration::from_millis(ms)));
        let seen = recorder.look();
        assert_eq!((seen.count(), seen.sum()), (1_000, Duration::from_millis(500_500)));
        for (ratio, ms) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let said = seen.quantile(ratio).unwrap().as_secs_f64() * 1e3;
            assert!((ms..=ms * 1.13).contains(&said), "{ratio}: {said} ms");
        }
        assert_eq!(seen.buckets().last().unwrap().1, 1_000);
    }
}
