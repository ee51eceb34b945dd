//! What is to be done once the lock is gone.
//!
//! Nothing here may run under the lock: it wakes, drops and rings, which runs code of others.

use std::task::Waker;

use super::seats::SeatNo;
use super::task::TaskId;
use crate::Ending;
use crate::gates::wait_queue::Drain;

/// What stands in the queue: a task `T`, or a caller of `run` that waits at `W`.
#[derive(Debug)]
pub(super) enum Queued<T, W> {
    Task(TaskId, T),
    Inline(TaskId, W),
}

/// Collected under the lock, done after it.
#[derive(Debug)]
#[must_use = "somebody waits for each of them"]
pub(super) struct Errands<T, W> {
    /// Left the queue unstarted, and why.
    pub(super) left: Vec<(Queued<T, W>, Ending)>,
    /// The same for a whole queue.
    pub(super) drained: Option<(Drain<Queued<T, W>>, Ending)>,
    /// Callers of `run` whose turn it is.
    pub(super) granted: Vec<(W, SeatNo)>,
    /// Running tasks to be stopped.
    pub(super) stops: Vec<T>,
    pub(super) wakers: Vec<Waker>,
    /// Only to be dropped.
    pub(super) spent: Vec<Waker>,
    /// Resting workers to be woken.
    pub(super) rings: usize,
    /// Closed, and nothing is live any more.
    pub(super) ended: bool,
}

impl<T, W> Default for Errands<T, W> {
    fn default() -> Self {
        Self {
            left: Vec::new(),
            drained: None,
            granted: Vec::new(),
            stops: Vec::new(),
            wakers: Vec::new(),
            spent: Vec::new(),
            rings: 0,
            ended: false,
        }
    }
}
