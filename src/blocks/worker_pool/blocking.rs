//! Work that blocks: on a thread that may.

use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use super::task::{Stops, Task};

/// The future of a closure that runs on one of tokio's threads for blocking work. Made by
/// [`Task::blocking`].
pub struct Blocking<W, R>(State<W, R>);

enum State<W, R> {
    Work(W),
    Thread(JoinHandle<R>),
    /// Over, or its runtime is.
    Gone,
}

impl<W, R> Blocking<W, R> {
    /// The closure, unless it has begun.
    pub fn into_work(self) -> Option<W> {
        match self.0 {
            State::Work(work) => Some(work),
            State::Thread(_) | State::Gone => None,
        }
    }
}

// Nothing in it is pinned: the closure is moved to its thread.
impl<W, R> Unpin for Blocking<W, R> {}

impl<W, R> Future for Blocking<W, R>
where
    W: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let mut thread = match std::mem::replace(&mut self.0, State::Gone) {
            State::Work(work) => tokio::task::spawn_blocking(work),
            State::Thread(thread) => thread,
            State::Gone => return Poll::Pending,
        };
        let Poll::Ready(ended) = Pin::new(&mut thread).poll(cx) else {
            self.0 = State::Thread(thread);
            return Poll::Pending;
        };
        match ended.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(result) => Poll::Ready(result),
            Err(Ok(payload)) => resume_unwind(payload),
            // The runtime is shutting down, and did not begin it: whoever polls this is about to
            // be dropped as well.
            Err(Err(_)) => Poll::Pending,
        }
    }
}

impl<W, R> Task<Blocking<W, R>>
where
    W: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    /// A closure that computes for long or blocks, to be run on one of tokio's threads for that,
    /// where it holds up no other task. It takes its seat for as long as the thread runs.
    ///
    /// A thread can't be stopped. So once it has begun, neither cancelling nor the task's timeout
    /// or deadline nor a shutdown ends it: the handle gives its result, and a shutdown that has no
    /// time left lists it as unresponsive. Only when the runtime itself is dropped does the handle
    /// give [`Cancelled`](super::TaskError::Cancelled) before the thread has ended. Before it
    /// has begun it is like any other task.
    ///
    /// Tokio runs 512 such threads at most unless told otherwise
    /// (`Builder::max_blocking_threads`); beyond that they wait for each other on their seats.
    /// Within [`run`](super::WorkerPool::run), which applies none of the above, dropping the call
    /// gives the seat back while the thread goes on.
    ///
    /// ```
    /// use headworks::Priority;
    /// use headworks::worker_pool::{Task, WorkerPoolConfig};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = headworks::WorkerPool::new(WorkerPoolConfig::default())?;
    /// let sum = Task::blocking(|| (1..=1_000).sum::<u64>()).priority(Priority::High);
    /// assert_eq!(pool.try_submit(sum)?.await?, 500_500);
    /// # Ok(())
    /// # }
    /// ```
    pub fn blocking(work: W) -> Self {
        let mut task = Self::new(Blocking(State::Work(work)));
        task.options.get_or_insert_default().stops = Stops::BeforeItBegins;
        task
    }
}

impl<W, R> fmt::Debug for Blocking<W, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.0 {
            State::Work(_) => "waiting",
            State::Thread(_) => "running",
            State::Gone => "over",
        };
        f.debug_tuple("Blocking").field(&state).finish()
    }
}
