//! What the submitter holds.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::beside::{Front, Spot};
use super::error::TaskError;
use super::help::is_on;
use super::nested::{Inside, Nested};
use super::node::Join;
use super::task::TaskId;
use crate::ground::primitives::Mutex;

/// The result of an accepted task, once it is there.
///
/// Awaited on the pool's runtime while its task is the next one and a seat is free, it runs the
/// task right there, which saves the way to a worker and back; a worker goes on with a task that
/// does not end in one go. So a task that computes for long without an await point holds up
/// whoever awaits it, should nobody have begun it by then. The runtime is that of the task that
/// awaits, as spawned: one that enters another by hand meanwhile runs it there; and a task that is
/// awaited in a `LocalSet` may be polled there, where `block_in_place` panics.
///
/// Awaited inside a task of the same pool, one that waits for a seat is run there as well, on the seat
/// of that task, up to 64 levels deep. From then on it goes on only when its handle is polled, and
/// keeps its place in the queue until it has ended.
///
/// Dropping it detaches: the task goes on, and its result is dropped. See
/// [`cancel_on_drop`](Self::cancel_on_drop) for the other way.
///
/// # Cancel safety
///
/// The result stays where it is until it is read: polling through `&mut handle` in a `select!`
/// loses nothing. Once it has been read, the handle stays pending.
#[must_use = "dropping a handle detaches its task; await it for the result"]
pub struct TaskHandle<T> {
    join: Join<T>,
    front: Arc<Front>,
    /// While it runs here, on the seat of whoever awaits it.
    nested: Option<Box<Mutex<Nested>>>,
    spot: Spot,
    /// Not polled yet.
    is_fresh: bool,
    when_dropped: WhenDropped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhenDropped {
    Detach,
    Cancel,
}

impl<T> TaskHandle<T> {
    pub(super) fn new(join: Join<T>, front: &Arc<Front>, spot: Spot) -> Self {
        let front = Arc::clone(front);
        Self { join, front, nested: None, spot, is_fresh: true, when_dropped: WhenDropped::Detach }
    }

    /// Names the task in logs and in [`DrainReport::unresponsive`](super::DrainReport).
    ///
    /// # Cost
    ///
    /// Nothing; for a task that was accepted beside the lock, one lock the first time.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.front.id(&self.join)
    }

    /// Cancels the task: at once while it waits, which frees its place; at its next await point
    /// while it runs. Nothing if it has ended. The handle then gives [`TaskError::Cancelled`],
    /// or the result that came first.
    pub fn cancel(&self) {
        if self.join.stop() {
            self.front.cancel(self.spot, &self.join);
        }
    }

    /// The same handle, but dropping it cancels the task.
    pub fn cancel_on_drop(mut self) -> Self {
        self.when_dropped = WhenDropped::Cancel;
        self
    }
}

impl<T> TaskHandle<T> {
    /// Its result is not there, and this is polled inside a task of the same pool: runs it here, if
    /// it still waits.
    #[cold]
    fn run_nested(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, TaskError>> {
        let shared = &self.front.shared;
        if self.nested.is_none() {
            let nested = Nested::take(shared, self.spot, &self.join);
            self.nested = nested.map(|nested| Box::new(Mutex::new(nested)));
        } else if !is_on(shared.runtime()) {
            // Another runtime's timers and sockets are not for it.
            let left = self.nested.take().and_then(|mut nested| nested.get_mut().leave());
            self.spot = left.unwrap_or(self.spot);
        }
        if let Some(nested) = &mut self.nested {
            ready!(nested.get_mut().poll(cx));
            self.nested = None;
            // As for whoever helps: awaiting such ones in a loop still yields.
            ready!(tokio::task::coop::poll_proceed(cx)).made_progress();
        }
        self.join.poll(cx)
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::take(&mut self.is_fresh) {
            ready!(self.front.help(self.spot, &self.join, cx));
        }
        let mut poll = self.join.poll(cx);
        if poll.is_pending() && (self.nested.is_some() || Inside::is_in(&self.front.shared)) {
            poll = self.run_nested(cx);
        }
        if poll.is_ready() {
            // Nothing is left to cancel.
            self.when_dropped = WhenDropped::Detach;
        }
        poll
    }
}

impl<T> Drop for TaskHandle<T> {
    fn drop(&mut self) {
        if self.when_dropped == WhenDropped::Cancel {
            self.cancel();
            self.nested.iter_mut().for_each(|nested| nested.get_mut().cancel());
        }
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle")
            .field("id", &self.id())
            .field("when_dropped", &self.when_dropped)
            .finish_non_exhaustive()
    }
}
