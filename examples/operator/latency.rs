//! Latencies in a fixed amount of memory: eight buckets for each doubling, so a percentile is at
//! most an eighth too high, and never above the longest of them.

use std::time::Duration;

/// From 1 µs to 2⁴⁰ µs, twelve days.
const DOUBLINGS: u32 = 40;
const PER_DOUBLING: u32 = 8;

/// How often each latency occurred.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    longest: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        let buckets = vec![0; (DOUBLINGS * PER_DOUBLING) as usize];
        Self { buckets, count: 0, longest: Duration::ZERO }
    }
}

impl Latencies {
    pub(crate) fn record(&mut self, latency: Duration) {
        self.buckets[bucket(latency)] += 1;
        self.count += 1;
        self.longest = self.longest.max(latency);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The latency that this share of the recorded ones does not exceed; `None` without any.
    pub(crate) fn percentile(&self, share: f64) -> Option<Duration> {
        let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        let reached = |&(_, count): &(usize, &u64)| {
            seen += count;
            seen >= rank
        };
        let (bucket, _) = self.buckets.iter().enumerate().find(reached)?;
        Some(upper(bucket).min(self.longest))
    }
}

fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
    let doubling = micros.ilog2();
    let eighth =
        ((u128::from(micros) * u128::from(PER_DOUBLING)) >> doubling) as u32 - PER_DOUBLING;
    ((doubling * PER_DOUBLING + eighth) as usize).min((DOUBLINGS * PER_DOUBLING) as usize - 1)
}

/// The end of a bucket, rounded up to whole microseconds.
fn upper(bucket: usize) -> Duration {
    let (doubling, eighth) = (bucket as u32 / PER_DOUBLING, bucket as u32 % PER_DOUBLING);
    let micros = u64::from(PER_DOUBLING + eighth + 1) << doubling;
    Duration::from_micros(micros.div_ceil(u64::from(PER_DOUBLING)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_never_too_low_and_at_most_an_eighth_too_high() {
        for micros in (0..200).chain((1..40).map(|power| (1 << power) + 1)) {
            let mut latencies = Latencies::default();
            latencies.record(Duration::from_micros(micros));
            latencies.record(Duration::from_secs(1 << 30));
            let found = latencies.percentile(0.5).unwrap().as_micros() as u64;
            assert!(found >= micros, "{micros}: {found}");
            assert!(found <= micros + micros / 8 + 2, "{micros}: {found}");
        }
    }

    #[test]
    fn no_percentile_is_above_the_longest_of_all() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::from_micros(5_000_123));
        assert_eq!(latencies.percentile(0.99), Some(Duration::from_micros(5_000_123)));
    }

    #[test]
    fn percentiles_are_in_order() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(0.5), None);
        (1..=1000).for_each(|millis| latencies.record(Duration::from_millis(millis)));
        let millis = |share| latencies.percentile(share).unwrap().as_millis();
        assert!((500..=563).contains(&millis(0.50)), "{}", millis(0.5));
        assert!((950..=1069).contains(&millis(0.95)), "{}", millis(0.95));
        assert!((990..=1125).contains(&millis(0.99)), "{}", millis(0.99));
        assert_eq!(latencies.count(), 1000);
    }
}
