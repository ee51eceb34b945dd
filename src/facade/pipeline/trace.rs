//! How an intent's time was spent.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, slice};

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
    pub phases: PhaseTraces,
}

impl Trace {
    /// The phases that were undone, in that order: the last one first.
    pub fn undone(&self) -> impl Iterator<Item = &'static str> {
        let undone = self.phases.iter().rev().filter(|phase| phase.undone);
        undone.map(|phase| phase.name)
    }
}

/// What each phase took that was reached, in order: a slice. Clones share it.
#[derive(Clone, Default)]
pub struct PhaseTraces {
    /// As many as the pipeline has phases, from the first attempt on.
    all: Arc<[PhaseTrace]>,
    reached: usize,
}

impl Deref for PhaseTraces {
    type Target = [PhaseTrace];

    fn deref(&self) -> &[PhaseTrace] {
        &self.all[..self.reached]
    }
}

impl fmt::Debug for PhaseTraces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&**self).finish()
    }
}

impl<'a> IntoIterator for &'a PhaseTraces {
    type Item = &'a PhaseTrace;
    type IntoIter = slice::Iter<'a, PhaseTrace>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PhaseTraces {
    /// The last one reached; shared with nobody, or a copy is made.
    fn last_mut(&mut self) -> Option<&mut PhaseTrace> {
        Arc::make_mut(&mut self.all)[..self.reached].last_mut()
    }

    fn undo(&mut self, name: &str) {
        let reached = &mut Arc::make_mut(&mut self.all)[..self.reached];
        if let Some(phase) = reached.iter_mut().find(|phase| phase.name == name) {
            phase.undone = true;
        }
    }

    /// One more, of so many in all.
    fn reach(&mut self, name: &'static str, of: usize) {
        if self.all.len() < of {
            let more = std::iter::repeat_n(PhaseTrace::default(), of - self.all.len());
            self.all = self.all.iter().copied().chain(more).collect();
        }
        if let Some(phase) = Arc::make_mut(&mut self.all).get_mut(self.reached) {
            phase.name = name;
            self.reached += 1;
        }
    }
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
    /// What it had done was undone.
    pub undone: bool,
}

/// A trace in the making.
#[derive(Clone, Debug)]
pub(super) struct Course {
    accepted: Instant,
    /// When it last began to wait.
    waiting_since: Instant,
    /// `None` until its first attempt.
    queued: Option<Duration>,
    phases: PhaseTraces,
}

impl Course {
    pub(super) fn new(now: Instant) -> Self {
        let phases = PhaseTraces::default();
        Self { accepted: now, waiting_since: now, queued: None, phases }
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
        self.queued.get_or_insert(waited);
        if self.phases.len() <= gate {
            self.phases.reach(name, of);
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

    /// How many attempts of the phase at this place there were.
    pub(super) fn attempts(&self, place: usize) -> u32 {
        self.phases.get(place).map_or(0, |phase| phase.attempts)
    }

    /// It begins behind these phases, which were done in a former life.
    #[cfg(feature = "json")]
    pub(super) fn begins_after(&mut self, behind: &[&'static str], of: usize) {
        behind.iter().for_each(|&name| self.phases.reach(name, of));
    }

    /// The attempt that began at `since` is over.
    pub(super) fn ran(&mut self, since: Instant, now: Instant) {
        if let Some(phase) = self.phases.last_mut() {
            phase.ran += now.saturating_duration_since(since);
        }
        self.waiting_since = now;
    }

    /// These phases were undone.
    pub(super) fn undone(&mut self, names: &[&'static str]) {
        names.iter().for_each(|name| self.phases.undo(name));
    }

    /// As it is told when it ends now.
    pub(super) fn end(self, now: Instant) -> Trace {
        let Self { accepted, queued, phases, .. } = self;
        let total = now.saturating_duration_since(accepted);
        Trace { queued: queued.unwrap_or(total), total, phases }
    }
}
