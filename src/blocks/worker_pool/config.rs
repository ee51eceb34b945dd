//! What a pool is told.

use std::borrow::Cow;
use std::thread;
use std::time::Duration;

use crate::ConfigError;
use crate::gates::wait_queue::{Overload, Rules, Thresholds};

/// The most places a queue may have: what its 32-bit links can name, with room to spare.
const MOST_PLACES: usize = 1 << 30;
/// The most seats: each is a worker, and more of them than this is a mistake in the unit.
const MOST_SEATS: usize = 1 << 16;

/// Configuration of a [`WorkerPool`](super::WorkerPool). Plain data; checked by
/// [`WorkerPool::new`](super::WorkerPool::new).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct WorkerPoolConfig {
    /// Tells this pool from others in snapshots, metrics and logs. Default: `"worker_pool"`.
    pub name: Cow<'static, str>,
    /// How many tasks may wait, over all classes and tenants. The waiting room of
    /// [`submit`](super::WorkerPool::submit) has as many places of its own. Default: 2,000.
    pub queue_capacity: usize,
    /// Which share of the queue each class may fill. Default: 0.80, 0.90, 0.95, 1.0.
    pub thresholds: Thresholds,
    /// How many starts in a row may go above a waiting class before it gets one. Default: 32.
    pub starvation_bound: u32,
    /// How many tasks run at once. Default: four times the parallelism of the machine.
    pub concurrency: Concurrency,
    /// How long a task may run unless it says otherwise; `None`: for ever. Default: 60 s.
    pub task_timeout: Option<Duration>,
    /// How many of the tasks are timed. Default: one in 64.
    pub timing: Timing,
    /// Which classes shed load when their queue stands; what is shed ends
    /// [`Evicted`](crate::TaskError::Evicted). Default: none.
    pub overload: Overload,
}

/// How many of a pool's tasks are timed: a look at the clock costs as much as a short task does
/// beside its work. What is timed feeds the mean service time, and so `retry_after` and the check
/// whether a deadline can be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Timing {
    /// None: no estimate is made.
    Off,
    /// As many as this at first, and then one in as many, rounded up to a power of two.
    Sampled(u32),
    /// Every one.
    All,
}

impl Default for Timing {
    fn default() -> Self {
        Self::Sampled(64)
    }
}

/// Which tasks are timed, by their numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// One less than a power of two.
    mask: Option<u64>,
}

impl Sample {
    fn of(timing: Timing) -> Self {
        let mask = match timing {
            Timing::Off => None,
            Timing::Sampled(one_in) => Some(u64::from(one_in).next_power_of_two() - 1),
            Timing::All => Some(0),
        };
        Self { mask }
    }

    pub(super) fn includes(self, number: u64) -> bool {
        self.mask.is_some_and(|mask| number <= mask || number & mask == 0)
    }

    pub(super) fn is_on(self) -> bool {
        self.mask.is_some()
    }

    /// How many in a row need not be timed, once so many have been.
    pub(super) fn untimed(self, number: u64) -> u64 {
        self.mask.map_or(u64::MAX, |mask| if number > mask { mask } else { 0 })
    }
}

/// Who decides how many seats a pool has. A task takes as many seats as it weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Concurrency {
    /// Always so many.
    Fixed(usize),
}

impl Default for Concurrency {
    /// Four times the parallelism of the machine: tasks of an operator mostly wait for others.
    fn default() -> Self {
        Self::Fixed(thread::available_parallelism().map_or(4, |n| n.get().saturating_mul(4)))
    }
}

impl Default for WorkerPoolConfig {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("worker_pool"),
            queue_capacity: 2_000,
            thresholds: Thresholds::default(),
            starvation_bound: Rules::STARVATION_BOUND,
            concurrency: Concurrency::default(),
            task_timeout: Some(Duration::from_secs(60)),
            timing: Timing::default(),
            overload: Overload::default(),
        }
    }
}

impl WorkerPoolConfig {
    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets [`queue_capacity`](Self::queue_capacity).
    #[must_use]
    pub fn with_queue_capacity(mut self, places: usize) -> Self {
        self.queue_capacity = places;
        self
    }

    /// Sets [`thresholds`](Self::thresholds).
    #[must_use]
    pub fn with_thresholds(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// Sets [`starvation_bound`](Self::starvation_bound).
    #[must_use]
    pub fn with_starvation_bound(mut self, starts: u32) -> Self {
        self.starvation_bound = starts;
        self
    }

    /// Sets [`concurrency`](Self::concurrency).
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: Concurrency) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Sets [`task_timeout`](Self::task_timeout).
    #[must_use]
    pub fn with_task_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.task_timeout = timeout;
        self
    }

    /// Sets [`timing`](Self::timing).
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Sets [`overload`](Self::overload).
    #[must_use]
    pub fn with_overload(mut self, overload: Overload) -> Self {
        self.overload = overload;
        self
    }

    pub(super) fn check(&self) -> Result<Limits, ConfigError> {
        let Concurrency::Fixed(seats) = self.concurrency;
        ConfigError::unless(
            (1..=MOST_PLACES).contains(&self.queue_capacity),
            "worker_pool.queue_capacity",
            self.queue_capacity,
            "1..=1073741824",
        )?;
        ConfigError::unless(
            (1..=MOST_SEATS).contains(&seats),
            "worker_pool.concurrency",
            seats,
            "1..=65536",
        )?;
        ConfigError::unless(
            self.starvation_bound >= 1,
            "worker_pool.starvation_bound",
            self.starvation_bound,
            "at least 1",
        )?;
        ConfigError::unless(
            self.task_timeout != Some(Duration::ZERO),
            "worker_pool.task_timeout",
            "0ns",
            "more than 0, or `None`",
        )?;
        ConfigError::unless(
            self.timing != Timing::Sampled(0),
            "worker_pool.timing",
            "one in 0",
            "one in 1 or more",
        )?;
        self.thresholds.check("worker_pool.thresholds")?;
        self.overload.check("worker_pool.overload")?;
        Ok(Limits {
            rules: Rules {
                thresholds: self.thresholds,
                starvation_bound: self.starvation_bound,
                overload: self.overload,
                ..Rules::new(self.queue_capacity)
            },
            // At most 2^16, checked above.
            seats: seats as u32,
            timing: Sample::of(self.timing),
        })
    }
}

/// A checked configuration, as the core wants it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) rules: Rules,
    pub(super) seats: u32,
    pub(super) timing: Sample,
}
