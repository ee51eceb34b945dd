//! How an intent's time was spent.

use std::time::Duration;

use crate::ground::time::Instant;

/// How an intent's time was spent, from its acceptance to its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Trace {
    /// From acceptance to the first attempt, or to the end if there was none.
    pub queued: Duration,
    /// From acceptance to the end.
    pub total: Duration,
    /// Each phase that was reached, in order; with no attempts, those that were done before a restart.
    pub phases: Vec<PhaseTrace>,
    /// Phases that were undone, in that order: the last one first.
    pub undone: Vec<&'static str>,
    accepted: Instant,
    /// When it last began to wait.
    waiting_since: Instant,
}

/// What one phase took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PhaseTrace {
    /// The phase.
    pub name: &'static str,
    /// Attempts, with every later look after `Again`.
    pub attempts: u32,
    /// Waited for a seat, a gate, a backoff.
    pub waited: Duration,
    /// Inside attempts.
    pub ran: Duration,
}

impl Trace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            queued: Duration::ZERO,
            total: Duration::ZERO,
            phases: Vec::new(),
            undone: Vec::new(),
            accepted: now,
            waiting_since: now,
        }
    }

    pub(super) fn accepted(&self) -> Instant {
        self.accepted
    }

    /// An attempt of this phase begins, of so many. Its number, from 1.
    pub(super) fn begins(
        &mut self,
        gate: usize,
        of: usize,
        name: &'static str,
        now: Instant,
    ) -> u32 {
        let waited = now.saturating_duration_since(self.waiting_since);
        if self.phases.iter().all(|phase| phase.attempts == 0) {
            self.queued = waited;
        }
        if self.phases.len() <= gate {
            self.phases.reserve_exact(of.saturating_sub(self.phases.len()));
            self.phases.push(PhaseTrace { name, ..PhaseTrace::default() });
        }
        match self.phases.last_mut() {
            Some(phase) => {
                phase.waited += waited;
                phase.attempts += 1;
                phase.attempts
            }
            None => 1,
        }
    }

    /// It begins behind these phases, which were done in a former life.
    #[cfg(feature = "json")]
    pub(super) fn begins_after(&mut self, behind: Vec<&'static str>) {
        let phase = |name| PhaseTrace { name, ..PhaseTrace::default() };
        self.phases.extend(behind.into_iter().map(phase));
    }

    /// The attempt that began at `since` is over.
    pub(super) fn ran(&mut self, since: Instant, now: Instant) {
        if let Some(phase) = self.phases.last_mut() {
            phase.ran += now.saturating_duration_since(since);
        }
        self.waiting_since = now;
    }

    pub(super) fn ended(&mut self, now: Instant) {
        self.total = now.saturating_duration_since(self.accepted);
        if self.phases.iter().all(|phase| phase.attempts == 0) {
            self.queued = self.total;
        }
    }
}
