//! What is submitted: a future, and how it wants to be treated.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tracing::Span;
use tracing::level_filters::LevelFilter;

use super::error::TaskError;
use super::meters::Meters;
use crate::Priority;
use crate::gates::wait_queue::Place;
use crate::ground::tenant::Tenant;
use crate::ground::time::{self, Instant};

/// A future with its priority, tenant, deadline, timeout and weight. Any future is one, with
/// `Normal` priority, no tenant, no deadline, the pool's timeout and weight 1.
///
/// ```
/// use headworks::{Priority, worker_pool::Task};
/// use std::time::Duration;
///
/// let task = Task::new(async { 2 + 2 })
///     .priority(Priority::High)
///     .tenant("team-a")
///     .timeout(Duration::from_secs(5));
/// # drop(task);
/// ```
#[must_use = "a task does nothing until it is submitted"]
pub struct Task<F> {
    pub(super) future: F,
    pub(super) place: Place,
    pub(super) options: Option<Box<Options>>,
}

impl<F> Task<F> {
    /// Keeps the span that is entered here, if somebody listens. It asks the subscriber, somebody
    /// else's code: not under a lock.
    #[inline]
    pub(super) fn trace(&mut self) {
        if LevelFilter::current() != LevelFilter::OFF {
            self.keep_span();
        }
    }

    #[cold]
    fn keep_span(&mut self) {
        let span = Span::current();
        if !span.is_disabled() {
            self.options.get_or_insert_default().span = Some(span);
        }
    }
}

impl<F: Future> Task<F> {
    /// With every property at its default.
    pub fn new(future: F) -> Self {
        Self { future, place: Place::new(Priority::Normal), options: None }
    }

    /// Its class. Default: [`Priority::Normal`].
    pub fn priority(mut self, class: Priority) -> Self {
        self.place.class = class;
        self
    }

    /// Whose it is: tenants of one class share the pool fairly, by seats. Default: nobody's, and
    /// all of nobody's tasks are one tenant.
    pub fn tenant(mut self, name: &(impl Hash + ?Sized)) -> Self {
        self.place.tenant = Tenant::of(name);
        self
    }

    /// Finish by then. Passed while it waits: it is never started, and ends `Expired`; passed
    /// while it runs: its future is dropped, and it ends `TimedOut`. Default: none.
    pub fn deadline(mut self, deadline: impl Into<Instant>) -> Self {
        self.place.deadline = Some(deadline.into());
        self
    }

    /// Sets the [`deadline`](Self::deadline) so long from now.
    pub fn within(mut self, time: Duration) -> Self {
        self.place.deadline = time::later(time::now(), time);
        self
    }

    /// The longest it may run, counted from its first await point; then its future is dropped.
    /// Default: the pool's [`task_timeout`](super::WorkerPoolConfig::task_timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.get_or_insert_default().timeout = Some(timeout);
        self
    }

    /// How many seats it takes. Default: 1.
    pub fn weight(mut self, seats: NonZeroU32) -> Self {
        self.place.weight = seats;
        self
    }

    /// Called once with the result when the task has ended, however: also when it was never
    /// started, and when its handle was dropped. It is part of the task: what ran keeps its seat
    /// meanwhile, and a shutdown waits for it as for the task. A panic in it is contained and
    /// counted ([`callback_panics`](super::WorkerPoolSnapshot::callback_panics)).
    ///
    /// It runs on whatever thread ends the task: a worker, or a caller who evicts or cancels it.
    /// So it should be short; one that submits may evict others, whose callbacks then run inside it.
    /// It is not called for a task that was refused, nor by
    /// [`run`](super::WorkerPool::run). Default: none; another one takes its place.
    ///
    /// ```
    /// use headworks::worker_pool::{Task, WorkerPoolConfig};
    /// use std::sync::mpsc;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = headworks::WorkerPool::new(WorkerPoolConfig::default())?;
    /// let (tell, told) = mpsc::sync_channel(1);
    /// let task = Task::new(async { 2 + 2 })
    ///     .on_end(move |result| drop(tell.send(result.as_ref().ok().copied())));
    /// pool.try_submit(task)?.await?;
    /// assert_eq!(told.recv()?, Some(4));
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_end<C>(mut self, callback: C) -> Self
    where
        F: 'static,
        C: FnOnce(&Result<F::Output, TaskError>) + Send + 'static,
    {
        let callback: Callback<F::Output> = Box::new(callback);
        self.options.get_or_insert_default().on_end = Some(Box::new(callback));
        self
    }
}

