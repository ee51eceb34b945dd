//! A task that awaits a task of its own pool.
//!
//! Its seat does not come free before the other one has run, which may have to wait for just that
//! seat. So when a handle is polled inside a task of the same pool, while its own task still waits
//! and is not about to start, that one is run right there, on the seat that is taken anyway.
//!
//! 1. It is known by a mark on the thread, set around every poll of what has a seat: so only the
//!    innermost pool is seen, and nothing that was handed to another task in between.
//! 2. What is run so is live, listed and timed out like any other, on a seat of weight 0. It keeps its
//!    place in the queue: what runs nested and what waits are together as many as the cap allows.
//! 3. It goes on only when its handle is polled, on the pool's runtime. When that is dropped half-way,
//!    or polled elsewhere, it goes back into the queue, at its old place; its timeout starts anew.
//!    A halt wakes whoever polled it last.
//! 4. Not deeper than [`DEEPEST`]: each level is a frame on the stack.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::task::coop::{Unconstrained, unconstrained};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::alarm::{Alarm, Due};
use super::beside::{Spot, ticket};
use super::core::Job;
use super::error::TaskError;
use super::help::is_on;
use super::node::{Join, Work};
use super::shared::Shared;
use crate::Ending;
use crate::gates::wait_queue::Place;

/// So many levels of tasks that await tasks are run on one stack.
const DEEPEST: u32 = 64;

thread_local! {
    /// Whose task is polled on this stack just now, and how many are in all.
    static INSIDE: Cell<(*const Shared, u32)> = const { Cell::new((ptr::null(), 0)) };
}

/// What has a seat of this pool is being polled, for as long as this lives.
pub(super) struct Inside((*const Shared, u32));

impl Inside {
    #[inline]
    pub(super) fn of(shared: &Shared) -> Self {
        let (_, depth) = INSIDE.get();
        Self(INSIDE.replace((ptr::from_ref(shared), depth + 1)))
    }

    /// Whether this is polled by something that has a seat of this pool, and on its runtime.
    #[inline]
    pub(super) fn is_in(shared: &Shared) -> bool {
        let (whose, depth) = INSIDE.get();
        ptr::eq(whose, shared) && depth <= DEEPEST && is_on(shared.runtime())
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        INSIDE.set(self.0);
    }
}

/// A task that is run by whoever awaits it, on the seat of that one.
pub(super) struct Nested {
    shared: Arc<Shared>,
    /// `None` once it has ended.
    job: Option<Job<Work>>,
    place: Place,
    due: Due,
    alarm: Alarm,
    halting: Pin<Box<Unconstrained<WaitForCancellationFutureOwned>>>,
}

impl Nested {
    /// The task of this handle, if it waits and is not about to start.
    pub(super) fn take<T>(shared: &Arc<Shared>, at: Spot, join: &Join<T>) -> Option<Self> {
        let (place, job) = shared.with(|core, now, out| {
            // It may lie there.
            core.close_slots();
            let ticket = ticket(core, at, join);
            core.take_nested(ticket, now, out)
        })?;
        let halting = Box::pin(unconstrained(shared.halting()));
        let (shared, job) = (Arc::clone(shared), Some(job));
        Some(Self { shared, job, place, due: None, alarm: Alarm::default(), halting })
    }

    /// Whether it has ended by now; its handle has been told then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { shared, job, due, alarm, halting, .. } = self;
        let Some(Job { task, .. }) = job else { return Poll::Ready(()) };
        let mut polled = shared.poll(task, due, alarm, cx);
        if polled.is_pending() && halting.as_mut().poll(cx).is_ready() {
            polled = shared.poll(task, due, alarm, cx);
        }
        let ending = ready!(polled);
        self.end(|_| ending);
        Poll::Ready(())
    }

    /// Its handle wants it to end; one that can't be stopped is left to a worker.
    pub(super) fn cancel(&mut self) {
        if self.job.as_ref().is_some_and(|job| job.task.stops()) {
            self.give_up();
        }
    }

    /// It can't go on where it is polled now: where it waits for a worker.
    pub(super) fn leave(&mut self) -> Option<Spot> {
        match self.shared.put_back(self.job.take()?, &self.place) {
            Ok(ticket) => ticket.map(Spot::of),
            Err(job) => {
                // The pool has halted.
                self.job = Some(job);
                self.give_up();
                None
            }
        }
    }

    fn give_up(&mut self) {
        self.end(|task| task.give_up(TaskError::Cancelled));
    }

    fn end(&mut self, how: impl FnOnce(&mut Work) -> Ending) {
        if let Some(Job { seat, mut task }) = self.job.take() {
            let ending = how(&mut task);
            self.shared.release(seat, ending);
            task.publish();
        }
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        self.leave();
    }
}
