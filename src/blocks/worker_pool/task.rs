//! What is submitted: a future, and how it wants to be treated.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crate::Priority;
use crate::gates::wait_queue::Place;
use crate::ground::tenant::Tenant;
use crate::ground::time;

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
    pub(super) timeout: Option<Duration>,
}

impl<F: Future> Task<F> {
    /// With every property at its default.
    pub fn new(future: F) -> Self {
        Self { future, place: Place::new(Priority::Normal), timeout: None }
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
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.place.deadline = Some(deadline);
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
        self.timeout = Some(timeout);
        self
    }

    /// How many seats it takes. Default: 1.
    pub fn weight(mut self, seats: NonZeroU32) -> Self {
        self.place.weight = seats;
        self
    }
}

/// What most tasks do not have.
#[derive(Debug)]
pub(super) struct Options {
    timeout: Option<Duration>,
    deadline: Option<Instant>,
}

impl Options {
    pub(super) fn of<F>(task: &Task<F>) -> Option<Box<Self>> {
        let Task { timeout, place, .. } = task;
        let rare = timeout.is_some() || place.deadline.is_some();
        rare.then(|| Box::new(Self { timeout: *timeout, deadline: place.deadline }))
    }

    /// By when a task must have ended that began at `start`: by its deadline, and by its timeout
    /// or else the pool's.
    pub(super) fn limit(
        options: Option<&Self>,
        of_pool: Option<Duration>,
        start: Instant,
    ) -> Option<Instant> {
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
            .field("timeout", &self.timeout)
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
