//! What one is told at the end, in words or as JSON.

mod json;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headworks::http_transport::TransportSnapshot;
use headworks::pipeline::{DrainReport, PipelineSnapshot};
use headworks::{Ending, Priority};

use crate::git::Report;
use crate::intent::NetworkIntent;
use crate::parts::{Asked, Ended};
use crate::tally::{Class, Tally};

/// The percentiles that are told.
const SHARES: [(&str, f64); 3] = [("p50", 0.50), ("p95", 0.95), ("p99", 0.99)];

/// Everything that is known when all is over.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) tally: Tally,
    pub(crate) drained: DrainReport<Arc<NetworkIntent>>,
    pub(crate) pipeline: PipelineSnapshot,
    pub(crate) transport: TransportSnapshot,
    pub(crate) llm: Asked,
    /// Where the commits went.
    pub(crate) target: String,
    /// Whether it was made for this run and is gone by now.
    pub(crate) temporary: bool,
    pub(crate) commits: Report,
    pub(crate) elapsed: Duration,
}

impl Summary {
    pub(crate) fn new(
        tally: Tally,
        drained: DrainReport<Arc<NetworkIntent>>,
        parts: Ended,
        elapsed: Duration,
    ) -> Self {
        let Ended { pipeline, transport, llm, target, temporary, commits } = parts;
        let commits = commits.unwrap_or_default();
        Self { tally, drained, pipeline, transport, llm, target, temporary, commits, elapsed }
    }

    /// Exit code 0: every document ended committed, skipped, or failed by its own content, and
    /// every one is accounted for.
    pub(crate) fn is_clean(&self) -> bool {
        let drained = &self.drained;
        self.tally.is_clean()
            && self.adds_up()
            && drained.indeterminate.is_empty()
            && drained.unresponsive.is_empty()
    }

    /// The ledger is exact, and says the same as what was heard of every single document.
    fn adds_up(&self) -> bool {
        let ledger = &self.drained.ledger;
        let heard = |ending: Ending| self.tally.endings.get(ending.as_str()).copied().unwrap_or(0);
        ledger.is_exact()
            && ledger.accepted == self.tally.accepted
            && Ending::ALL.iter().all(|&ending| ledger.count(ending) == heard(ending))
    }

    /// Committed documents a second.
    fn rate(&self) -> f64 {
        self.tally.committed() as f64 / self.elapsed.as_secs_f64().max(0.001)
    }

    /// How often the pipeline said no; who came again may have been accepted then.
    fn refusals(&self) -> BTreeMap<&'static str, u64> {
        let mut refusals = BTreeMap::new();
        for (reason, count) in &self.pipeline.refused {
            *refusals.entry(reason.as_str()).or_default() += count;
        }
        refusals
    }

    /// Most urgent first.
    fn classes(&self) -> impl Iterator<Item = (Priority, &Class)> {
        Priority::ALL.into_iter().zip(&self.tally.classes).rev()
    }
}

#[cfg(test)]
mod tests;
