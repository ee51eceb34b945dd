//! What the keeping of pages shows of itself.

use std::time::Duration;

use crate::facade::pipeline::core::Core;
use crate::facade::pipeline::shared::{Body, Shared};
use crate::ground::metrics::{Counter, Metric, MetricValue, Recorder};
use crate::worker_pool::Histogram;

/// Counts, since the pipeline was built.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) written: Counter,
    pub(super) removed: Counter,
    pub(super) failed: Counter,
    pub(super) bytes: Counter,
    pub(super) times: Recorder,
}

/// What a pipeline's checkpoints cost and came to, since it was built.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckpointsSnapshot {
    /// Pages written.
    pub written: u64,
    /// Pages removed.
    pub removed: u64,
    /// Writes and removals that failed, each try counted.
    pub failed: u64,
    /// Bytes written, before what the store adds.
    pub bytes: u64,
    /// Pages that wait to be written or removed, with those that are being written.
    pub waiting: usize,
    /// How long a write or a removal took.
    pub times: Histogram,
}

impl CheckpointsSnapshot {
    pub(in crate::facade::pipeline) fn metrics(&self) -> impl Iterator<Item = Metric<'_>> {
        use MetricValue::{Counter, Gauge};
        Metric::all([
            ("intent_pipeline_checkpoints_written_total", Counter(self.written)),
            ("intent_pipeline_checkpoints_removed_total", Counter(self.removed)),
            ("intent_pipeline_checkpoints_failed_total", Counter(self.failed)),
            ("intent_pipeline_checkpoints_bytes_total", Counter(self.bytes)),
            ("intent_pipeline_checkpoints_waiting", Gauge(self.waiting as u64)),
            ("intent_pipeline_checkpoints_seconds", MetricValue::Histogram(&self.times)),
        ])
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Shared<P, O> {
    pub(in crate::facade::pipeline) fn checkpoints(
        &self,
        core: &Core<Body<P, O>>,
    ) -> Option<CheckpointsSnapshot> {
        let waiting = core.pages.as_ref().map_or(0, super::Pages::waiting);
        self.keeper.as_ref().map(|keeper| keeper.tally.look(waiting))
    }
}

impl Tally {
    pub(super) fn took(&self, took: Duration) {
        self.times.record(took);
    }

    fn look(&self, waiting: usize) -> CheckpointsSnapshot {
        CheckpointsSnapshot {
            written: self.written.get(),
            removed: self.removed.get(),
            failed: self.failed.get(),
            bytes: self.bytes.get(),
            waiting,
            times: self.times.look(),
        }
    }
}
