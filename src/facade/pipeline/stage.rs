//! Where a run is, for those who follow it.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;

use super::control::rung;
use super::run::{RunId, State};
use super::shared::Shared;

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// No attempt has begun.
    Queued,
    /// Inside an attempt.
    Running {
        /// Of this phase.
        phase: &'static str,
        /// How many phases are before it.
        place: usize,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// Between two attempts.
    Waiting {
        /// For another attempt of this phase: in line, in backoff, or after `Again`.
        phase: &'static str,
        /// How many phases are before it.
        place: usize,
        /// How many attempts of it there were; 0: the one before it is done, and it has yet to begin.
        attempts: u32,
    },
    /// It failed for good, and takes back what its phases made.
    Undoing,
    /// It has ended: the ticket says how.
    Over,
}

/// Follows a run through its phases. Made by [`Ticket::progress`](super::Ticket::progress); it keeps
/// neither the ticket nor the pipeline going.
///
/// Nothing is kept for it: who looks seldom sees where the run is now, and phases that were quick
/// between two looks not at all. They come in their order, and the ticket's [`Trace`](super::Trace)
/// has them all.
#[derive(Clone)]
pub struct Progress {
    shared: Arc<dyn Followed>,
    run: RunId,
    /// The ticket's.
    number: u64,
    /// Once somebody waits: what rings at each step, and what was seen last.
    following: Option<(Arc<Notify>, Stage)>,
}

impl Progress {
    pub(super) fn new(shared: Arc<dyn Followed>, run: RunId, number: u64) -> Self {
        Self { shared, run, number, following: None }
    }

    /// Where the run is now.
    ///
    /// # Cost
    /// The pipeline's lock, and a look through the run's tickets.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.shared.stage(self.run, self.number)
    }

    /// Where the run is, at the first call at once; then waits for the next change since the last
    /// call. `None` once it has ended. (One that is given up by a shutdown goes on until its attempt
    /// ends, and its ticket has ended by then.)
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// # Cost
    /// As [`stage`](Self::stage); and each step of a run that somebody follows wakes all who do.
    pub async fn changed(&mut self) -> Option<Stage> {
        let Self { shared, run, number, following } = self;
        let stage = match following {
            Some((bell, seen)) => {
                let look = || Some(shared.stage(*run, *number)).filter(|stage| stage != seen);
                rung(bell, look).await
            }
            // From here on no step is missed, so what is seen after it is the newest.
            None => {
                let bell = shared.follow(*run, *number)?;
                let stage = shared.stage(*run, *number);
                *following = Some((bell, stage));
                return Some(stage).filter(|stage| *stage != Stage::Over);
            }
        };
        if let Some((_, seen)) = following {
            *seen = stage;
        }
        if stage == Stage::Over {
            // And so it stays: the next call finds nothing to follow.
            *following = None;
            return None;
        }
        Some(stage)
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A pipeline, its types forgotten.
pub(super) trait Followed: Send + Sync {
    /// From now on the steps of this ticket's run ring; `None` once it has ended.
    fn follow(&self, run: RunId, number: u64) -> Option<Arc<Notify>>;

    fn stage(&self, run: RunId, number: u64) -> Stage;
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Followed for Shared<P, O> {
    fn follow(&self, run: RunId, number: u64) -> Option<Arc<Notify>> {
        let mut core = self.core.lock();
        let run = core.run_mut(run)?;
        if !run.body.has(number) {
            return Self::follow_former(run, number);
        }
        run.followed = true;
        Some(run.control.bell())
    }

    fn stage(&self, run: RunId, number: u64) -> Stage {
        let core = self.core.lock();
        let Some(run) = core.run(run) else { return Stage::Over };
        if !run.body.has(number) {
            // One that waits for a newer one to come to the disk.
            return match Self::former_waits(run, number) {
                None => Stage::Over,
                Some((0, 0)) => Stage::Queued,
                Some((place, attempts)) => {
                    let phase = self.phases.get(place).copied().unwrap_or_default();
                    Stage::Waiting { phase, place, attempts }
                }
            };
        }
        let (place, attempts) = (run.gate, run.course.attempts(run.gate));
        let phase = self.phases.get(place).copied().unwrap_or_default();
        match &run.state {
            State::Running(running) if running.undoes => Stage::Undoing,
            State::Running(_) => Stage::Running { phase, place, attempt: attempts },
            _ if !run.begun => Stage::Queued,
            _ => Stage::Waiting { phase, place, attempts },
        }
    }
}
