//! What a pipeline shows of itself.

use std::borrow::Cow;

use super::shared::Shared;
use crate::ground::time::Instant;
use crate::retry::RetryBudgetSnapshot;
use crate::{Ledger, Priority, Reason};

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
    /// Reconciliation loops, each counted when it became one
    /// ([`loop_after`](super::PipelineConfig::loop_after)).
    pub loops: u64,
    /// The retry budget of the whole pipeline.
    pub retry_budget: RetryBudgetSnapshot,
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
            in_room: core.room.len(),
            busy: core.busy as usize,
            seats: core.seats as usize,
            phases: phases.collect(),
            ledger: core.ledger.with_live(tickets),
            runs: core.run_ledger.with_live(runs),
            refused: core.refusals.0.clone(),
            would_refuse: core.would_refuse.0.clone(),
            loops: core.loops.met,
            retry_budget: core.budget.snapshot(),
        }
    }
}
