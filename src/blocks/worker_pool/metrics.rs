//! What a pool tells about itself.

use std::borrow::Cow;
use std::time::Duration;

use super::core::Look;
use super::meters::Meters;
use super::task::TaskId;
use crate::ground::metrics::{Histogram, Metric, MetricValue};
use crate::{Ledger, Priority, Reason};

/// One look at a pool, taken under its lock: the numbers belong together.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WorkerPoolSnapshot {
    /// The pool's name.
    pub name: Cow<'static, str>,
    /// Waiting in the queue by class, lowest first: tasks, and callers of `run`.
    pub depth: [usize; 4],
    /// Places in the queue.
    pub capacity: usize,
    /// Seats taken.
    pub busy: u32,
    /// Seats there are now. More may be taken for a while after it fell.
    pub limit: u32,
    /// How often the limit has changed.
    pub limit_changes: u64,
    /// Callers of `submit` that wait to be accepted.
    pub room: usize,
    /// Where everything accepted has gone. `live` is counted from the queue and the seats, not
    /// derived from the rest.
    pub ledger: Ledger,
    /// What was not accepted.
    pub refused: Refusals,
    /// What was accepted only because [`enforcement`](super::WorkerPoolConfig::enforcement) is
    /// not full: `queue_full` and `deadline_infeasible` would have been refused (or have had to
    /// wait, in [`submit`](super::WorkerPool::submit)); `evicted` were spared by those that would
    /// have taken their places.
    pub would_refuse: Refusals,
    /// How long a task runs, as an exponentially weighted mean; `None` below 20 samples.
    pub mean_service: Option<Duration>,
    /// From the submission to the seat, of what stood in the queue and got one. Only of those that
    /// are [timed](super::WorkerPoolConfig::timing).
    pub queue_wait: Histogram,
    /// From the seat to the end, of what completed or failed. Only of those that are timed.
    pub run_time: Histogram,
    /// Callbacks ([`Task::on_end`](super::Task::on_end)) that panicked.
    pub callback_panics: u64,
}

impl WorkerPoolSnapshot {
    pub(super) fn of(name: Cow<'static, str>, look: Look, meters: &Meters) -> Self {
        Self {
            name,
            depth: look.depth,
            capacity: look.capacity,
            busy: look.busy,
            limit: look.limit,
            limit_changes: look.limit_changes,
            room: look.room,
            ledger: look.ledger,
            refused: look.refused,
            would_refuse: look.would_refuse,
            mean_service: look.mean_service,
            queue_wait: meters.waits.look(),
            run_time: meters.runs.look(),
            callback_panics: meters.callback_panics.get(),
        }
    }

    /// Every number under the name it has in a metrics system, for whichever exporter there is;
    /// the label that tells pools apart is the [`name`](Self::name). All start at zero when the
    /// pool is made. What was *submitted* is what was accepted and what was rejected; *dropped* is
    /// what was rejected, evicted or expired.
    ///
    /// ```
    /// use headworks::worker_pool::{MetricValue, WorkerPoolConfig};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = WorkerPoolConfig::default().with_name("mail");
    /// let pool = headworks::WorkerPool::new(config)?;
    /// pool.try_submit(async {})?.await?;
    /// let snapshot = pool.snapshot();
    /// let mut lines = Vec::new();
    /// for metric in snapshot.metrics() {
    ///     let name = metric.name;
    ///     let labels = format!("{{pool=\"{}\"}}", snapshot.name);
    ///     match metric.value {
    ///         MetricValue::Counter(n) | MetricValue::Gauge(n) => {
    ///             lines.push(format!("{name}{labels} {n}"));
    ///         }
    ///         MetricValue::Histogram(seen) => {
    ///             lines.push(format!("{name}_count{labels} {}", seen.count()));
    ///         }
    ///     }
    /// }
    /// assert!(lines.contains(&"worker_pool_tasks_completed_total{pool=\"mail\"} 1".to_owned()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn metrics(&self) -> impl Iterator<Item = Metric<'_>> {
        use MetricValue::{Counter, Gauge, Histogram};
        let Ledger { completed, failed, cancelled, expired, evicted, returned, .. } = self.ledger;
        let rejected = self.refused.total();
        Metric::all([
            ("worker_pool_queue_depth", Gauge(self.queued() as u64)),
            ("worker_pool_queue_capacity", Gauge(self.capacity as u64)),
            ("worker_pool_tasks_submitted_total", Counter(self.ledger.accepted + rejected)),
            ("worker_pool_tasks_completed_total", Counter(completed)),
            ("worker_pool_tasks_failed_total", Counter(failed)),
            ("worker_pool_tasks_cancelled_total", Counter(cancelled)),
            ("worker_pool_tasks_expired_total", Counter(expired)),
            ("worker_pool_tasks_evicted_total", Counter(evicted)),
            ("worker_pool_tasks_returned_total", Counter(returned)),
            ("worker_pool_tasks_rejected_total", Counter(rejected)),
            ("worker_pool_tasks_dropped_total", Counter(rejected + evicted + expired)),
            ("worker_pool_queue_wait_seconds", Histogram(&self.queue_wait)),
        ])
    }

    /// Waiting in the queue, in this class.
    #[must_use]
    pub fn depth_of(&self, class: Priority) -> usize {
        self.depth[class.index()]
    }

    /// Waiting in the queue, in all classes.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.depth.iter().sum()
    }
}

