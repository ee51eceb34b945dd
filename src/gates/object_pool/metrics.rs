//! What a pool tells about itself.

use std::borrow::Cow;

use crate::ground::metrics::{Counter, Metric, MetricValue};

/// What is rare enough to be counted for all threads at once.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) created: Counter,
    pub(super) invalid: Counter,
    pub(super) reset: Counter,
    pub(super) panicked: Counter,
    pub(super) surplus: Counter,
    pub(super) detached: Counter,
    pub(super) trimmed: Counter,
}

/// A look at an [`ObjectPool`](crate::ObjectPool), or at one class of a
/// [`BytesPool`](crate::BytesPool). Counts are since it was made, and exact whenever no other
/// thread is using it; beside one that is, `outstanding` and `idle` may be off by what it does
/// meanwhile.
///
/// `hits + misses = kept + dropped() + detached + outstanding`, and
/// `kept = hits + dropped_by_validate + trimmed + idle`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectPoolSnapshot {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Taken, and one that was idle was given.
    pub hits: u64,
    /// Taken, and one was made.
    pub misses: u64,
    /// Came back, and were kept.
    pub kept: u64,
    /// Came back, and were dropped because `reset` said so.
    pub dropped_by_reset: u64,
    /// Came back while their thread panicked, or their `reset` panicked.
    pub dropped_by_panic: u64,
    /// Came back, and there was no room.
    pub dropped_by_bound: u64,
    /// Were idle, and dropped because `validate` said so, or panicked.
    pub dropped_by_validate: u64,
    /// Were idle, and dropped because nobody needed them.
    pub trimmed: u64,
    /// Taken out of the pool for good.
    pub detached: u64,
    /// In use.
    pub outstanding: u64,
    /// Not in use.
    pub idle: u64,
}

impl ObjectPoolSnapshot {
    /// Came back, and were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped_by_reset + self.dropped_by_panic + self.dropped_by_bound
    }

    /// What to export, by the names to do it under. Names ending in `_total` only grow.
    pub fn metrics(&self) -> impl Iterator<Item = Metric<'static>> {
        use MetricValue::{Counter, Gauge};
        Metric::all([
            ("object_pool_hits_total", Counter(self.hits)),
            ("object_pool_misses_total", Counter(self.misses)),
            ("object_pool_dropped_by_reset_total", Counter(self.dropped_by_reset)),
            ("object_pool_dropped_by_panic_total", Counter(self.dropped_by_panic)),
            ("object_pool_dropped_by_bound_total", Counter(self.dropped_by_bound)),
            ("object_pool_dropped_by_validate_total", Counter(self.dropped_by_validate)),
            ("object_pool_trimmed_total", Counter(self.trimmed)),
            ("object_pool_detached_total", Counter(self.detached)),
            ("object_pool_outstanding", Gauge(self.outstanding)),
            ("object_pool_idle", Gauge(self.idle)),
        ])
    }
}

impl Tally {
    /// With what went out of the idle ones, and came in.
    pub(super) fn snapshot(
        &self,
        name: Cow<'static, str>,
        (popped, pushed): (u64, u64),
    ) -> ObjectPoolSnapshot {
        let mut look = ObjectPoolSnapshot {
            name,
            misses: self.created.get(),
            kept: pushed,
            dropped_by_reset: self.reset.get(),
            dropped_by_panic: self.panicked.get(),
            dropped_by_bound: self.surplus.get(),
            dropped_by_validate: self.invalid.get(),
            trimmed: self.trimmed.get(),
            detached: self.detached.get(),
            ..ObjectPoolSnapshot::default()
        };
        look.hits = popped.saturating_sub(look.dropped_by_validate);
        let ended = look.kept + look.dropped() + look.detached;
        look.outstanding = (look.hits + look.misses).saturating_sub(ended);
        look.idle = pushed.saturating_sub(popped + look.trimmed);
        look
    }
}
