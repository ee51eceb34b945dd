//! The future of one waiter.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::PrioritySemaphore;
use super::core::{Leaving, Spot, Verdict};
use super::error::AcquireError;
use crate::ground::quiet::drop_quietly;
use crate::ground::stripe;
use crate::ground::time::{Glance, Now};

/// A place in the line. Its drop gives back the place, or the permits that had already come.
#[derive(Debug)]
#[must_use = "dropped, it leaves the line"]
pub(super) struct Waiting<'a> {
    semaphore: &'a PrioritySemaphore,
    /// `None`: it has ended.
    spot: Option<Spot>,
    /// It entered in this very poll, with the waker of this poll.
    is_fresh: bool,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(semaphore: &'a PrioritySemaphore, spot: Spot) -> Self {
        Self { semaphore, spot: Some(spot), is_fresh: false }
    }

    /// The next poll is the one it entered in, and need not look: who has told it something since
    /// has woken, or is about to wake, its task.
    pub(super) fn just_entered(mut self) -> Self {
        self.is_fresh = true;
        self
    }

    /// Its deadline has passed by its own timer. A verdict that had come before stands.
    pub(super) fn expire_at(mut self, now: impl Now) -> Verdict {
        let verdict =
            self.spot.take().and_then(|spot| self.semaphore.leave_at(spot, Leaving::Expired, now));
        verdict.unwrap_or(Err(AcquireError::Expired))
    }
}

impl Future for Waiting<'_> {
    type Output = Verdict;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Verdict> {
        if mem::take(&mut self.is_fresh) {
            return Poll::Pending;
        }
        let Some(spot) = self.spot else { return Poll::Pending };
        let mut fresh = None;
        loop {
            // No waker is cloned or dropped under the lock: these are calls into others' code.
            let looked = self.semaphore.look_up(spot, cx.waker(), &mut fresh);
            match looked {
                None => fresh = Some(cx.waker().clone()),
                Some(poll) => {
                    if poll.is_ready() {
                        self.spot = None;
                    }
                    fresh.into_iter().for_each(drop_quietly);
                    return poll;
                }
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(spot) = self.spot.take() else { return };
        let verdict = self.semaphore.leave_at(spot, Leaving::Cancelled, &Glance::default());
        if let Some(Ok(permits)) = verdict {
            self.semaphore.give_back(stripe::mine(), permits);
        }
    }
}