/// How many were not accepted since the pool was made, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusals {
    /// [`Reason::QueueFull`].
    pub queue_full: u64,
    /// [`Reason::DeadlineInfeasible`].
    pub deadline_infeasible: u64,
    /// [`Reason::TooLarge`].
    pub too_large: u64,
    /// [`Reason::Evicted`]: displaced in the waiting room, or waiting inside `run`.
    pub evicted: u64,
    /// [`Reason::Expired`]: in the waiting room, or waiting inside `run`.
    pub expired: u64,
    /// [`Reason::Closed`].
    pub closed: u64,
}

impl Refusals {
    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { queue_full, deadline_infeasible, too_large, evicted, expired, closed } = self;
        queue_full + deadline_infeasible + too_large + evicted + expired + closed
    }

    pub(super) fn count(&mut self, reason: Reason, n: u64) {
        *match reason {
            Reason::DeadlineInfeasible => &mut self.deadline_infeasible,
            Reason::TooLarge => &mut self.too_large,
            Reason::Evicted => &mut self.evicted,
            Reason::Expired => &mut self.expired,
            Reason::Closed => &mut self.closed,
            // A pool has no other reasons; a new one would be some kind of full.
            _ => &mut self.queue_full,
        } += n;
    }
}

/// What a shutdown leaves behind.
///
/// ```
/// use headworks::WorkerPool;
/// use headworks::worker_pool::WorkerPoolConfig;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = WorkerPool::new(WorkerPoolConfig::default())?;
/// let quick = pool.try_submit(async { 7 })?;
/// let endless = pool.try_submit(std::future::pending::<()>())?;
/// assert_eq!(quick.await?, 7);
///
/// let report = pool.shutdown(Duration::from_millis(10)).await;
/// let ledger = report.ledger;
/// println!("{} done, {} cut short", ledger.completed, ledger.cancelled);
/// assert!(ledger.is_exact() && endless.await.is_err());
/// for id in &report.unresponsive {
///     eprintln!("task {id:?} still runs");
/// }
/// assert_eq!(ledger.live, 0, "else the tasks above, and callers that are inside of `run`");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Where everything accepted has gone. `live` is `unresponsive` and `in_run` together.
    pub ledger: Ledger,
    /// Tasks that were not seen off within 100 ms after they had been told to stop: mostly because
    /// they do not come to an await point, or because their thread had no time for them.
    pub unresponsive: Vec<TaskId>,
    /// Callers that are still inside [`run`](super::WorkerPool::run), and tasks that run where they
    /// are awaited (see [`TaskHandle`](super::TaskHandle)): these end when they are polled.
    pub in_run: u32,
}
