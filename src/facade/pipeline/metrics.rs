//! What a pipeline shows of itself.

use std::borrow::Cow;

#[cfg(feature = "json")]
use super::checkpoints::CheckpointsSnapshot;
use super::shared::Shared;
use crate::ground::metrics::{Metric, MetricValue};
use crate::ground::time::Instant;
use crate::retry::RetryBudgetSnapshot;
use crate::{Ending, Ledger, Priority, Reason};

/// Refusals by reason, each reason once.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Vec<(Reason, u64)>);

impl Refusals {
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &(Reason, u64)> {
        self.0.iter()
    }

    pub(super) fn count(&mut self, reason: Reason) {
        match self.0.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => self.0.push((reason, 1)),
        }
    }
}

/// A pipeline at one moment, all of it under one lock.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PipelineSnapshot {
    /// [`PipelineConfig::name`](super::PipelineConfig::name).
    pub name: Cow<'static, str>,
    /// Runs that wait in line for a seat, by class, lowest first.
    pub queued: [usize; 4],
    /// Runs in backoff, after `Again`, or behind a run of their key.
    pub parked: usize,
    /// [`pause`](super::IntentPipeline::pause)d.
    pub paused: bool,
    /// [`close`](super::IntentPipeline::close)d: it accepts nothing more.
    pub closed: bool,
    /// Places in the queue.
    pub capacity: usize,
    /// `submit` callers in the waiting room.
    pub in_room: usize,
    /// Seats taken, by weight.
    pub busy: usize,
    /// Seats in all.
    pub seats: usize,
    /// Each phase, in order.
    pub phases: Vec<PhaseSnapshot>,
    /// Tickets. `live` is counted one by one.
    pub ledger: Ledger,
    /// Runs: several tickets may share one.
    pub runs: Ledger,
    /// Intents not accepted, by reason.
    pub refused: Vec<(Reason, u64)>,
    /// Accepted only because [`enforcement`](super::PipelineConfig::enforcement) is not full:
    /// `QueueFull`, `CircuitOpen` and `DeadlineInfeasible` would have been refused, `Evicted` counts
    /// those who were spared by them.
    pub would_refuse: Vec<(Reason, u64)>,
    /// What its checkpoints cost; `None` without them.
    #[cfg(feature = "json")]
    #[cfg_attr(docsrs, doc(cfg(feature = "json")))]
    pub checkpoints: Option<CheckpointsSnapshot>,
    /// Reconciliation loops, each counted when it became one
    /// ([`loop_after`](super::PipelineConfig::loop_after)).
    pub loops: u64,
    /// The retry budget of the whole pipeline.
    pub retry_budget: RetryBudgetSnapshot,
}

