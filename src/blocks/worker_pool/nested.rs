//! A task that awaits a task of its own pool.
//!
//! Its seat does not come free before the other one has run, which may have to wait for just that
//! seat. So when a handle is polled inside a task of the same pool, while its own task still waits
//! and is not about to start, that one is run right there, on the seat that is taken anyway.
//!
//! 1. It is known by a mark on the thread, set around every poll of what has a seat: so only the
//!    innermost pool is seen, and nothing that was handed to another task in between.
//! 2. What is run so is live, listed and timed out like any other, on a seat of weight 0.
//! 3. It goes on only when its handle is polled. When that is dropped half-way, it goes back into the
//!    queue, at its old place and past the cap: it was accepted.
//! 4. Not deeper than [`DEEPEST`]: each level is a frame on the stack.

use std::cell::Cell;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::beside::{Spot, ticket};
use super::core::Job;
use super::error::TaskError;
use super::help::is_on;
use super::node::{Join, Work};
use super::shared::{Alarm, Shared};
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
    alarm: Pin<Box<Alarm>>,
}

impl Nested {
    /// The task of this ticket, if it waits and is not about to start.
    pub(super) fn take<T>(shared: &Arc<Shared>, at: Spot, join: &Join<T>) -> Option<Self> {
        let (place, job) = shared.with(|core, now, out| {
            let ticket = ticket(core, at, join);
            core.take_nested(ticket, now, out)
        })?;
        let alarm = Box::pin(Alarm::default());
        Some(Self { shared: Arc::clone(shared), job: Some(job), place, alarm })
    }

    /// Whether it has ended by now; its handle has been told then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(Job { task, .. }) = &mut self.job {
            let ending = ready!(self.shared.poll(task, self.alarm.as_mut(), cx));
            self.end(|_| ending);
        }
        Poll::Ready(())
    }

    pub(super) fn cancel(&mut self) {
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
        let Some(job) = self.job.take() else { return };
        self.job = self.shared.put_back(job, &self.place).err();
        // The pool has halted.
        self.cancel();
    }
}
