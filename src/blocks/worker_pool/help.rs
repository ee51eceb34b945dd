//! Who awaits a task runs it himself, when it is next.
//!
//! Joining by helping, as fork-join pools do (Lea, "A Java fork/join framework", 2000): whoever
//! first polls a handle while its task is the next one, with a seat free, polls the task right
//! there. If it ends in one go, no worker was woken for it and the awaiter was never put to sleep,
//! which is half of what a short task costs. If not, a worker goes on with it.
//!
//! 1. Order, cap and ledger are as if a worker had taken it: it is taken under the same lock, by
//!    the same rule, and holds a seat; or out of a slot, when nobody waits (`lease.rs`).
//! 2. Only on the pool's own runtime, to which its timers and connections belong; and never inside
//!    another help, so that tasks that await tasks do not pile up on one stack.
//! 3. It is charged to the budget of whoever helps, afterwards: awaiting in a loop still yields, and
//!    leaves nothing behind that only a worker could do.
//! 4. What is handed over finds a worker: those do not leave while somebody helps.

use std::cell::Cell;
use std::task::{Context, Poll, ready};

use tokio::runtime::{self, Handle};

use super::beside::{Spot, Stripe};
use super::core::Job;
use super::error::TaskError;
use super::node::Join;
use crate::gates::wait_queue::Ticket;

thread_local! {
    /// Somebody on this stack helps.
    static HELPS: Cell<bool> = const { Cell::new(false) };
    /// Who was looked at last, and whose he is: tokio never gives a task's number to another.
    static HOME: Cell<Option<(tokio::task::Id, runtime::Id)>> = const { Cell::new(None) };
}

/// Set as long as this lives.
struct Helping;

impl Helping {
    /// `None`: somebody on this stack does already.
    #[inline]
    fn begin() -> Option<Self> {
        (!HELPS.replace(true)).then_some(Self)
    }
}

impl Drop for Helping {
    fn drop(&mut self) {
        HELPS.set(false);
    }
}

/// Whether this is polled on that runtime. To ask tokio costs a shared counter, so it is asked once
/// for each task in a row: a task is always polled by the runtime it was spawned on.
#[inline]
pub(super) fn is_on(runtime: runtime::Id) -> bool {
    let task = tokio::task::try_id();
    match HOME.get() {
        Some((known, home)) if task == Some(known) => home == runtime,
        _ => {
            let here = Handle::try_current().ok().map(|here| here.id());
            HOME.set(task.zip(here));
            here == Some(runtime)
        }
    }
}

impl Stripe {
    /// Somebody is about to wait for this task: runs it, if that is possible. `Pending`: he has used
    /// up his turn by that, and will be polled again.
    #[inline]
    pub(super) fn help<T>(&self, at: Spot, join: &Join<T>, cx: &mut Context<'_>) -> Poll<()> {
        if !is_on(self.shared.runtime()) {
            return Poll::Ready(());
        }
        let Some(helping) = Helping::begin() else { return Poll::Ready(()) };
        let has_run = match at.ticket(join) {
            None => self.run_own(join, cx),
            Some(ticket) => self.run_next(ticket, cx),
        };
        drop(helping);
        if has_run {
            ready!(tokio::task::coop::poll_proceed(cx)).made_progress();
        }
        Poll::Ready(())
    }

    /// The same for one in the queue, that is next.
    fn run_next(&self, ticket: Ticket, cx: &mut Context<'_>) -> bool {
        let shared = &self.shared;
        if shared.is_seatless() {
            return false;
        }
        let Some(job) = shared.with(|core, now, out| core.take_own(ticket, now, out)) else {
            return false;
        };
        let Job { seat, mut task } = job;
        let ending = match shared.begin(&mut task, cx) {
            Poll::Ready(ending) => ending,
            Poll::Pending => {
                let handed = shared.with(|core, _, out| core.hand_over(Job { seat, task }, out));
                let Err(job) = handed else { return true };
                // The runtime has gone meanwhile.
                task = job.task;
                task.give_up(TaskError::Cancelled)
            }
        };
        shared.uncrowd();
        shared.with(|core, now, out| {
            core.helped(seat, ending, now);
            core.settle(now, out);
            // The next ones of this kind need no lock.
            core.lease(self.no);
        });
        task.publish();
        true
    }
}
