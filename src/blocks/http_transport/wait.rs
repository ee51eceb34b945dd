//! Standing in a host's line.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::core::HostId;
use super::permit::{Lease, Place};
use super::shared::Shared;
use crate::gates::wait_queue::Ticket;
use crate::ground::handoff::Handoff;
use crate::ground::time::{Instant, earlier, later, until};

/// What a waiter is told. What it holds finds its own way back when dropped.
#[derive(Debug)]
pub(super) enum Verdict {
    Use(Lease),
    Dial(Place),
    /// Its place in the line went to a higher class.
    Evicted,
    /// The pool was cut.
    Closed,
}

/// The cell a waiter and the pool share.
pub(super) type Waiter = Arc<Handoff<Verdict>>;

/// A place in line. Dropping it leaves the line; what had already come goes to the next.
#[derive(Debug)]
pub(super) struct Wait {
    shared: Arc<Shared>,
    host: HostId,
    ticket: Ticket,
    cell: Waiter,
    /// A connection is about to come back for it: the number of that promise.
    promise: Option<u64>,
    served: bool,
}

/// How long a connection that is about to come back is waited for before another one is dialled
/// instead. Its task needs a turn on a thread, and no more than that.
const PATIENCE: Duration = Duration::from_millis(50);

impl Wait {
    pub(super) fn new(
        shared: Arc<Shared>,
        host: HostId,
        ticket: Ticket,
        cell: Waiter,
        promise: Option<u64>,
    ) -> Self {
        Self { shared, host, ticket, cell, promise, served: false }
    }

    /// What it is told until `at`; `None`: nothing.
    pub(super) async fn until(mut self, at: Option<Instant>, now: Instant) -> Option<Verdict> {
        if let Some(promise) = self.promise {
            let patient_until = later(now, PATIENCE);
            let served = until(earlier(at, patient_until), &mut self).await;
            if served.is_some() || earlier(at, patient_until) == at {
                return served;
            }
            self.shared.lose_patience(self.host, promise);
        }
        until(at, self).await
    }
}

impl Future for Wait {
    type Output = Verdict;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Verdict> {
        let verdict = std::task::ready!(self.cell.poll(cx));
        self.served = true;
        Poll::Ready(verdict)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.served {
            return;
        }
        // First the cell, so that nothing more can come, then the line.
        match self.cell.leave() {
            Some(Verdict::Use(lease)) => lease.unused(),
            Some(Verdict::Dial(_) | Verdict::Evicted | Verdict::Closed) => {}
            None => self.shared.cancel(self.host, self.ticket),
        }
    }
}
