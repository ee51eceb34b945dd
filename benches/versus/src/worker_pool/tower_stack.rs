//! tower's `Buffer` over `ConcurrencyLimit`, as its `ServiceBuilder` makes it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower::buffer::Buffer;
use tower::limit::concurrency::future::ResponseFuture as Limited;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

use super::contestant::{CAP, Pool};

type Task = Pin<Box<dyn Future<Output = u64> + Send>>;

/// Each submitter readies a clone of its own, as tower asks.
#[derive(Clone)]
pub struct BufferConcurrencyLimit(Buffer<Task, Limited<Running>>);

impl Pool for BufferConcurrencyLimit {
    const NAME: &'static str = "tower Buffer + ConcurrencyLimit";
    type Handle = tower::buffer::future::ResponseFuture<Limited<Running>>;
    type Lost = BoxError;

    fn start(workers: usize) -> Self {
        let stack = ServiceBuilder::new().buffer(CAP).concurrency_limit(workers).service(RunIt);
        Self(stack)
    }

    async fn submit<F: Future<Output = u64> + Send + 'static>(&mut self, task: F) -> Self::Handle {
        let ready = self.0.ready().await.expect("the buffer's worker lives");
        ready.call(Box::pin(task))
    }
}

/// Runs the task that it is called with.
struct RunIt;

impl Service<Task> for RunIt {
    type Response = u64;
    type Error = BoxError;
    type Future = Running;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task) -> Running {
        Running(task)
    }
}

/// The task itself, without a second box.
pub struct Running(Task);

impl Future for Running {
    type Output = Result<u64, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}
