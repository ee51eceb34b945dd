//! What a pool is told.

use std::borrow::Cow;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use crate::gates::wait_queue::{Overload, Rules, Thresholds};
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::rng::Rng;
use crate::{ConfigError, Enforcement};

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
    /// How many tasks may wait, over all classes and tenants; `1..=2^30`. A task waits until a worker
    /// has taken it, also while seats are free: a burst may need as many places as it has tasks. The
    /// waiting room of [`submit`](super::WorkerPool::submit) has as many places of its own.
    /// Default: 2,000.
    pub queue_capacity: usize,
    /// Which share of the queue each class may fill. Default: 0.80, 0.90, 0.95, 1.0.
    pub thresholds: Thresholds,
    /// How many starts in a row may go above a waiting class before it gets one. Default: 32.
    pub starvation_bound: u32,
    /// How much of what the thresholds, their evictions and infeasible deadlines ask for is
    /// carried out. With less than `Full`, what is spared is counted in
    /// [`would_refuse`](super::WorkerPoolSnapshot::would_refuse) and accepted. What can't be
    /// spared: the queue's capacity always holds, with eviction for its places, and so do `TooLarge`,
    /// `Closed` and deadlines that have passed. Default: `Full`.
    pub enforcement: Enforcement,
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

    /// Whether the next one is timed of those that this thread counts here.
    #[inline]
    pub(super) fn includes_next(self, count: &AtomicU64) -> bool {
        if self.mask.is_none() {
            return false;
        }
        // Relaxed, and not one operation: should two threads share the line, a number is used
        // twice, which does not matter.
        let number = count.load(Ordering::Relaxed);
        count.store(number.wrapping_add(1), Ordering::Relaxed);
        self.includes(number)
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
    /// As many as keep the wait in the queue short: for a backend that takes what it is given.
    Autoscale(Autoscale),
    /// As many as the backend can do with: for one that slows down, or refuses, when it has too
    /// much to do.
    Adaptive(Adaptive),
}

impl Default for Concurrency {
    /// Four times the parallelism of the machine: tasks of an operator mostly wait for others. Fixed,
    /// for an idle seat costs one parked task, and a pool that has yet to grow serves nobody
    /// faster than one that has.
    fn default() -> Self {
        Self::Fixed(parallelism().saturating_mul(4))
    }
}

impl From<Autoscale> for Concurrency {
    fn from(autoscale: Autoscale) -> Self {
        Self::Autoscale(autoscale)
    }
}

impl From<Adaptive> for Concurrency {
    fn from(adaptive: Adaptive) -> Self {
        Self::Adaptive(adaptive)
    }
}

fn parallelism() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Seats that follow the wait in the queue.
///
/// It starts with [`min`](Self::min). When tasks have waited, with every seat taken, for
/// [`target_wait`](Self::target_wait), and more of them wait than could be started in that time,
/// it takes as many seats as would have started them all, and those that come meanwhile, in one
/// step. Seats that were not needed for [`idle_after`](Self::idle_after) go, but for one in eight
/// of those that were; they come back the same way as the first ones came. Never two changes
/// within [`cool_down`](Self::cool_down).
///
/// A worker more than there are seats decides, resting until the next decision is due; a submission
/// or the end of a task costs no look at the clock for it. From [`close`](super::WorkerPool::close)
/// on nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Autoscale {
    /// The fewest seats. Default: the parallelism of the machine.
    pub min: usize,
    /// The most seats. A task that weighs more is refused; one that weighs more than there are
    /// just now runs when nobody else does. Default: four times the parallelism.
    pub max: usize,
    /// How long a task may wait before there are more seats. Default: 100 ms.
    pub target_wait: Duration,
    /// The least time from one change to the next. Default: 1 s.
    pub cool_down: Duration,
    /// How long a seat may stay unused: it goes after this time, and twice as much at the latest.
    /// Default: 5 min.
    pub idle_after: Duration,
}

impl Default for Autoscale {
    fn default() -> Self {
        Self {
            min: parallelism(),
            max: parallelism().saturating_mul(4),
            target_wait: Duration::from_millis(100),
            cool_down: Duration::from_secs(1),
            idle_after: Duration::from_secs(300),
        }
    }
}

impl Autoscale {
    /// With these bounds, and every other property at its default.
    #[must_use]
    pub fn between(min: usize, max: usize) -> Self {
        Self { min, max, ..Self::default() }
    }

    /// Sets [`target_wait`](Self::target_wait).
    #[must_use]
    pub fn with_target_wait(mut self, time: Duration) -> Self {
        self.target_wait = time;
        self
    }

    /// Sets [`cool_down`](Self::cool_down).
    #[must_use]
    pub fn with_cool_down(mut self, time: Duration) -> Self {
        self.cool_down = time;
        self
    }

