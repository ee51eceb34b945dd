//! Tasks that are submitted, and mostly run, beside the lock (`lease.rs`, `node/slot.rs`).

use std::sync::Arc;
use std::task::{Context, Poll};

use super::error::TaskError;
use super::node::{Join, Put, Work};
use super::shared::{PoolCore, Shared};
use super::task::TaskId;
use crate::Ending;
use crate::gates::wait_queue::Ticket;
use crate::ground::list::NIL;
use crate::ground::stripe::{self, Padded, STRIPES};
use crate::ground::time::Instant;

/// The pool as the threads of one stripe see it. Each handle of a task holds the one it was made
/// with: so their count is on a line that the threads of other stripes do not write.
pub(super) type Front = Padded<Stripe>;

pub(super) struct Stripe {
    pub(super) shared: Arc<Shared>,
    pub(super) no: usize,
}

/// Where a task went when it was accepted: the queue's index of it, or the slot of its front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot(u32);

impl Spot {
    pub(super) const SLOT: Self = Self(NIL);

    pub(super) fn of(ticket: Ticket) -> Self {
        Self(ticket.index)
    }

    /// Of a task that went into the queue.
    #[inline]
    pub(super) fn ticket<T>(self, join: &Join<T>) -> Option<Ticket> {
        let TaskId(serial) = join.known().filter(|_| self != Self::SLOT)?;
        Some(Ticket { index: self.0, serial })
    }
}

/// A front for each stripe.
pub(super) struct Fronts([Arc<Front>; STRIPES]);

impl Fronts {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let front = |no| Arc::new(Padded::new(Stripe { shared: Arc::clone(shared), no }));
        Self(std::array::from_fn(front))
    }

    /// This thread's.
    #[inline]
    pub(super) fn mine(&self) -> &Arc<Front> {
        &self.0[stripe::mine()]
    }
}

impl Stripe {
    /// Accepts the task beside the lock; back, if it must go through it.
    #[inline]
    pub(super) fn put(&self, work: Work) -> Result<Spot, Work> {
        let leases = self.shared.leases();
        let slot = leases.slot(self.no);
        if !slot.is_free() || !leases.claim(self.no) {
            return Err(work);
        }
        match slot.put(work) {
            Ok(Put::Told) => {}
            Ok(Put::Tell) => self.shared.with(|core, _, out| core.tell(out)),
            Err(work) => {
                self.shared.given(leases.withdraw(self.no));
                return Err(work);
            }
        }
        Ok(Spot::SLOT)
    }

    /// Polls the task of this handle once, if it still lies in the slot.
    #[inline]
    pub(super) fn run_own<T>(&self, join: &Join<T>, cx: &mut Context<'_>) -> bool {
        let Some(mut task) = self.shared.leases().slot(self.no).take_own(join) else {
            return false;
        };
        let since = self.shared.begin_beside(self.no);
        match self.shared.begin(&mut task, cx) {
            Poll::Ready(ending) => self.end(task, since, ending),
            Poll::Pending => {
                let adopted = self.shared.with(|core, _, out| core.adopt(task, since, out));
                if let Err(mut task) = adopted {
                    // The runtime has gone meanwhile.
                    let ending = task.give_up(TaskError::Cancelled);
                    self.end(task, None, ending);
                }
            }
        }
        true
    }

    #[inline]
    fn end(&self, task: Work, since: Option<Instant>, ending: Ending) {
        self.shared.end_beside(self.no, since, ending);
        task.publish();
    }

    /// Cancels the task, which was asked to stop: out of the slot, out of the queue, or where it
    /// runs.
    pub(super) fn cancel<T>(&self, at: Spot, join: &Join<T>) {
        if at == Spot::SLOT
            && let Some(mut task) = self.shared.leases().slot(self.no).take_own(join)
        {
            let ending = task.give_up(TaskError::Cancelled);
            return self.end(task, None, ending);
        }
        self.shared.uncrowd();
        self.shared.with(|core, now, out| {
            let ticket = ticket(core, at, join);
            core.cancel(ticket, now, out);
        });
    }

    pub(super) fn id<T>(&self, join: &Join<T>) -> TaskId {
        let given = || self.shared.with(|core, _, _| join.number(|| core.next_number()));
        join.known().unwrap_or_else(given)
    }
}

/// By what the core knows it, if it waits or runs there.
pub(super) fn ticket<T>(core: &mut PoolCore, at: Spot, join: &Join<T>) -> Ticket {
    at.ticket(join).unwrap_or_else(|| {
        let id = join.number(|| core.next_number());
        core.ticket_of(id)
    })
}
