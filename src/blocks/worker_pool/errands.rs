//! What is to be done once the lock is gone.
//!
//! Nothing here may run under the lock: it wakes and drops, which runs code of others.

use std::task::Waker;

use super::crew::WorkerNo;
use super::pressure::Change;
use super::seats::SeatNo;
use crate::Ending;
use crate::gates::wait_queue::Drain;

/// Collected under the lock, done after it. Mostly it is one waker, or nothing at all.
#[derive(Debug)]
#[must_use = "somebody waits for each of them"]
pub(super) struct Errands<T> {
    waker: Option<Waker>,
    more: Option<Box<More<T>>>,
}

/// What happens less often.
#[derive(Debug)]
pub(super) struct More<T> {
    /// Left the queue unstarted, and why.
    pub(super) left: Vec<(T, Ending)>,
    /// The same for a whole queue.
    pub(super) drained: Option<Box<(Drain<T>, Ending)>>,
    /// Callers of `run` whose turn it is.
    pub(super) seated: Vec<(T, SeatNo)>,
    pub(super) wakers: Vec<Waker>,
    /// Only to be dropped.
    pub(super) spent: Vec<Waker>,
    /// The level has changed.
    pub(super) pressure: Option<Change>,
    /// Workers to be started.
    pub(super) hired: Vec<WorkerNo>,
    /// Closed, and nothing is live any more.
    pub(super) ended: bool,
}

impl<T> Default for Errands<T> {
    fn default() -> Self {
        Self { waker: None, more: None }
    }
}

impl<T> Default for More<T> {
    fn default() -> Self {
        Self {
            left: Vec::new(),
            drained: None,
            seated: Vec::new(),
            wakers: Vec::new(),
            spent: Vec::new(),
            pressure: None,
            hired: Vec::new(),
            ended: false,
        }
    }
}

impl<T> Errands<T> {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waker.is_none() && self.more.is_none()
    }

    /// Wake this one.
    #[inline]
    pub(super) fn wake(&mut self, waker: Waker) {
        match self.waker {
            None => self.waker = Some(waker),
            Some(_) => self.more().wakers.push(waker),
        }
    }

    pub(super) fn more(&mut self) -> &mut More<T> {
        self.more.get_or_insert_default()
    }

    #[cfg(all(test, not(headworks_loom)))]
    pub(super) fn wakers(&self) -> impl Iterator<Item = &Waker> {
        self.waker.iter().chain(self.more.iter().flat_map(|more| &more.wakers))
    }

    #[inline]
    pub(super) fn into_parts(self) -> (Option<Waker>, Option<Box<More<T>>>) {
        (self.waker, self.more)
    }
}
