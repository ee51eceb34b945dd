//! One accepted task: its future, its result, and who waits for it.
//!
//! 1. The body is touched by one at a time: the queue's lock decides who takes the task out of
//!    line, and only that one polls it, drops it or publishes its result. Its lock is never
//!    contended; it is there because the types can't say so.
//! 2. Booked before told: the result is staged in the body, the ledger written under the pool's
//!    lock, and only then published. So who has the result finds it in the ledger.
//! 3. Code of the user's (poll, drop) runs under no lock but the body's, and no panic of it gets
//!    out of here.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::error::{Panic, TaskError};
use super::stop::Stop;
use crate::Ending;
use crate::ground::handoff::Handoff;
use crate::ground::primitives::Mutex;
use crate::ground::quiet::{drop_quietly, wake_quietly};
use crate::ground::time;

/// A task as the pool sees it.
pub(super) trait Work: Send + Sync {
    /// Polls the future; its result is staged once it is ready.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Ending>;

    /// Drops the future, and stages `why` as the result.
    fn give_up(&self, why: TaskError) -> Ending;

    /// Tells the handle what was staged, and lets go of everything. Once, after booking.
    fn publish(&self);

    /// Asks it to end at its next await point.
    fn stop(&self);

    /// By when it must have ended, started at `started`.
    fn limit(&self, started: Instant) -> Option<Instant>;
}

/// A task as its handle sees it.
pub(super) trait Join<T>: Send + Sync {
    fn outcome(&self) -> &Handoff<Result<T, TaskError>>;
    fn stop(&self);
}

/// A task.
pub(super) struct Node<F: Future> {
    body: Mutex<Body<F>>,
    outcome: Handoff<Result<F::Output, TaskError>>,
    stop: Stop,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
}

enum Body<F: Future> {
    Future(Pin<Box<F>>),
    Staged(Result<F::Output, TaskError>),
    Gone,
}

impl<F: Future> Node<F> {
    pub(super) fn new(future: F, timeout: Option<Duration>, deadline: Option<Instant>) -> Self {
        Self {
            body: Mutex::new(Body::Future(Box::pin(future))),
            outcome: Handoff::new(),
            stop: Stop::new(),
            timeout,
            deadline,
        }
    }

    /// The future makes way for the result.
    fn stage(&self, result: Result<F::Output, TaskError>) -> Ending {
        let ending = result.as_ref().map_or_else(TaskError::ending, |_| Ending::Completed);
        let before = std::mem::replace(&mut *self.body.lock(), Body::Staged(result));
        drop_quietly(before);
        ending
    }

    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Result<F::Output, TaskError>> {
        let mut body = self.body.lock();
        let Body::Future(future) = &mut *body else {
            // Not polled again once it is ready: it has no future any more.
            return Poll::Ready(Err(TaskError::Cancelled));
        };
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(TaskError::Panicked(Panic::new(payload)))),
        }
    }
}

impl<F> Work for Node<F>
where
    F: Future + Send,
    F::Output: Send,
{
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Ending> {
        if self.stop.is_asked() {
            return Poll::Ready(self.give_up(TaskError::Cancelled));
        }
        match self.poll_body(cx) {
            Poll::Ready(result) => Poll::Ready(self.stage(result)),
            Poll::Pending if self.stop.watch(cx.waker()) => {
                Poll::Ready(self.give_up(TaskError::Cancelled))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn give_up(&self, why: TaskError) -> Ending {
        self.stage(Err(why))
    }

    fn publish(&self) {
        self.stop.forget();
        let body = std::mem::replace(&mut *self.body.lock(), Body::Gone);
        match body {
            Body::Staged(result) => match self.outcome.put(result) {
                Ok(Some(waker)) => wake_quietly(waker),
                Ok(None) => {}
                Err(unread) => drop_quietly(unread),
            },
            body @ (Body::Future(_) | Body::Gone) => drop_quietly(body),
        }
    }

    fn stop(&self) {
        if let Some(worker) = self.stop.ask() {
            worker.wake();
        }
    }

    fn limit(&self, started: Instant) -> Option<Instant> {
        let timeout = self.timeout.and_then(|timeout| time::later(started, timeout));
        time::earlier(timeout, self.deadline)
    }
}

impl<F> Join<F::Output> for Node<F>
where
    F: Future + Send,
    F::Output: Send,
{
    fn outcome(&self) -> &Handoff<Result<F::Output, TaskError>> {
        &self.outcome
    }

    fn stop(&self) {
        Work::stop(self);
    }
}
