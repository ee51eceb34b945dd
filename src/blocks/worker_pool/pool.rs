//! The handle.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::beside::Fronts;
use super::config::WorkerPoolConfig;
use super::crew::Crew;
use super::handle::TaskHandle;
use super::metrics::{DrainReport, WorkerPoolSnapshot};
use super::shared::{STOP_GRACE, Shared};
use super::task::Task;
use super::{many, run, submit};
use crate::ground::time;
use crate::{ConfigError, Ending, Refused};

/// A pool of workers behind one bounded queue with priorities. Cloning gives another handle.
///
/// Dropping the last handle without [`shutdown`](Self::shutdown) cancels everything, waiting and
/// running, and waits for nothing.
///
/// ```
/// use headworks::worker_pool::{Task, WorkerPoolConfig};
/// use headworks::{Priority, WorkerPool};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = WorkerPool::new(WorkerPoolConfig::default())?;
/// let plain = pool.try_submit(async { 1 + 1 })?;
/// let urgent = pool.try_submit(Task::new(async { 2 + 2 }).priority(Priority::Urgent))?;
/// assert_eq!((plain.await?, urgent.await?), (2, 4));
///
/// let report = pool.shutdown(Duration::from_secs(5)).await;
/// assert_eq!(report.ledger.completed, 2);
/// assert!(report.ledger.is_exact());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct WorkerPool {
    owner: Arc<Owner>,
}

/// What all handles of a pool hold together, and no worker: the last one to go ends the pool.
struct Owner {
    shared: Arc<Shared>,
    fronts: Fronts,
    name: Cow<'static, str>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.halt(Ending::Cancelled);
    }
}

impl WorkerPool {
    /// Makes the pool and starts its workers on the runtime that is entered here.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`]: a value is out of its range. [`ConfigError::NoRuntime`]: no
    /// tokio runtime is entered here.
    ///
    /// # Panics
    ///
    /// When that runtime was built without its timer (`enable_time`), which timeouts need.
    ///
    /// # Cost
    ///
    /// One tokio task for each seat.
    pub fn new(config: WorkerPoolConfig) -> Result<Self, ConfigError> {
        let limits = config.check()?;
        let runtime = Handle::try_current().map_err(|_| ConfigError::NoRuntime)?;
        // Here rather than in a worker, where nobody would see it.
        drop(tokio::time::sleep(Duration::ZERO));
        let shared = Arc::new(Shared::new(limits, config.task_timeout, runtime.id()));
        Crew::start(&shared, limits.seats, &runtime);
        Ok(Self {
            owner: Arc::new(Owner { fronts: Fronts::new(&shared), shared, name: config.name }),
        })
    }