/// Called with the result of a task.
pub(super) type Callback<T> = Box<dyn FnOnce(&Result<T, TaskError>) + Send>;

/// What most tasks do not have.
#[derive(Default)]
pub(super) struct Options {
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    /// A [`Callback`] of the task's result.
    pub(super) on_end: Option<Box<dyn Any + Send>>,
    /// The submitter's.
    pub(super) span: Option<Span>,
    /// When it was submitted, of those that are timed.
    pub(super) came: Option<Instant>,
    /// What is counted outside of the lock. Set whenever something is to be counted.
    pub(super) meters: Option<Arc<Meters>>,
    pub(super) stops: Stops,
}

/// Whether a task can be stopped once it has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stops {
    /// At its next await point.
    #[default]
    Any,
    /// Only before it begins: it runs on a thread of its own.
    BeforeItBegins,
    /// It has begun.
    Never,
}

impl Options {
    /// With what the submission adds; `None` for a plain task, which is most of them.
    #[inline]
    pub(super) fn fit(
        options: Option<Box<Self>>,
        deadline: Option<Instant>,
        meters: &Arc<Meters>,
    ) -> Option<Box<Self>> {
        let is_timed = meters.times_next();
        if options.is_none() && deadline.is_none() && !is_timed {
            return None;
        }
        Some(Self::fitted(options, deadline, is_timed, meters))
    }

    #[cold]
    fn fitted(
        options: Option<Box<Self>>,
        deadline: Option<Instant>,
        is_timed: bool,
        meters: &Arc<Meters>,
    ) -> Box<Self> {
        let mut fitted = options.unwrap_or_default();
        if is_timed || fitted.on_end.is_some() {
            fitted.meters = Some(Arc::clone(meters));
        }
        fitted.came = is_timed.then(time::now);
        fitted.deadline = deadline;
        fitted
    }

    /// It is about to be polled.
    pub(super) fn begin(&mut self) {
        if let Some(came) = self.came.take() {
            let meters = self.meters.as_ref();
            meters
                .inspect(|meters| meters.waits.record(time::now().saturating_duration_since(came)));
        }
        if self.stops == Stops::BeforeItBegins {
            self.stops = Stops::Never;
        }
    }

    /// By when a task must have ended that began at `start`: by its deadline, and by its timeout
    /// or else the pool's. Never, if nothing can stop it.
    pub(super) fn limit(
        options: Option<&Self>,
        of_pool: Option<Duration>,
        start: Instant,
    ) -> Option<Instant> {
        if options.is_some_and(|options| options.stops != Stops::Any) {
            return None;
        }
        let timeout = options.and_then(|options| options.timeout).or(of_pool);
        let timeout = timeout.and_then(|timeout| time::later(start, timeout));
        time::earlier(timeout, options.and_then(|options| options.deadline))
    }
}

impl<F: Future> From<F> for Task<F> {
    fn from(future: F) -> Self {
        Self::new(future)
    }
}

impl<F> fmt::Debug for Task<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("place", &self.place)
            .field("timeout", &self.options.as_ref().and_then(|options| options.timeout))
            .finish_non_exhaustive()
    }
}

/// Names one task of a pool, for logs and for the report of a shutdown. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub(super) u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
