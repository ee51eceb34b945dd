//! How full the queue is, as a signal: few levels, told only when they change.

use std::fmt;

use tokio::sync::watch;

use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::quiet::quietly;

/// How close a pool is to refusing work. `Closed` is the greatest.
///
/// A level is reached when the queue becomes as deep as named here, and left again when it is an
/// eighth less deep (at least one place): so a depth that sways around a bound does not flap. The
/// bounds go by the pool's [`queue_capacity`](super::WorkerPoolConfig::queue_capacity) and
/// [`thresholds`](super::WorkerPoolConfig::thresholds).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Pressure {
    /// Room for everybody.
    #[default]
    Nominal,
    /// Half as deep as where `Low` is refused: a good time to send less.
    Elevated,
    /// As deep as where [`Low`](crate::Priority::Low) is refused.
    High,
    /// As deep as where [`Normal`](crate::Priority::Normal) is refused.
    Critical,
    /// The pool takes nothing any more. Final.
    Closed,
}

impl Pressure {
    /// The lower-case word for metric labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nominal => "nominal",
            Self::Elevated => "elevated",
            Self::High => "high",
            Self::Critical => "critical",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The level of a queue, kept under its lock. Pure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gauge {
    level: Pressure,
    /// It stays while the depth is at least this,
    from: usize,
    /// and less than this.
    to: usize,
    bounds: [(Pressure, usize); 3],
    changes: u64,
}

/// A level, and how many came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    number: u64,
    level: Pressure,
}

impl Gauge {
    /// By the depths from which on `Low` and `Normal` are refused.
    pub(super) fn new(low: usize, normal: usize) -> Self {
        let bounds = [
            (Pressure::Elevated, low.div_ceil(2)),
            (Pressure::High, low),
            (Pressure::Critical, normal),
        ];
        Self { level: Pressure::Nominal, from: 0, to: bounds[0].1, bounds, changes: 0 }
    }

    /// Two comparisons while the level stays.
    #[inline]
    pub(super) fn is_at(&self, depth: usize) -> bool {
        self.from <= depth && depth < self.to
    }

    /// The level has changed with the depth.
    pub(super) fn moved(&mut self, depth: usize) -> Option<Change> {
        if self.is_at(depth) {
            return None;
        }
        let reached = |&&(level, bound): &&(Pressure, usize)| {
            depth >= if level <= self.level { kept_from(bound) } else { bound }
        };
        let level =
            self.bounds.iter().rfind(reached).map_or(Pressure::Nominal, |&(level, _)| level);
        Some(self.set(level))
    }

    pub(super) fn close(&mut self) -> Option<Change> {
        (self.level != Pressure::Closed).then(|| self.set(Pressure::Closed))
    }

    fn set(&mut self, level: Pressure) -> Change {
        let bound_of = |&(_, bound): &(Pressure, usize)| bound;
        let here = self.bounds.iter().find(|&&(at, _)| at == level);
        let next = self.bounds.iter().find(|&&(at, _)| at > level);
        self.from = here.map_or(0, |here| kept_from(bound_of(here)));
        self.to = next.map_or(usize::MAX, bound_of);
        self.level = level;
        self.changes += 1;
        Change { number: self.changes, level }
    }
}

/// A level that is reached at this depth is left below that one.
fn kept_from(bound: usize) -> usize {
    (bound - (bound / 8).max(1)).max(1)
}

/// Who watches is told here, with no lock of the pool's held: so two changes may come in either
/// order, and the one with the lower number is not told after the other.
#[derive(Debug)]
pub(super) struct Announcer {
    sender: watch::Sender<Pressure>,
    last: AtomicU64,
}

impl Announcer {
    pub(super) fn new() -> Self {
        Self { sender: watch::Sender::new(Pressure::default()), last: AtomicU64::new(0) }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Pressure> {
        self.sender.subscribe()
    }

    pub(super) fn announce(&self, Change { number, level }: Change) {
        let tell = |told: &mut Pressure| {
            // Relaxed: read and written only in here, under the channel's own lock.
            let is_news = self.last.load(Ordering::Relaxed) < number;
            if is_news {
                self.last.store(number, Ordering::Relaxed);
                *told = level;
            }
            is_news
        };
        // It wakes, which runs code of others.
        quietly(|| {
            self.sender.send_if_modified(tell);
        });
    }
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use super::*;

    fn levels(
        gauge: &mut Gauge,
        depths: impl IntoIterator<Item = usize>,
    ) -> Vec<(usize, Pressure)> {
        let change = |depth| gauge.moved(depth).map(|change| (depth, change.level));
        depths.into_iter().filter_map(change).collect()
    }

    #[test]
    fn a_level_is_reached_at_its_depth_and_left_an_eighth_below() {
        let mut gauge = Gauge::new(80, 90);
        let up = [(40, Pressure::Elevated), (80, Pressure::High), (90, Pressure::Critical)];
        assert_eq!(levels(&mut gauge, 0..=100), up);
        let down = [(78, Pressure::High), (69, Pressure::Elevated), (34, Pressure::Nominal)];
        assert_eq!(levels(&mut gauge, (0..=100).rev()), down);
    }

    #[test]
    fn a_depth_that_sways_around_a_bound_changes_the_level_once() {
        let mut gauge = Gauge::new(80, 90);
        let swaying = (0..1_000).map(|n| 75 + n * 7 % 14);
        assert_eq!(levels(&mut gauge, [75].into_iter().chain(swaying)).len(), 2);
    }

    #[test]
    fn levels_are_jumped_over() {
        let mut gauge = Gauge::new(10, 10);
        assert_eq!(
            levels(&mut gauge, [10, 0, 5]),
            [(10, Pressure::Critical), (0, Pressure::Nominal), (5, Pressure::Elevated)]
        );
    }

    #[test]
    fn the_smallest_queue_is_nominal_or_critical() {
        let mut gauge = Gauge::new(1, 1);
        let seen = [(1, Pressure::Critical), (0, Pressure::Nominal)];
        assert_eq!(levels(&mut gauge, [0, 1, 1, 0]), seen);
    }

    #[test]
    fn closed_is_final() {
        let mut gauge = Gauge::new(80, 90);
        assert!(gauge.close().is_some());
        assert_eq!(gauge.close(), None);
        assert_eq!(levels(&mut gauge, 0..200), []);
    }

    #[test]
    fn a_stale_change_is_not_told_after_a_newer_one() {
        let announcer = Announcer::new();
        let mut told = announcer.subscribe();
        announcer.announce(Change { number: 2, level: Pressure::High });
        announcer.announce(Change { number: 1, level: Pressure::Elevated });
        assert_eq!(*told.borrow_and_update(), Pressure::High);
        announcer.announce(Change { number: 2, level: Pressure::Elevated });
        assert!(!told.has_changed().unwrap());
        announcer.announce(Change { number: 3, level: Pressure::Nominal });
        assert_eq!(*told.borrow_and_update(), Pressure::Nominal);
    }
}