    /// Accepts the task, or gives it back; never waits. In a full queue it may take the place of
    /// a waiting task of a lower class, or of a tenant that holds more places than its own: that
    /// one ends [`TaskError::Evicted`](super::TaskError::Evicted).
    ///
    /// # Errors
    ///
    /// [`Refused`] with the task's future and the reason:
    /// [`QueueFull`](crate::Reason::QueueFull): its class may not have another place, or others
    /// of its class wait in [`submit`](Self::submit); come back after `retry_after`.
    /// [`DeadlineInfeasible`](crate::Reason::DeadlineInfeasible): by the mean service time
    /// (from 20 samples on) it would not end in time.
    /// [`TooLarge`](crate::Reason::TooLarge): it weighs more than there are seats.
    /// [`Closed`](crate::Reason::Closed).
    ///
    /// # Cost
    ///
    /// One allocation, O(1). While nobody waits and what this thread submits is awaited at once: no
    /// lock, and no line of memory that another thread writes. Else one lock. A refusal after another one allocates nothing; the first
    /// one after some success gives its allocation back.
    pub fn try_submit<F>(
        &self,
        task: impl Into<Task<F>>,
    ) -> Result<TaskHandle<F::Output>, Refused<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        submit::now_or_never(self.owner.fronts.mine(), task.into())
    }

    /// Accepts each of the tasks or gives it back, as [`try_submit`](Self::try_submit) would one
    /// after the other; the verdicts are in the order of the tasks. A task may take the place of
    /// one that was accepted before it, as if they had come from anywhere.
    ///
    /// ```
    /// use headworks::worker_pool::{Task, WorkerPoolConfig};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = headworks::WorkerPool::new(WorkerPoolConfig::default())?;
    /// let squares = (1..=3).map(|n| Task::new(async move { n * n }));
    /// let mut sum = 0;
    /// for accepted in pool.try_submit_many(squares) {
    ///     sum += accepted?.await?;
    /// }
    /// assert_eq!(sum, 14);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Each on its own, as in [`try_submit`](Self::try_submit).
    ///
    /// # Cost
    ///
    /// One lock for every 256 tasks, after which workers are woken; an allocation for each task,
    /// also for one that is refused, and for the lists.
    pub fn try_submit_many<F>(
        &self,
        tasks: impl IntoIterator<Item = Task<F>>,
    ) -> Vec<Result<TaskHandle<F::Output>, Refused<F>>>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        many::submit(self.owner.fronts.mine(), tasks)
    }

    /// Accepts the task as soon as there is room, or gives it back. Callers wait in a room of
    /// their own, in order of class and as bounded as the queue; the task's deadline ends the
    /// wait.
    ///
    /// # Errors
    ///
    /// As [`try_submit`](Self::try_submit), where `QueueFull` means that the room is full as
    /// well; and [`Evicted`](crate::Reason::Evicted): displaced in the room by something more
    /// important; [`Expired`](crate::Reason::Expired): the deadline passed in the room.
    ///
    /// # Panics
    ///
    /// If it has to wait with a deadline outside of a tokio runtime whose timer is enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves the room; the task was not accepted, and is dropped with it. It takes
    /// its turn when it is polled: one that is kept and not polled keeps those of its class and
    /// below waiting behind it.
    ///
    /// # Cost
    ///
    /// As [`try_submit`](Self::try_submit) when there is room; else a lock for each time it is
    /// polled, O(1), and with a deadline a timer.
    pub async fn submit<F>(
        &self,
        task: impl Into<Task<F>>,
    ) -> Result<TaskHandle<F::Output>, Refused<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        submit::in_turn(self.owner.fronts.mine(), task.into()).await
    }

    /// Runs the future right here, polled by the caller, once it has its turn in the queue and a
    /// seat. So it may borrow.
    ///
    /// It counts as accepted when it gets its seat. From then on it is the caller's: no timeout
    /// and no deadline is applied, for nobody but the caller can drop it. A panic unwinds through
    /// the caller, with the seat given back.
    ///
    /// # Errors
    ///
    /// As [`try_submit`](Self::try_submit), and [`Evicted`](crate::Reason::Evicted) or
    /// [`Expired`](crate::Reason::Expired) while it waited for its turn.
    ///
    /// # Panics
    ///
    /// If it has to wait with a deadline outside of a tokio runtime whose timer is enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, it leaves the line. Dropped while it runs, the seat is given back
    /// and the future dropped: counted as cancelled. One that is kept and not polled keeps the
    /// seat that came.
    ///
    /// # Cost
    ///
    /// While nobody waits and half of the seats are free: two atomic operations on a line of the
    /// thread's own, no lock, no allocation. One in 64 (see [`Timing`](super::Timing)) goes through
    /// the lock, and so does one with a deadline or a weight. Who has to wait costs an allocation.
    pub async fn run<F: Future>(&self, task: impl Into<Task<F>>) -> Result<F::Output, Refused<F>> {
        run::inline(&self.owner.shared, task.into()).await
    }

    /// Takes no more work from here on. What was accepted goes on; who waits in `submit` is
    /// refused. Calling it again is harmless.
    pub fn close(&self) {
        self.owner.shared.close();
    }

    /// Closes the pool, lets what was accepted go on for `within`, and then ends it: tasks that
    /// were not started end [`Returned`](super::TaskError::Returned), running ones are dropped at
    /// their next await point and end [`Cancelled`](super::TaskError::Cancelled).
    ///
    /// Returns when nothing is left, and 100 ms after `within` at the latest, given a runtime
    /// worker that still runs: tasks that do not come to an await point by then are listed as
    /// unresponsive; callers that are still inside [`run`](Self::run) are counted. Calling it again,
    /// or more than once at a time, is harmless: the shortest `within` counts for all.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the pool stays closed and works on; what `within` would have ended is not ended.
    pub async fn shutdown(&self, within: Duration) -> DrainReport {
        let shared = &self.owner.shared;
        let until = time::later(time::now(), within);
        shared.close();
        if !shared.drained(until).await {
            shared.halt(Ending::Returned);
            let until = until.and_then(|until| time::later(until, STOP_GRACE));
            shared.drained(until).await;
        }
        shared.report()
    }

    /// A look at the pool under its lock: all numbers belong together.
    #[must_use]
    pub fn snapshot(&self) -> WorkerPoolSnapshot {
        let look = self.owner.shared.with(|core, _, _| core.take_stock());
        WorkerPoolSnapshot {
            name: self.owner.name.clone(),
            depth: look.depth,
            capacity: look.capacity,
            busy: look.busy,
            limit: look.limit,
            room: look.room,
            ledger: look.ledger,
            refused: look.refused,
            mean_service: look.mean_service,
        }
    }
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPool").field("name", &self.owner.name).finish_non_exhaustive()
    }
}
