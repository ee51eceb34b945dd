//! What a pool tells about itself.

use std::borrow::Cow;
use std::time::Duration;

use super::task::TaskId;
use crate::{Ledger, Priority, Reason};

/// One look at a pool, taken under its lock: the numbers belong together.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WorkerPoolSnapshot {
    /// The pool's name.
    pub name: Cow<'static, str>,
    /// Waiting in the queue by class, lowest first: tasks, and callers of `run`.
    pub depth: [usize; 4],
    /// Places in the queue.
    pub capacity: usize,
    /// Seats taken.
    pub busy: u32,
    /// Seats there are now. More may be taken for a while after it fell.
    pub limit: u32,
    /// How often the limit has changed.
    pub limit_changes: u64,
    /// Callers of `submit` that wait to be accepted.
    pub room: usize,
    /// Where everything accepted has gone. `live` is counted from the queue and the seats, not
    /// derived from the rest.
    pub ledger: Ledger,
    /// What was not accepted.
    pub refused: Refusals,
    /// How long a task runs, as an exponentially weighted mean; `None` below 20 samples.
    pub mean_service: Option<Duration>,
}

impl WorkerPoolSnapshot {
    /// Waiting in the queue, in this class.
    #[must_use]
    pub fn depth_of(&self, class: Priority) -> usize {
        self.depth[class.index()]
    }

    /// Waiting in the queue, in all classes.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.depth.iter().sum()
    }
}

/// How many were not accepted since the pool was made, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusals {
    /// [`Reason::QueueFull`].
    pub queue_full: u64,
    /// [`Reason::DeadlineInfeasible`].
    pub deadline_infeasible: u64,
    /// [`Reason::TooLarge`].
    pub too_large: u64,
    /// [`Reason::Evicted`]: displaced in the waiting room, or waiting inside `run`.
    pub evicted: u64,
    /// [`Reason::Expired`]: in the waiting room, or waiting inside `run`.
    pub expired: u64,
    /// [`Reason::Closed`].
    pub closed: u64,
}

impl Refusals {
    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { queue_full, deadline_infeasible, too_large, evicted, expired, closed } = self;
        queue_full + deadline_infeasible + too_large + evicted + expired + closed
    }

    pub(super) fn count(&mut self, reason: Reason, n: u64) {
        *match reason {
            Reason::DeadlineInfeasible => &mut self.deadline_infeasible,
            Reason::TooLarge => &mut self.too_large,
            Reason::Evicted => &mut self.evicted,
            Reason::Expired => &mut self.expired,
            Reason::Closed => &mut self.closed,
            // A pool has no other reasons; a new one would be some kind of full.
            _ => &mut self.queue_full,
        } += n;
    }
}

/// What a shutdown leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Where everything accepted has gone. `live` is `unresponsive` and `in_run` together.
    pub ledger: Ledger,
    /// Tasks that still run, because they do not come to an await point.
    pub unresponsive: Vec<TaskId>,
    /// Callers that are still inside [`run`](super::WorkerPool::run).
    pub in_run: u32,
}
