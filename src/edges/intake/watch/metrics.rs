//! What a watcher shows of itself.

use std::borrow::Cow;

use crate::ground::metrics::{Histogram, Metric, MetricValue};

/// Since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) changes: u64,
    pub(super) overflows: u64,
    pub(super) scans: u64,
    pub(super) processed: u64,
    pub(super) failed: u64,
    pub(super) duplicates: u64,
    pub(super) left: u64,
    pub(super) recovered: u64,
    pub(super) moved_late: u64,
    pub(super) vanished: u64,
    pub(super) changed_late: u64,
    pub(super) admitted: u64,
    pub(super) refusals: u64,
}

/// What there is now.
#[derive(Clone, Debug, Default)]
pub(super) struct Gauges {
    pub(super) waiting: usize,
    pub(super) in_flight: usize,
    pub(super) documents_waiting: usize,
    pub(super) documents_running: usize,
    pub(super) trouble: Option<String>,
}

/// A watcher at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WatchSnapshot {
    /// [`WatchConfig::name`](super::WatchConfig::name).
    pub name: Cow<'static, str>,
    /// What of the directory does not work at the moment, in words: it is full, it can't be written,
    /// it was moved away; or what file of it can't be moved, while others can; or that the watcher's task
    /// has ended unasked. Nothing is lost; it is tried again, at least every 10 s.
    pub trouble: Option<String>,
    /// Files known to wait in the directory, finished or not.
    pub waiting: usize,
    /// Files taken that have not ended.
    pub in_flight: usize,
    /// Their documents that the pipeline has not accepted.
    pub documents_waiting: usize,
    /// Their documents that it has.
    pub documents_running: usize,
    /// Files that ended in `processed`.
    pub processed: u64,
    /// Files that ended in `failed`.
    pub failed: u64,
    /// Of both, those whose content had been run already.
    pub duplicates: u64,
    /// Files that stay in `processing` for the next start, because the watcher or the pipeline closed.
    pub left: u64,
    /// Files that an earlier life had taken and not ended.
    pub recovered: u64,
    /// Files that an earlier life had ended, and not moved any more.
    pub moved_late: u64,
    /// Files that somebody else took away.
    pub vanished: u64,
    /// Files that were changed while they were run, and are run again.
    pub changed_late: u64,
    /// Documents that the pipeline accepted, each time.
    pub admitted: u64,
    /// Times that it refused one.
    pub refusals: u64,
    /// Changes told by the system, several of one name at once as one.
    pub changes: u64,
    /// Times that changes were lost, and the directory read instead.
    pub overflows: u64,
    /// Times that the directory was read.
    pub scans: u64,
    /// From when a file's last change was told until the pipeline accepted a document of it.
    pub admission_times: Histogram,
}

impl WatchSnapshot {
    pub(super) fn new(
        name: Cow<'static, str>,
        gauges: Gauges,
        counts: Counts,
        admission_times: Histogram,
    ) -> Self {
        let Gauges { waiting, in_flight, documents_waiting, documents_running, trouble } = gauges;
        let Counts { changes, overflows, scans, processed, failed, duplicates, left, .. } = counts;
        let Counts { recovered, moved_late, vanished, changed_late, admitted, refusals, .. } =
            counts;
        Self {
            name,
            trouble,
            waiting,
            in_flight,
            documents_waiting,
            documents_running,
            processed,
            failed,
            duplicates,
            left,
            recovered,
            moved_late,
            vanished,
            changed_late,
            admitted,
            refusals,
            changes,
            overflows,
            scans,
            admission_times,
        }
    }

    /// Every number under the name it has in a metrics system, for whichever exporter there is; the
    /// label that tells watchers apart is the [`name`](Self::name).
    ///
    /// | name (each begins with `intake_files_`) | kind | is |
    /// |---|---|---|
    /// | `waiting` | gauge | files in the directory |
    /// | `in_flight` | gauge | files taken that have not ended |
    /// | `documents_waiting`, `documents_running` | gauge | their documents, by whether the pipeline has them |
    /// | `troubled` | gauge | 1 while something of the directory does not work |
    /// | `processed_total`, `failed_total` | counter | files, by how they ended |
    /// | `duplicates_total` | counter | of these, not run again |
    /// | `left_total`, `recovered_total`, `moved_late_total` | counter | files that came through a restart |
    /// | `vanished_total`, `changed_late_total` | counter | files that others took away, or changed |
    /// | `admitted_total`, `refusals_total` | counter | documents, as the pipeline answered |
    /// | `changes_total`, `overflows_total`, `scans_total` | counter | how the directory was looked at |
    /// | `admission_seconds` | histogram | from a file's last change to its admission |
    pub fn metrics(&self) -> impl Iterator<Item = Metric<'_>> {
        use MetricValue::{Counter, Gauge};
        [
            ("intake_files_waiting", Gauge(self.waiting as u64)),
            ("intake_files_in_flight", Gauge(self.in_flight as u64)),
            ("intake_files_documents_waiting", Gauge(self.documents_waiting as u64)),
            ("intake_files_documents_running", Gauge(self.documents_running as u64)),
            ("intake_files_troubled", Gauge(u64::from(self.trouble.is_some()))),
            ("intake_files_processed_total", Counter(self.processed)),
            ("intake_files_failed_total", Counter(self.failed)),
            ("intake_files_duplicates_total", Counter(self.duplicates)),
            ("intake_files_left_total", Counter(self.left)),
            ("intake_files_recovered_total", Counter(self.recovered)),
            ("intake_files_moved_late_total", Counter(self.moved_late)),
            ("intake_files_vanished_total", Counter(self.vanished)),
            ("intake_files_changed_late_total", Counter(self.changed_late)),
            ("intake_files_admitted_total", Counter(self.admitted)),
            ("intake_files_refusals_total", Counter(self.refusals)),
            ("intake_files_changes_total", Counter(self.changes)),
            ("intake_files_overflows_total", Counter(self.overflows)),
            ("intake_files_scans_total", Counter(self.scans)),
            ("intake_files_admission_seconds", MetricValue::Histogram(&self.admission_times)),
        ]
        .into_iter()
        .map(|(name, value)| Metric { name, value })
    }
}
