//! The future of one waiter.

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::PrioritySemaphore;
use super::core::{Leaving, Verdict};
use super::error::AcquireError;
use crate::gates::wait_queue::Ticket;
use crate::ground::handoff::Handoff;
use crate::ground::stripe;
use crate::ground::time::Glance;

/// Where the verdict comes.
pub(super) type Cell = Arc<Handoff<Verdict>>;

/// A place in the line. Its drop gives back the place, or the permits that had already come.
#[derive(Debug)]
#[must_use = "dropped, it leaves the line"]
pub(super) struct Waiting<'a> {
    semaphore: &'a PrioritySemaphore,
    cell: Cell,
    ticket: Ticket,
    has_ended: bool,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(semaphore: &'a PrioritySemaphore, cell: Cell, ticket: Ticket) -> Self {
        Self { semaphore, cell, ticket, has_ended: false }
    }

    /// Its deadline has passed by its own timer. A verdict that had come before stands.
    pub(super) fn expire_at(mut self, now: Instant) -> Verdict {
        self.has_ended = true;
        self.cell.leave().unwrap_or_else(|| {
            self.semaphore.leave_at(self.ticket, Leaving::Expired, now);
            Err(AcquireError::Expired)
        })
    }
}

impl Future for Waiting<'_> {
    type Output = Result<NonZeroU32, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Verdict> {
        let verdict = self.cell.poll(cx);
        self.has_ended |= verdict.is_ready();
        verdict
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        match self.cell.leave() {
            Some(Ok(permits)) => self.semaphore.give_back(stripe::mine(), permits),
            Some(Err(_)) => {}
            None => self.semaphore.leave_at(self.ticket, Leaving::Cancelled, &Glance::default()),
        }
    }
}
