//! Dropping and waking what belongs to a user, whose code may panic.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

/// Drops `thing`; a panic in its `Drop` stops here. The panic hook has reported it by then.
#[inline]
pub(crate) fn drop_quietly<T>(thing: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(thing))) {
        // A payload may panic in its turn, and so on for ever: that second one is leaked.
        if let Err(worse) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(worse);
        }
    }
}

/// Wakes; a waker that panics costs neither the worker nor those that are woken after it.
#[inline]
pub(crate) fn wake_quietly(waker: Waker) {
    quietly(|| waker.wake());
}

/// Wakes each of them, as [`wake_quietly`].
#[inline]
pub(crate) fn wake_all_quietly(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(wake_quietly);
}

/// Runs code that may be a user's; a panic of it stops here.
#[inline]
pub(crate) fn quietly(act: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(act)) {
        drop_quietly(payload);
    }
}

/// What a user's future comes to, or what it panicked with.
pub(crate) async fn caught<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(DroppedQuietly::new(future));
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

pin_project! {
    /// A user's future; a panic in its `Drop` stops here, wherever it is dropped.
    #[derive(Debug)]
    pub(crate) struct DroppedQuietly<F> {
        // `None` only while it is dropped.
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for DroppedQuietly<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut future = this.project().future;
            quietly(|| future.set(None));
        }
    }
}

impl<F> DroppedQuietly<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Some(future) }
    }
}

impl<F: Future> Future for DroppedQuietly<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.as_pin_mut().map_or(Poll::Pending, |future| future.poll(cx))
    }
}