impl PipelineSnapshot {
    /// Every number under the name it has in a metrics system, for whichever exporter there is; the
    /// label that tells pipelines apart is the [`name`](Self::name). All start at zero when the
    /// pipeline is built. Endings are counted in tickets.
    ///
    /// | name (each begins with `intent_pipeline_`) | kind | is |
    /// |---|---|---|
    /// | `queue_depth` | gauge | runs that wait in line |
    /// | `parked` | gauge | runs in backoff, after `Again`, or behind one of their key |
    /// | `queue_capacity` | gauge | what both may come to, and those in seats on top |
    /// | `seats_busy`, `seats` | gauge | weight inside attempts, and at most |
    /// | `room_depth` | gauge | `submit` callers that wait to be accepted |
    /// | `live` | gauge | tickets that have not ended |
    /// | `accepted_total` | counter | tickets |
    /// | `completed_total`, `failed_total`, `cancelled_total`, `expired_total`, `evicted_total`, `superseded_total`, `returned_total` | counter | tickets that ended so |
    /// | `runs_total` | counter | runs accepted: several tickets may share one |
    /// | `refused_total` | counter | intents not accepted |
    /// | `would_refuse_total` | counter | see [`would_refuse`](Self::would_refuse) |
    /// | `loops_total` | counter | reconciliation loops |
    /// | `checkpoints_written_total`, `checkpoints_removed_total` | counter | pages (these and the next only with checkpoints) |
    /// | `checkpoints_failed_total` | counter | tries to write or remove one that failed |
    /// | `checkpoints_bytes_total` | counter | bytes written |
    /// | `checkpoints_waiting` | gauge | pages to be written or removed |
    /// | `checkpoints_seconds` | histogram | how long one took |
    pub fn metrics(&self) -> impl Iterator<Item = Metric<'_>> {
        use MetricValue::{Counter, Gauge};
        let total = |counts: &[(Reason, u64)]| counts.iter().map(|(_, count)| count).sum();
        let ended = |ending| Counter(self.ledger.count(ending));
        Metric::all([
            ("intent_pipeline_queue_depth", Gauge(self.queued.iter().sum::<usize>() as u64)),
            ("intent_pipeline_parked", Gauge(self.parked as u64)),
            ("intent_pipeline_queue_capacity", Gauge(self.capacity as u64)),
            ("intent_pipeline_seats_busy", Gauge(self.busy as u64)),
            ("intent_pipeline_seats", Gauge(self.seats as u64)),
            ("intent_pipeline_room_depth", Gauge(self.in_room as u64)),
            ("intent_pipeline_live", Gauge(self.ledger.live)),
            ("intent_pipeline_accepted_total", Counter(self.ledger.accepted)),
            ("intent_pipeline_completed_total", ended(Ending::Completed)),
            ("intent_pipeline_failed_total", ended(Ending::Failed)),
            ("intent_pipeline_cancelled_total", ended(Ending::Cancelled)),
            ("intent_pipeline_expired_total", ended(Ending::Expired)),
            ("intent_pipeline_evicted_total", ended(Ending::Evicted)),
            ("intent_pipeline_superseded_total", ended(Ending::Superseded)),
            ("intent_pipeline_returned_total", ended(Ending::Returned)),
            ("intent_pipeline_runs_total", Counter(self.runs.accepted)),
            ("intent_pipeline_refused_total", Counter(total(&self.refused))),
            ("intent_pipeline_would_refuse_total", Counter(total(&self.would_refuse))),
            ("intent_pipeline_loops_total", Counter(self.loops)),
        ])
        .chain(self.checkpoints())
    }

    #[cfg(feature = "json")]
    fn checkpoints(&self) -> impl Iterator<Item = Metric<'_>> {
        self.checkpoints.iter().flat_map(CheckpointsSnapshot::metrics)
    }

    #[cfg(not(feature = "json"))]
    fn checkpoints(&self) -> impl Iterator<Item = Metric<'_>> {
        std::iter::empty()
    }
}

/// One phase at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PhaseSnapshot {
    /// The phase.
    pub name: &'static str,
    /// Runs that wait before it.
    pub waiting: usize,
    /// Attempts inside it, by weight.
    pub running: usize,
    /// Breaker or egress limiter let nobody through until then; then it is asked again.
    pub closed_until: Option<Instant>,
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Shared<P, O> {
    pub(super) fn snapshot(&self) -> PipelineSnapshot {
        let core = self.core.lock();
        let depth = |class| core.gates.iter().map(|gate| gate.line.depth(class)).sum();
        let phases = core.gates.iter().map(|gate| PhaseSnapshot {
            name: gate.name,
            waiting: gate.line.len(),
            running: gate.running as usize,
            closed_until: gate.closed_until,
        });
        let (tickets, runs) = core.live();
        PipelineSnapshot {
            name: self.name.clone(),
            queued: Priority::ALL.map(depth),
            parked: core.parked,
            paused: core.paused,
            closed: core.is_closed(),
            capacity: core.capacity,
            in_room: core.room.len(),
            busy: core.busy as usize,
            seats: core.seats as usize,
            phases: phases.collect(),
            ledger: core.ledger.with_live(tickets),
            runs: core.run_ledger.with_live(runs),
            refused: core.refusals.0.clone(),
            would_refuse: core.would_refuse.0.clone(),
            loops: core.loops.met,
            #[cfg(feature = "json")]
            checkpoints: self.checkpoints(&core),
            retry_budget: core.budget.snapshot(),
        }
    }
}
