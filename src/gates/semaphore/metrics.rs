//! What a semaphore tells about itself.

use crate::Priority;
use crate::ground::metrics::{Metric, MetricValue};

/// A consistent look at a [`PrioritySemaphore`](crate::PrioritySemaphore), taken under the lock of
/// its line. The counts are of waiters since it was made; who got its permits without waiting is
/// in none of them: counting that would cost the fast path a second shared write.
///
/// `waited = granted + evicted + expired + cancelled + too_large + closed + waiting`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SemaphoreSnapshot {
    /// Permits in all.
    pub permits: usize,
    /// Permits that are free.
    pub available: usize,
    /// Permits that are out: more than `permits` for a while after it shrank.
    pub in_use: usize,
    /// Waiters in line by class, lowest first: see [`waiting_of`](Self::waiting_of).
    pub waiting_by_class: [usize; 4],
    /// Took a place in the line.
    pub waited: u64,
    /// Left the line with their permits (which go back at once if the future is dropped just then).
    pub granted: u64,
    /// Left for something more important, or in overload.
    pub evicted: u64,
    /// Left when their deadline passed.
    pub expired: u64,
    /// Left because their future was dropped.
    pub cancelled: u64,
    /// Left because the semaphore shrank below what they want.
    pub too_large: u64,
    /// Left because the semaphore was closed.
    pub closed: u64,
    /// Found the line full. They never stood in it.
    pub refused: u64,
}

impl SemaphoreSnapshot {
    /// Waiters in line, of this class.
    #[must_use]
    pub fn waiting_of(&self, priority: Priority) -> usize {
        self.waiting_by_class[priority.index()]
    }

    /// Waiters in line.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting_by_class.iter().sum()
    }

    /// Every number under the name it has in a metrics system; what ends in `_total` only grows.
    pub fn metrics(&self) -> impl Iterator<Item = Metric<'static>> {
        use MetricValue::{Counter, Gauge};
        Metric::all([
            ("semaphore_permits", Gauge(self.permits as u64)),
            ("semaphore_permits_in_use", Gauge(self.in_use as u64)),
            ("semaphore_waiting", Gauge(self.waiting() as u64)),
            ("semaphore_waited_total", Counter(self.waited)),
            ("semaphore_granted_total", Counter(self.granted)),
            ("semaphore_evicted_total", Counter(self.evicted)),
            ("semaphore_expired_total", Counter(self.expired)),
            ("semaphore_cancelled_total", Counter(self.cancelled)),
            ("semaphore_too_large_total", Counter(self.too_large)),
            ("semaphore_closed_total", Counter(self.closed)),
            ("semaphore_refused_total", Counter(self.refused)),
        ])
    }
}