    /// Sets [`idle_after`](Self::idle_after).
    #[must_use]
    pub fn with_idle_after(mut self, time: Duration) -> Self {
        self.idle_after = time;
        self
    }

    fn check(&self) -> Result<(), ConfigError> {
        bounds("worker_pool.concurrency.autoscale", self.min, self.max)?;
        let times = [
            ("worker_pool.concurrency.autoscale.target_wait", self.target_wait),
            ("worker_pool.concurrency.autoscale.cool_down", self.cool_down),
            ("worker_pool.concurrency.autoscale.idle_after", self.idle_after),
        ];
        times.into_iter().try_for_each(|(field, time)| {
            ConfigError::unless(time > Duration::ZERO, field, "0ns", "more than 0")
        })
    }
}

/// Seats by what the backend can do with, found by trying.
///
/// It starts with [`min`](Self::min) and doubles while that doubles the throughput; then it tries a
/// tenth more now and then, and keeps it if at least half of that comes out as throughput. So it
/// does not climb in a saturated backend. When tasks take half as long again as they do in an idle
/// backend, it takes less, unless throughput falls with it. A task that runs out of time, and a
/// [`report_overload`](super::WorkerPool::report_overload), count as dropped: of the share that was
/// dropped, half is taken off the limit.
///
/// Tasks should be alike: of very different ones the mean says little. The time each task takes is
/// measured, whatever [`Timing`] says; those that panic or are cancelled are not counted.
///
/// ```
/// use headworks::WorkerPool;
/// use headworks::worker_pool::{Adaptive, WorkerPoolConfig};
/// use std::time::Duration;
///
/// /// A status.
/// async fn call_the_backend() -> u16 {
///     200
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = WorkerPoolConfig::default()
///     .with_concurrency(Adaptive::between(2, 200))
///     .with_task_timeout(Some(Duration::from_secs(5)));
/// let pool = WorkerPool::new(config)?;
/// let inside = pool.clone();
/// let status = pool.try_submit(async move {
///     let status = call_the_backend().await;
///     if status == 429 || status == 503 {
///         inside.report_overload();
///     }
///     status
/// })?;
/// assert_eq!(status.await?, 200);
/// assert_eq!(pool.snapshot().limit, 2); // where it begins; it follows what it measures
/// # Ok(())
/// # }
/// ```
///
/// # How the adaptive limit was chosen
///
/// Three rules that say by latency whether a limit should go up or down, each with the same guard:
/// more concurrency is kept only if it brought more throughput, less only if it did not cost it (the
/// auto-tuner of Uber's Cinnamon looks at the covariance of the two for the same reason). In a
/// simulated backend that can do 1,000 calls a second, 100 at once, 100 ms each (σ = 0.3), with one
/// always waiting, from a limit of 1 on; mean of 8 seeds over 240 s. Each cell: goodput of what is
/// possible, 99th percentile of a call, how far above the knee the limit was on average.
///
/// | backend | AIMD | Gradient2 | **Vegas** | Gradient2, no guard | Vegas, no guard |
/// |---|---|---|---|---|---|
/// | saturated | 97 %, 207 ms, 6 % | 97 %, 207 ms, 6 % | 97 %, 207 ms, 6 % | 92 %, 365 ms, 65 % | 98 %, 350 ms, 64 % |
/// | thrashes when overloaded | 95 %, 208 ms, 3 % | 95 %, 208 ms, 3 % | 95 %, 208 ms, 3 % | 77 %, 370 ms, 40 % | 82 %, 367 ms, 40 % |
/// | noisy (σ = 1) | 88 %, 654 ms, 4 % | 88 %, 654 ms, 4 % | 88 %, 651 ms, 3 % | 73 %, 825 ms, 21 % | 89 %, 871 ms, 33 % |
/// | 1 % hang, 5 s each | 68 %, 296 ms, 42 % | 67 %, 289 ms, 39 % | 66 %, 256 ms, 28 % | 68 %, 344 ms, 53 % | 21 %, 192 ms, 0 % |
/// | capacity × 0.3 for 80 s, and back | 97 %, 523 ms, 92 % | 94 %, 294 ms, 30 % | 94 %, 223 ms, 12 % | 88 %, 404 ms, 58 % | 98 %, 619 ms, 134 % |
/// | a call takes twice as long from 80 s on | 96 %, 379 ms, 6 % | 96 %, 373 ms, 5 % | 96 %, 379 ms, 6 % | 76 %, 376 ms, 6 % | 97 %, 480 ms, 29 % |
/// | capacity drifts by ± 60 % | 97 %, 532 ms, 100 % | 96 %, 298 ms, 39 % | 96 %, 231 ms, 15 % | 83 %, 327 ms, 52 % | 98 %, 346 ms, 64 % |
/// | demand at 0.7 of it | 99 %, 196 ms, 2 % | 99 %, 196 ms, 2 % | 99 %, 196 ms, 2 % | 96 %, 192 ms, 57 % | 100 %, 193 ms, 96 % |
///
/// After the fall of capacity Vegas has its limit there within 4 s, and full goodput 7 s after its
/// return; AIMD and Gradient2 never come down to 1.5 × the knee. When every call takes exactly its
/// timeout of 5 s for ten minutes the limit falls to its minimum; in a backend that stays saturated
/// for a day it stays within 15 %, where Gradient2 without the guard climbs to its maximum.
/// `HEADWORKS_SEEDS=8 cargo test --all-features --lib limit::simulation -- --nocapture` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Adaptive {
    /// The fewest seats. Default: 1.
    pub min: usize,
    /// The most seats. A task that weighs more is refused; one that weighs more than there are
    /// just now runs when nobody else does. Default: 1,000.
    pub max: usize,
}

