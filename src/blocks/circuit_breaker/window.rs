//! The recent calls of a closed circuit. Constant time, bounded memory, and old calls leave: no
//! amount of past success hides what fails now.
//!
//! A window keeps no calls. It is told how many have ended so far, and keeps where in that count
//! something was: the start of each bucket, or each failure. So a success changes nothing here.

use std::collections::VecDeque;
use std::ops::Sub;
use std::time::Duration;

use super::config;
use crate::ground::time::Instant;

/// Enough that a bucket's worth of imprecision is a tenth of the window.
const BUCKETS: usize = 10;

/// Calls that ended: in a window, or since the watch began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) failures: u64,
    pub(super) slow: u64,
}

impl Sub for Tally {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(before.calls),
            failures: self.failures.saturating_sub(before.failures),
            slow: self.slow.saturating_sub(before.slow),
        }
    }
}

#[derive(Debug)]
pub(super) enum Window {
    Time(Marks),
    Calls { failures: Positions, slow: Positions },
    Off,
}

impl Window {
    pub(super) fn new(config: config::Window, now: Instant) -> Self {
        match config {
            config::Window::Time(length) => Self::Time(Marks::new(length, now)),
            config::Window::Calls(calls) => {
                let calls = u64::from(calls.get());
                Self::Calls { failures: Positions::new(calls), slow: Positions::new(calls) }
            }
            config::Window::Off => Self::Off,
        }
    }

    /// Lets time do what it does; `total` is what has ended until now.
    pub(super) fn advance(&mut self, now: Instant, total: Tally) {
        if let Self::Time(marks) = self {
            marks.advance(now, total);
        }
    }

    /// One more call has ended, the last of `total`.
    pub(super) fn record(&mut self, failed: bool, was_slow: bool, total: Tally) {
        if let Self::Calls { failures, slow } = self {
            failures.record(failed, total.calls);
            slow.record(was_slow, total.calls);
        }
    }

    /// What of `total` is in the window.
    pub(super) fn tally(&self, total: Tally) -> Tally {
        match self {
            Self::Time(marks) => total - marks.oldest(),
            Self::Calls { failures, slow } => Tally {
                calls: total.calls.min(failures.size),
                failures: failures.within(total.calls),
                slow: slow.within(total.calls),
            },
            Self::Off => Tally::default(),
        }
    }

    /// When `advance` has something to do next.
    pub(super) fn next(&self) -> Option<Instant> {
        match self {
            Self::Time(marks) => Some(marks.next()),
            Self::Calls { .. } | Self::Off => None,
        }
    }
}

/// A time window: how many had ended when each bucket began; `marks[at % BUCKETS]` is the newest.
#[derive(Debug)]
pub(super) struct Marks {
    marks: [Tally; BUCKETS],
    at: u64,
    width_ns: u64,
    from: Instant,
}

impl Marks {
    fn new(length: Duration, now: Instant) -> Self {
        let width = length.as_nanos() / BUCKETS as u128;
        Self {
            marks: [Tally::default(); BUCKETS],
            at: 0,
            width_ns: u64::try_from(width).unwrap_or(u64::MAX).max(1),
            from: now,
        }
    }

    /// An older `now` than the last changes nothing: what ends then counts in the newest bucket.
    fn advance(&mut self, now: Instant, total: Tally) {
        let to = now.nanos_since(self.from) / self.width_ns;
        for bucket in (self.at + 1..=to).take(BUCKETS) {
            self.marks[(bucket % BUCKETS as u64) as usize] = total;
        }
        self.at = self.at.max(to);
    }

    fn oldest(&self) -> Tally {
        self.marks[((self.at + 1) % BUCKETS as u64) as usize]
    }

    fn next(&self) -> Instant {
        self.from.plus_nanos(self.width_ns.saturating_mul(self.at + 1))
    }
}

/// A count window: where among all calls the recent ones of a kind were.
#[derive(Debug)]
pub(super) struct Positions {
    size: u64,
    /// Oldest first; those that have left the window stay until the next one comes.
    at: VecDeque<u64>,
}

impl Positions {
    fn new(size: u64) -> Self {
        Self { size, at: VecDeque::new() }
    }

    fn record(&mut self, is_one: bool, total: u64) {
        if is_one {
            let left = self.at.len() - self.within(total) as usize;
            self.at.drain(..left);
            self.at.push_back(total);
        }
    }

    fn within(&self, total: u64) -> u64 {
        let left = self.at.partition_point(|&at| at + self.size <= total);
        (self.at.len() - left) as u64
    }
}
