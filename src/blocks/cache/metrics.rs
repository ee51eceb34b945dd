//! What a cache shows of itself.

use std::borrow::Cow;
use std::sync::Arc;

use crate::ground::metrics::{Counter, Histogram, Metric, MetricValue, Recorder};
use crate::ground::tally::Tally;
use crate::ground::time::{self, Instant};

#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) hits: Tally,
    pub(super) stale_hits: Counter,
    pub(super) negative_hits: Counter,
    pub(super) misses: Counter,
    pub(super) joined: Counter,
    pub(super) evicted: Counter,
    pub(super) expired: Counter,
    pub(super) renewals_skipped: Counter,
    pub(super) tier_hits: Counter,
    pub(super) tier_misses: Counter,
    pub(super) tier_errors: Counter,
    begun: Counter,
    loaded: Counter,
    failed: Counter,
    abandoned: Counter,
    took: Recorder,
}

/// One load, counted as it ends; dropped before, it was abandoned.
#[derive(Debug)]
pub(super) struct Loading {
    metrics: Arc<Metrics>,
    begun: Instant,
    ended: bool,
}

impl Metrics {
    pub(super) fn begin(self: &Arc<Self>) -> Loading {
        self.begun.add(1);
        Loading { metrics: Arc::clone(self), begun: time::now(), ended: false }
    }

    pub(super) fn snapshot(&self, shape: Shape) -> CacheSnapshot {
        // Endings first: what ends meanwhile is not missing from what was begun.
        let (loaded, failed) = (self.loaded.get(), self.failed.get());
        let abandoned = self.abandoned.get();
        let begun = self.begun.get();
        CacheSnapshot {
            name: shape.name,
            entries: shape.entries,
            weight: shape.weight,
            capacity: shape.capacity,
            hits: self.hits.get(),
            stale_hits: self.stale_hits.get(),
            negative_hits: self.negative_hits.get(),
            misses: self.misses.get(),
            joined: self.joined.get(),
            loaded,
            failed,
            abandoned,
            loading: begun.saturating_sub(loaded + failed + abandoned),
            evicted: self.evicted.get(),
            expired: self.expired.get(),
            renewals_skipped: self.renewals_skipped.get(),
            tier_hits: self.tier_hits.get(),
            tier_misses: self.tier_misses.get(),
            tier_errors: self.tier_errors.get(),
            load_times: self.took.look(),
        }
    }
}

impl Loading {
    /// When it ended.
    pub(super) fn end(mut self, went_well: bool) -> Instant {
        self.ended = true;
        let now = time::now();
        self.metrics.took.record(now.saturating_duration_since(self.begun));
        let ended = if went_well { &self.metrics.loaded } else { &self.metrics.failed };
        ended.add(1);
        now
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        if !self.ended {
            self.metrics.abandoned.add(1);
        }
    }
}

/// What the table says of itself.
pub(super) struct Shape {
    pub(super) name: Cow<'static, str>,
    pub(super) entries: usize,
    pub(super) weight: u64,
    pub(super) capacity: u64,
}

/// A cache at one moment; each number is exact, but they are not read at one instant.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CacheSnapshot {
    /// [`CacheConfig::name`](super::CacheConfig::name).
    pub name: Cow<'static, str>,
    /// Entries, also those that have expired and that nobody has looked at since.
    pub entries: usize,
    /// What they weigh.
    pub weight: u64,
    /// What they may weigh.
    pub capacity: u64,
    /// Answered by a fresh value.
    pub hits: u64,
    /// Answered by a stale one.
    pub stale_hits: u64,
    /// Answered by an error that is remembered.
    pub negative_hits: u64,
    /// Not answered by what was there.
    pub misses: u64,
    /// Of these, waited for a load that had already begun.
    pub joined: u64,
    /// Loads that gave a value.
    pub loaded: u64,
    /// Loads that gave an error.
    pub failed: u64,
    /// Loads that ended otherwise: nobody waited any more, or they panicked.
    pub abandoned: u64,
    /// Loads that have not ended.
    pub loading: u64,
    /// Pushed out for others, or too heavy to be kept.
    pub evicted: u64,
    /// Looked at after their time, and dropped.
    pub expired: u64,
    /// Stale values given out unrenewed, because [`revalidations`](super::CacheConfig::revalidations)
    /// were under way.
    pub renewals_skipped: u64,
    /// Misses that the second tier answered, in the place of a load.
    pub tier_hits: u64,
    /// What it did not have, or what could not be read.
    pub tier_misses: u64,
    /// Calls of it that failed or took too long.
    pub tier_errors: u64,
    /// How long the loads took that ended with a value or an error.
    pub load_times: Histogram,
}

impl CacheSnapshot {
    /// The share of all look-ups that were answered at once, in `0.0..=1.0`; `None` before the
    /// first.
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        let answered = self.hits + self.stale_hits + self.negative_hits;
        let all = answered + self.misses;
        (all > 0).then(|| answered as f64 / all as f64)
    }

    /// Every number under the name it has in a metrics system, for whichever exporter there is; the
    /// label that tells caches apart is the [`name`](Self::name).
    ///
    /// | name (each begins with `cache_`) | kind | is |
    /// |---|---|---|
    /// | `entries` | gauge | entries, also expired ones |
    /// | `weight`, `capacity` | gauge | what they weigh, and at most |
    /// | `loading` | gauge | loads that have not ended |
    /// | `hits_total`, `stale_hits_total`, `negative_hits_total` | counter | look-ups answered at once, by what |
    /// | `misses_total` | counter | all other look-ups |
    /// | `joined_total` | counter | misses that waited for another one's load |
    /// | `loaded_total`, `failed_total`, `abandoned_total` | counter | loads, by how they ended |
    /// | `evicted_total`, `expired_total` | counter | entries, by why they went |
    /// | `renewals_skipped_total` | counter | see [`renewals_skipped`](Self::renewals_skipped) |
    /// | `tier_hits_total`, `tier_misses_total`, `tier_errors_total` | counter | what the second tier answered |
    /// | `load_seconds` | histogram | how long loads took |
    pub fn metrics(&self) -> impl Iterator<Item = Metric<'_>> {
        use MetricValue::{Counter, Gauge};
        Metric::all([
            ("cache_entries", Gauge(self.entries as u64)),
            ("cache_weight", Gauge(self.weight)),
            ("cache_capacity", Gauge(self.capacity)),
            ("cache_loading", Gauge(self.loading)),
            ("cache_hits_total", Counter(self.hits)),
            ("cache_stale_hits_total", Counter(self.stale_hits)),
            ("cache_negative_hits_total", Counter(self.negative_hits)),
            ("cache_misses_total", Counter(self.misses)),
            ("cache_joined_total", Counter(self.joined)),
            ("cache_loaded_total", Counter(self.loaded)),
            ("cache_failed_total", Counter(self.failed)),
            ("cache_abandoned_total", Counter(self.abandoned)),
            ("cache_evicted_total", Counter(self.evicted)),
            ("cache_expired_total", Counter(self.expired)),
            ("cache_renewals_skipped_total", Counter(self.renewals_skipped)),
            ("cache_tier_hits_total", Counter(self.tier_hits)),
            ("cache_tier_misses_total", Counter(self.tier_misses)),
            ("cache_tier_errors_total", Counter(self.tier_errors)),
            ("cache_load_seconds", MetricValue::Histogram(&self.load_times)),
        ])
    }
}