impl Default for Adaptive {
    fn default() -> Self {
        Self { min: 1, max: 1_000 }
    }
}

impl Adaptive {
    /// With these bounds.
    #[must_use]
    pub fn between(min: usize, max: usize) -> Self {
        Self { min, max }
    }
}

fn bounds(field: &'static str, min: usize, max: usize) -> Result<(), ConfigError> {
    let value = format_args!("{min}..={max}");
    let is_good = min >= 1 && min <= max && max <= MOST_SEATS;
    ConfigError::unless(is_good, field, value, "1 ≤ min ≤ max ≤ 65536")
}

impl Default for WorkerPoolConfig {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("worker_pool"),
            queue_capacity: 2_000,
            thresholds: Thresholds::default(),
            starvation_bound: Rules::STARVATION_BOUND,
            enforcement: Enforcement::Full,
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

    /// Sets [`enforcement`](Self::enforcement).
    #[must_use]
    pub fn with_enforcement(mut self, enforcement: Enforcement) -> Self {
        self.enforcement = enforcement;
        self
    }

    /// Sets [`concurrency`](Self::concurrency).
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: impl Into<Concurrency>) -> Self {
        self.concurrency = concurrency.into();
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
        let scale = Scale::of(self.concurrency)?;
        ConfigError::unless(
            (1..=MOST_PLACES).contains(&self.queue_capacity),
            "worker_pool.queue_capacity",
            self.queue_capacity,
            "1..=1073741824",
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
        self.enforcement.check("worker_pool.enforcement")?;
        self.overload.check("worker_pool.overload")?;
        Ok(Limits {
            rules: Rules {
                thresholds: self.thresholds,
                starvation_bound: self.starvation_bound,
                overload: self.overload,
                ..Rules::new(self.queue_capacity)
            },
            scale,
            timing: match scale {
                Scale::Adaptive { .. } => Sample::of(Timing::All),
                _ => Sample::of(self.timing),
            },
            enforcement: self.enforcement,
            seed: Rng::from_entropy().next(),
        })
    }
}

/// A checked configuration, as the core wants it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) rules: Rules,
    pub(super) scale: Scale,
    pub(super) timing: Sample,
    pub(super) enforcement: Enforcement,
    /// Of the chance by which a share is refused.
    pub(super) seed: u64,
}

/// The same of who decides the limit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    Fixed(u32),
    Autoscale(Autoscale),
    Adaptive { min: u32, max: u32 },
}

impl Scale {
    fn of(concurrency: Concurrency) -> Result<Self, ConfigError> {
        Ok(match concurrency {
            Concurrency::Fixed(seats) => {
                let is_good = (1..=MOST_SEATS).contains(&seats);
                ConfigError::unless(is_good, "worker_pool.concurrency", seats, "1..=65536")?;
                // Checked here as below: at most 2^16.
                Self::Fixed(seats as u32)
            }
            Concurrency::Autoscale(autoscale) => {
                autoscale.check()?;
                Self::Autoscale(autoscale)
            }
            Concurrency::Adaptive(Adaptive { min, max }) => {
                bounds("worker_pool.concurrency.adaptive", min, max)?;
                Self::Adaptive { min: min as u32, max: max as u32 }
            }
        })
    }

    /// Seats to begin with, and at the most.
    pub(super) fn bounds(self) -> (u32, u32) {
        match self {
            Self::Fixed(seats) => (seats, seats),
            Self::Autoscale(Autoscale { min, max, .. }) => (min as u32, max as u32),
            Self::Adaptive { min, max } => (min, max),
        }
    }

    pub(super) fn changes(self) -> bool {
        !matches!(self, Self::Fixed(_))
    }
}
