//! The recent calls of a closed circuit. Constant time and constant memory, and old calls leave:
//! no amount of past success hides what fails now.

use std::time::{Duration, Instant};

use super::config;

/// Enough that a bucket's worth of imprecision is a tenth of the window.
const BUCKETS: usize = 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) failures: u64,
}

#[derive(Debug)]
pub(super) enum Window {
    Time(Buckets),
    Calls(Ring),
    Off,
}

impl Window {
    pub(super) fn new(config: config::Window, now: Instant) -> Self {
        match config {
            config::Window::Time(length) => Self::Time(Buckets::new(length, now)),
            config::Window::Calls(calls) => Self::Calls(Ring::new(calls.get() as usize)),
            config::Window::Off => Self::Off,
        }
    }

    /// Adds one call, lets the old ones leave, and gives what is left.
    pub(super) fn record(&mut self, failed: bool, now: Instant) -> Tally {
        match self {
            Self::Time(buckets) => buckets.record(failed, now),
            Self::Calls(ring) => ring.record(failed),
            Self::Off => Tally::default(),
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Time(buckets) => {
                buckets.slots = [Tally::default(); BUCKETS];
                buckets.sum = Tally::default();
            }
            Self::Calls(ring) => *ring = Ring::new(ring.size),
            Self::Off => {}
        }
    }
}

/// A time window: `sum` is the sum of `slots`; `slots[at % BUCKETS]` is the newest.
#[derive(Debug)]
pub(super) struct Buckets {
    slots: [Tally; BUCKETS],
    sum: Tally,
    at: u64,
    width_ns: u64,
    from: Instant,
}

impl Buckets {
    fn new(length: Duration, now: Instant) -> Self {
        let width = length.as_nanos() / BUCKETS as u128;
        Self {
            slots: [Tally::default(); BUCKETS],
            sum: Tally::default(),
            at: 0,
            width_ns: u64::try_from(width).unwrap_or(u64::MAX).max(1),
            from: now,
        }
    }

    fn record(&mut self, failed: bool, now: Instant) -> Tally {
        self.rotate(now);
        for tally in [&mut self.slots[(self.at % BUCKETS as u64) as usize], &mut self.sum] {
            tally.calls += 1;
            tally.failures += u64::from(failed);
        }
        self.sum
    }

    /// An older `now` than the last changes nothing: the call counts in the newest bucket.
    fn rotate(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.from).as_nanos();
        let to = u64::try_from(since).unwrap_or(u64::MAX) / self.width_ns;
        if to <= self.at {
            return;
        }
        for slot in (self.at + 1..=to).take(BUCKETS) {
            let left = std::mem::take(&mut self.slots[(slot % BUCKETS as u64) as usize]);
            self.sum.calls -= left.calls;
            self.sum.failures -= left.failures;
        }
        self.at = to;
    }
}

/// A count window: one bit per call, `true` for a failure.
#[derive(Debug)]
pub(super) struct Ring {
    bits: Vec<u64>,
    size: usize,
    next: usize,
    sum: Tally,
}

impl Ring {
    fn new(size: usize) -> Self {
        Self { bits: vec![0; size.div_ceil(64)], size, next: 0, sum: Tally::default() }
    }

    fn record(&mut self, failed: bool) -> Tally {
        let (word, bit) = (self.next / 64, 1_u64 << (self.next % 64));
        if self.sum.calls < self.size as u64 {
            self.sum.calls += 1;
        } else {
            // The bit that is written over is the oldest call.
            self.sum.failures -= u64::from(self.bits[word] & bit != 0);
        }
        if failed {
            self.bits[word] |= bit;
            self.sum.failures += 1;
        } else {
            self.bits[word] &= !bit;
        }
        self.next = (self.next + 1) % self.size;
        self.sum
    }
}
