//! What every pool is asked to do.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Of every pool that bounds them, unless a row says otherwise.
pub const WORKERS: usize = 16;
pub const CAP: usize = 1024;

/// A pool as one submitter holds it; a clone for each.
pub trait Pool: Clone + Send + Sync + 'static {
    const NAME: &'static str;

    /// Gives the task's result, once it has run.
    type Handle: Future<Output = Result<u64, Self::Lost>> + Send + 'static;
    type Lost: Debug + Send;

    /// So many workers on the current runtime, and room for [`CAP`] tasks.
    fn start(workers: usize) -> Self;

    /// Waits for room, if need be.
    fn submit<F>(&mut self, task: F) -> impl Future<Output = Self::Handle> + Send
    where
        F: Future<Output = u64> + Send + 'static;
}

/// What a pool made of a channel queues: any task at all, which answers by itself.
pub struct Job(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Job {
    pub fn new(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(task))
    }
}

impl Future for Job {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

pub type Answer = tokio::sync::oneshot::Receiver<u64>;
pub type Lost = tokio::sync::oneshot::error::RecvError;

/// A task as a job, and where its result will come.
pub fn job<F>(task: F) -> (Job, Answer)
where
    F: Future<Output = u64> + Send + 'static,
{
    let (answer, receiver) = tokio::sync::oneshot::channel();
    let job = async move {
        // Nobody may be waiting any more; then the answer is nobody's.
        let _ = answer.send(task.await);
    };
    (Job::new(job), receiver)
}
