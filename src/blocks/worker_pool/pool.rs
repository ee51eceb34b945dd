//! The handle.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::beside::Fronts;
use super::config::WorkerPoolConfig;
use super::crew::Crew;
use super::handle::TaskHandle;
use super::metrics::{DrainReport, WorkerPoolSnapshot};
use super::pressure::Pressure;
use super::shared::{STOP_GRACE, Shared};
use super::task::Task;
use super::{many, run, submit};
use crate::ground::time;
use crate::{ConfigError, Ending, Refused};

/// A pool of workers behind one bounded queue with priorities. Cloning gives another handle.
///
/// Dropping the last handle without [`shutdown`](Self::shutdown) cancels everything and waits for
/// nothing: tasks that run are dropped at their next await point, and those that wait end
/// [`Cancelled`](super::TaskError::Cancelled) too, not `Returned` as after a shutdown.
///
/// ```
/// use headworks::worker_pool::{Task, WorkerPoolConfig};
/// use headworks::{Priority, WorkerPool};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = WorkerPool::new(WorkerPoolConfig::default())?;
/// let plain = pool.try_submit(async { 1 + 1 })?;
/// let urgent = Task::new(async { 2 + 2 }).priority(Priority::Urgent);
/// // A refusal holds the future, and futures are often not `Sync`, as this error must be: let go.
/// let urgent = pool.try_submit(urgent).map_err(|refused| refused.map(drop))?;
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
    /// One tokio task for each seat; more are started and retired with a limit that changes.
    pub fn new(config: WorkerPoolConfig) -> Result<Self, ConfigError> {
        let limits = config.check()?;
        let runtime = Handle::try_current().map_err(|_| ConfigError::NoRuntime)?;
        // Here rather than in a worker, where nobody would see it.
        drop(tokio::time::sleep(Duration::ZERO));
        let shared = Arc::new(Shared::new(limits, config.task_timeout, &runtime));
        let workers = shared.read(super::core::Core::workers);
        Crew::start(&shared, workers, &runtime);
        Ok(Self {
            owner: Arc::new(Owner { fronts: Fronts::new(&shared), shared, name: config.name }),
        })
    }

    /// Accepts the task, or gives it back; never waits. In a full queue it may take the place of
    /// a waiting task of a lower class, or of a tenant that holds more places than its own: that
    /// one ends [`TaskError::Evicted`](super::TaskError::Evicted).
    ///
    /// Who has the time comes back with what was refused, when that makes sense. (Who would rather
    /// wait in turn: [`submit`](Self::submit).)
    /// ```
    /// use headworks::WorkerPool;
    /// use headworks::worker_pool::{TaskHandle, WorkerPoolConfig};
    /// use std::time::Duration;
    ///
    /// type Error = Box<dyn std::error::Error + Send + Sync>;
    ///
    /// async fn insist<F>(pool: &WorkerPool, mut work: F) -> Result<TaskHandle<F::Output>, Error>
    /// where
    ///     F: Future<Output: Send> + Send + 'static,
    /// {
    ///     loop {
    ///         let refused = match pool.try_submit(work) {
    ///             Ok(handle) => return Ok(handle),
    ///             Err(refused) if refused.reason().is_retryable() => refused,
    ///             Err(refused) => return Err(refused.map(drop).into()),
    ///         };
    ///         tokio::time::sleep(refused.retry_after().unwrap_or(Duration::from_millis(100))).await;
    ///         work = refused.into_inner();
    ///     }
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let config = WorkerPoolConfig::default().with_queue_capacity(2);
    /// # let pool = WorkerPool::new(config)?;
    /// # let mut handles = Vec::new();
    /// # for n in 0..9 {
    /// #     handles.push(insist(&pool, async move { n }).await?);
    /// # }
    /// # assert_eq!(handles.pop().unwrap().await?, 8);
    /// # pool.close();
    /// # assert!(insist(&pool, async {}).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Refused`] with the task's future and the reason:
    /// [`QueueFull`](crate::Reason::QueueFull): its class may not have another place, or others
    /// of its class wait in [`submit`](Self::submit); come back after `retry_after`.
    /// [`DeadlineInfeasible`](crate::Reason::DeadlineInfeasible): by the mean service time
    /// (from 20 samples on), what waits ahead and how fast its class has moved it would not end in
    /// time. Of what is left beside the service itself a class may plan on its
    /// [threshold](super::Thresholds)'s share.
    /// [`TooLarge`](crate::Reason::TooLarge): it weighs more than there are seats.
    /// [`Closed`](crate::Reason::Closed).
    ///
    /// # Cost
    ///
    /// One allocation, O(1). While nobody waits and what this thread submits is awaited at once: no
    /// lock, and no line of memory that another thread writes. Else one lock. A refusal after
    /// another one allocates nothing; the first one after some success gives its allocation back.
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

    /// Accepts a closure that computes for long or blocks, or gives it back; never waits. It runs
    /// on one of tokio's threads for blocking work, and can't be stopped once it has begun:
    /// [`Task::blocking`] says what that means, and makes such a task with a priority, a tenant
    /// or a deadline, for any of the ways to submit one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let config = headworks::worker_pool::WorkerPoolConfig::default();
    /// let pool = headworks::WorkerPool::new(config)?;
    /// let sum = pool.try_submit_blocking(|| (1..=1_000).sum::<u64>())?;
    /// assert_eq!(sum.await?, 500_500);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`try_submit`](Self::try_submit).
    ///
    /// # Cost
    ///
    /// As [`try_submit`](Self::try_submit), and where the task begins, what
    /// [`spawn_blocking`](tokio::task::spawn_blocking) costs: an allocation, a lock of tokio's and
    /// the wake-up of a thread, one more of which is started when all are busy.
    pub fn try_submit_blocking<W, R>(&self, work: W) -> Result<TaskHandle<R>, Refused<W>>
    where
        W: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        self.try_submit(Task::blocking(work)).map_err(|refused| {
            refused.map(|task| match task.into_work() {
                Some(work) => work,
                None => unreachable!("refused, so not begun"),
            })
        })
    }

    /// Accepts the task as soon as there is room, or gives it back. Callers wait in a room of
    /// their own, in order of class and as bounded as the queue; the task's deadline ends the
    /// wait.
    ///
    /// ```
    /// use headworks::worker_pool::{Task, WorkerPoolConfig};
    /// use headworks::{Priority, Reason};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let config = WorkerPoolConfig::default();
    /// let pool = headworks::WorkerPool::new(config)?;
    /// let task = || Task::new(async { 6 * 7 }).priority(Priority::High);
    /// let handle = pool.submit(task().within(Duration::from_secs(5))).await?;
    /// assert_eq!(handle.await?, 42);
    ///
    /// pool.close();
    /// let refused = pool.submit(task()).await.unwrap_err();
    /// assert_eq!(refused.reason(), Reason::Closed);
    /// assert_eq!(refused.into_inner().await, 42); // the future has come back, and still runs
    /// # Ok(())
    /// # }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let config = headworks::worker_pool::WorkerPoolConfig::default();
    /// let pool = headworks::WorkerPool::new(config)?;
    /// let mut lines = vec!["first"];
    /// // A refusal gives the future back, which borrows, as no boxed error may: let go of it.
    /// pool.run(async { lines.push("second") }).await.map_err(|refused| refused.map(drop))?;
    /// assert_eq!(lines, ["first", "second"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// It counts as accepted when it gets its seat. From then on it is the caller's: no timeout
    /// and no deadline is applied, for nobody but the caller can drop it, and its
    /// [`on_end`](Task::on_end) is not called. A panic unwinds through
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
    /// While nobody waits and half of the seats are free: no lock, no allocation, and three atomic
    /// read-modify-writes on memory of the thread's own (the claim of a seat, the count of how it
    /// ended, the seat put back). One that is timed, one in 64 unless [`Timing`](super::Timing)
    /// says otherwise, looks at the clock twice beside that and counts what it took. A deadline, a
    /// weight or an [`Adaptive`](super::Adaptive) limit makes it one lock to get the seat and one
    /// to give it back. Who has to wait costs an allocation.
    pub async fn run<F: Future>(&self, task: impl Into<Task<F>>) -> Result<F::Output, Refused<F>> {
        run::inline(&self.owner.shared, task.into()).await
    }

    /// Says that what its tasks call has too much to do, as an answer 429 or 503 says: an
    /// [`Adaptive`](super::Adaptive) limit takes the next task that ends for one that was dropped,
    /// as it does one that times out. To be called inside a task. Nothing with another limit.
    ///
    /// # Cost
    ///
    /// One lock.
    pub fn report_overload(&self) {
        self.owner.shared.with(|core, _, _| core.dropped());
    }

    /// Takes no more work from here on. What was accepted goes on; who waits in `submit` is
    /// refused. Calling it again is harmless.
    ///
    /// # Cost
    ///
    /// One lock, O(1) for each caller that waits in `submit` and each worker that rests.
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
    /// ```
    /// use headworks::TaskError;
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let config = headworks::worker_pool::WorkerPoolConfig::default();
    /// let pool = headworks::WorkerPool::new(config)?;
    /// let done = pool.try_submit(async { 42 })?;
    /// let hangs = pool.try_submit(std::future::pending::<()>())?;
    /// let report = pool.shutdown(Duration::from_millis(10)).await;
    ///
    /// assert_eq!((report.ledger.completed, report.ledger.cancelled), (1, 1));
    /// assert!(report.ledger.is_exact() && report.unresponsive.is_empty());
    /// assert_eq!(done.await?, 42);
    /// assert!(matches!(hangs.await, Err(TaskError::Cancelled)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropped, the pool stays closed and works on; what `within` would have ended is not ended.
    ///
    /// # Cost
    ///
    /// As [`close`](Self::close); then it sleeps until the pool has ended, with a timer unless
    /// `within` is beyond what the clock can say. Past `within`, O(1) for each task that is left.
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

    /// How close the pool is to refusing work, as it changes: see [`Pressure`] for the levels and
    /// their bounds. A watcher sees the newest level; those in between may be skipped. It is told
    /// after the pool's lock is released, so a [`snapshot`](Self::snapshot) may be ahead of it by
    /// a moment. [`close`](Self::close) makes it [`Pressure::Closed`].
    ///
    /// Who holds on to a [`borrow`](tokio::sync::watch::Receiver::borrow) of it holds up whoever
    /// tells the next level: take the value out at once.
    ///
    /// ```
    /// use headworks::worker_pool::{Pressure, WorkerPoolConfig};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = WorkerPoolConfig::default().with_queue_capacity(10);
    /// let pool = headworks::WorkerPool::new(config)?;
    /// let mut pressure = pool.pressure();
    /// let tasks: Vec<_> = (0..4).map(|_| pool.try_submit(async {})).collect::<Result<_, _>>()?;
    /// pressure.wait_for(|level| *level >= Pressure::Elevated).await?;
    /// for task in tasks {
    ///     task.await?;
    /// }
    /// pressure.wait_for(|level| *level == Pressure::Nominal).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cost
    ///
    /// One comparison for each operation; when the level changes, what
    /// [`watch`](tokio::sync::watch) costs.
    #[must_use]
    pub fn pressure(&self) -> watch::Receiver<Pressure> {
        self.owner.shared.pressure()
    }

    /// A look at the pool under its lock: all numbers belong together, but for those of the
    /// histograms, which are counted beside it.
    ///
    /// # Cost
    ///
    /// One lock, and a copy of two histograms. What is accepted beside the lock goes through it again
    /// for a moment: look some times a second, not some thousand.
    #[must_use]
    pub fn snapshot(&self) -> WorkerPoolSnapshot {
        let Owner { shared, name, .. } = &*self.owner;
        let look = shared.with(|core, _, _| core.take_stock());
        WorkerPoolSnapshot::of(name.clone(), look, shared.meters())
    }
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPool").field("name", &self.owner.name).finish_non_exhaustive()
    }
}
