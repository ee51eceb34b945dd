//! How fast each class moves while it waits. Pure.
//!
//! What stands ahead of a newcomer says how long it waits only if nobody comes after. In overload
//! higher classes keep coming, and a lower one gets what they leave: that shows in the time between
//! two of its starts. Looked at only while something with a deadline waits.

use std::time::Duration;

use crate::Priority;
use crate::ground::time::Instant;

/// Each gap moves the mean by this share: who is let in when the estimate is lowest must not be
/// wrong by much.
const WEIGHT: f64 = 1.0 / 64.0;
/// Too few to refuse anybody by.
const FEW: u32 = 20;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace([OfClass; 4]);

#[derive(Clone, Copy, Debug, Default)]
struct OfClass {
    mean_ns: f64,
    gaps: u32,
    /// The last start, if the class has waited ever since.
    last: Option<Instant>,
}

impl Pace {
    /// Somebody comes into a class in which nobody waits: what it took before says nothing now.
    #[inline]
    pub(super) fn begins(&mut self, class: Priority) {
        self.0[class.index()] = OfClass::default();
    }

    /// One of this class has left the queue for a seat.
    pub(super) fn started(&mut self, class: Priority, now: Instant) {
        let OfClass { mean_ns, gaps, last } = &mut self.0[class.index()];
        if let Some(last) = last.replace(now) {
            *gaps = gaps.saturating_add(1);
            let ns = now.nanos_since(last) as f64;
            *mean_ns += (ns - *mean_ns) * WEIGHT.max(1.0 / f64::from(*gaps));
        }
    }

    /// How long the last of so many of this class waits for its start; zero while too little is
    /// known. Not less than the last start is ago.
    pub(super) fn wait(&self, class: Priority, waiters: usize, now: Instant) -> Duration {
        let OfClass { mean_ns, gaps, last } = self.0[class.index()];
        if waiters == 0 || gaps < FEW {
            return Duration::ZERO;
        }
        let since = last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        Duration::from_nanos((mean_ns * waiters as f64) as u64).max(since)
    }
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use super::*;
    use Priority::{High, Low};

    const MS: Duration = Duration::from_millis(1);

    fn start() -> Instant {
        crate::ground::time::now()
    }

    #[test]
    fn the_last_of_a_class_waits_as_long_as_its_starts_are_apart() {
        let (mut pace, now) = (Pace::default(), start());
        (0..=20).for_each(|n| pace.started(Low, now + 10 * MS * n));
        let now = now + 200 * MS;
        assert_eq!(pace.wait(Low, 7, now), 70 * MS);
        assert_eq!(pace.wait(Low, 0, now), Duration::ZERO);
        assert_eq!(pace.wait(High, 7, now), Duration::ZERO, "nothing is known");
        assert_eq!(pace.wait(Low, 7, now + 90 * MS), 90 * MS, "it has come to a standstill");
    }

    #[test]
    fn a_class_that_was_empty_is_judged_anew() {
        let (mut pace, now) = (Pace::default(), start());
        (0..=20).for_each(|n| pace.started(Low, now + 1_000 * MS * n));
        pace.begins(Low);
        assert_eq!(
            pace.wait(Low, 1, now),
            Duration::ZERO,
            "else who came second would never get in"
        );
        (0..=20).for_each(|n| pace.started(Low, now + 3_600_000 * MS + 10 * MS * n));
        assert_eq!(pace.wait(Low, 30, now), 300 * MS);
    }

    #[test]
    fn an_older_now_is_no_gap() {
        let (mut pace, now) = (Pace::default(), start());
        (0..=20).for_each(|_| pace.started(Low, now));
        pace.started(Low, now - 10 * MS);
        assert_eq!(pace.wait(Low, 5, now - 20 * MS), Duration::ZERO);
    }
}
