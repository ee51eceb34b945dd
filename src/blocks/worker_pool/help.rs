//! Who awaits a task runs it himself, when it is next.
//!
//! Joining by helping, as fork-join pools do (Lea, "A Java fork/join framework", 2000): whoever
//! first polls a handle while its task is the next one, with a seat free, polls the task right
//! there. If it ends in one go, no worker was woken for it and the awaiter was never put to sleep,
//! which is half of what a short task costs. If not, a worker goes on with it.
//!
//! 1. Order, cap and ledger are as if a worker had taken it: it is taken under the same lock, by
//!    the same rule, and holds a seat.
//! 2. Only on the pool's own runtime, to which its timers and connections belong; and never inside
//!    another help, so that tasks that await tasks do not pile up on one stack.
//! 3. It is charged to the budget of whoever helps: awaiting in a loop still yields.
//! 4. What is handed over finds a worker: those do not leave while somebody helps.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use super::core::Job;
use super::error::TaskError;
use super::shared::Shared;
use crate::gates::wait_queue::Ticket;

thread_local! {
    /// Somebody on this stack helps.
    static HELPS: Cell<bool> = const { Cell::new(false) };
}

/// Set as long as this lives.
struct Helping;

impl Helping {
    /// `None`: somebody on this stack does already.
    fn begin() -> Option<Self> {
        (!HELPS.replace(true)).then_some(Self)
    }
}

impl Drop for Helping {
    fn drop(&mut self) {
        HELPS.set(false);
    }
}

impl Shared {
    /// Somebody is about to wait for this task: runs it, if that is possible.
    pub(super) fn help(self: &Arc<Self>, ticket: Ticket, cx: &mut Context<'_>) {
        let is_at_home = Handle::try_current().is_ok_and(|here| here.id() == self.runtime());
        if !is_at_home {
            return;
        }
        let Some(_helping) = Helping::begin() else { return };
        let Poll::Ready(charged) = tokio::task::coop::poll_proceed(cx) else { return };
        let Some(job) = self.with(|core, now, out| core.take_own(ticket, now, out)) else { return };
        charged.made_progress();
        let Job { seat, mut task } = job;
        let ending = match task.poll(cx) {
            Poll::Ready(ending) => ending,
            Poll::Pending => {
                let handed = self.with(|core, _, out| core.hand_over(Job { seat, task }, out));
                let Err(job) = handed else { return };
                // The runtime has gone meanwhile.
                task = job.task;
                task.give_up(TaskError::Cancelled)
            }
        };
        self.uncrowd();
        self.with(|core, now, out| {
            core.helped(seat, ending, now);
            core.settle(now, out);
        });
        task.publish();
    }
}
