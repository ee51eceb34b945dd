//! The retry budget: retries are a share of what succeeds, so they can't make an outage worse.

use std::borrow::Cow;
use std::sync::Arc;

use crate::ground::config_error::ConfigError;
use crate::ground::metrics::{Counter, Metric, MetricValue};
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::time::{self, Instant};

/// How much may be retried. Plain data; checked by [`RetryBudget::new`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct RetryBudgetConfig {
    /// The label of its metrics. Default: `"retry"`.
    pub name: Cow<'static, str>,
    /// How much of a retry each success earns, 0 to 10, counted in millionths. Default: 0.2.
    pub ratio: f64,
    /// Retries per second that are always there, so that a quiet client can retry at all; at most
    /// 1,000,000. Default: 3.
    pub floor_per_second: u32,
    /// The most retries that earnings add up to: what a long good time can spend in a bad one.
    /// At most 1,000,000. Default: 100.
    pub most: u32,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self { name: Cow::Borrowed("retry"), ratio: 0.2, floor_per_second: 3, most: 100 }
    }
}

impl RetryBudgetConfig {
    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets [`ratio`](Self::ratio).
    #[must_use]
    pub fn with_ratio(mut self, ratio: f64) -> Self {
        self.ratio = ratio;
        self
    }

    /// Sets [`floor_per_second`](Self::floor_per_second).
    #[must_use]
    pub fn with_floor_per_second(mut self, floor: u32) -> Self {
        self.floor_per_second = floor;
        self
    }

    /// Sets [`most`](Self::most).
    #[must_use]
    pub fn with_most(mut self, most: u32) -> Self {
        self.most = most;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let ratio = self.ratio;
        let allowed = "0..=10";
        ConfigError::unless((0.0..=10.0).contains(&ratio), "retry.budget.ratio", ratio, allowed)?;
        for (field, value) in [
            ("retry.budget.floor_per_second", self.floor_per_second),
            ("retry.budget.most", self.most),
        ] {
            ConfigError::unless(value <= 1_000_000, field, value, "at most 1000000")?;
        }
        Ok(())
    }
}

/// No retry is left to spend. Says nothing about the call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the retry budget is spent")]
pub struct BudgetSpent;

/// Retries and hedges to share among all who call one backend. Clones are the same budget.
///
/// Each success earns [`ratio`](RetryBudgetConfig::ratio) of a retry, and a floor per second is
/// always there: over any time *t*, retries ≤ ratio × successes + floor × (*t* + 1 s) + what was
/// saved before, at most [`most`](RetryBudgetConfig::most). So when all fails, retries add next to
/// nothing. After Finagle's `RetryBudget` and the retry quota of the AWS SDKs; Finagle lets
/// savings expire after 10 s, here a cap bounds them.
///
/// # Cost
/// No lock. A success while the savings are full, as they are in good times, reads one word and
/// writes none; else one compare-and-swap. No allocation.
///
/// # Examples
/// ```
/// use headworks::retry::{RetryBudget, RetryBudgetConfig};
///
/// let budget = RetryBudget::new(RetryBudgetConfig::default().with_floor_per_second(0))?;
/// assert!(budget.try_withdraw().is_err());
/// for _ in 0..5 {
///     budget.success();
/// }
/// assert!(budget.try_withdraw().is_ok());
/// assert!(budget.try_withdraw().is_err());
/// # Ok::<(), headworks::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RetryBudget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: Cow<'static, str>,
    savings: Savings,
    floor: Option<Floor>,
    withdrawn: Counter,
    refused: Counter,
}

/// What a budget has done since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryBudgetSnapshot {
    /// Retries and hedges paid for.
    pub withdrawn: u64,
    /// Retries and hedges refused.
    pub refused: u64,
    /// Whole retries saved up now, beside the floor.
    pub saved: u64,
}

impl RetryBudgetSnapshot {
    /// Every number under the name it has in a metrics system; what ends in `_total` only grows.
    /// The label that tells budgets apart is [`RetryBudget::name`].
    pub fn metrics(&self) -> impl Iterator<Item = Metric<'static>> {
        use MetricValue::{Counter, Gauge};
        Metric::all([
            ("retry_budget_withdrawn_total", Counter(self.withdrawn)),
            ("retry_budget_refused_total", Counter(self.refused)),
            ("retry_budget_saved", Gauge(self.saved)),
        ])
    }
}

impl RetryBudget {
    /// A budget with its floor and no savings.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work.
    pub fn new(config: RetryBudgetConfig) -> Result<Self, ConfigError> {
        Self::new_at(config, time::now())
    }

    pub(crate) fn new_at(config: RetryBudgetConfig, now: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let shared = Shared {
            savings: Savings::new(&config),
            floor: Floor::new(config.floor_per_second, now),
            name: config.name,
            withdrawn: Counter::default(),
            refused: Counter::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The label of its metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// A call succeeded, first attempt or not.
    #[inline]
    pub fn success(&self) {
        self.shared.savings.earn();
    }

    /// Pays for one retry.
    ///
    /// # Errors
    /// [`BudgetSpent`]: don't retry now.
    pub fn try_withdraw(&self) -> Result<(), BudgetSpent> {
        self.try_withdraw_at(time::now())
    }

    /// The floor first: it can't be saved up, savings can.
    pub(crate) fn try_withdraw_at(&self, now: Instant) -> Result<(), BudgetSpent> {
        let Shared { savings, floor, withdrawn, refused, .. } = &*self.shared;
        let is_paid = floor.as_ref().is_some_and(|floor| floor.take(now)) || savings.take();
        if is_paid {
            withdrawn.add(1);
            return Ok(());
        }
        refused.add(1);
        Err(BudgetSpent)
    }

    /// The counts.
    #[must_use]
    pub fn snapshot(&self) -> RetryBudgetSnapshot {
        let Shared { savings, withdrawn, refused, .. } = &*self.shared;
        RetryBudgetSnapshot {
            withdrawn: withdrawn.get(),
            refused: refused.get(),
            saved: savings.saved(),
        }
    }
}

/// Millionths of a retry, so that sums are exact.
pub(super) const ONE: u64 = 1_000_000;

/// What successes have earned and nobody has spent: one word, never above `most`.
#[derive(Debug)]
struct Savings {
    // Relaxed, wherever it is used: the word is all there is to know, and every change is one
    // exchange that checks it.
    word: AtomicU64,
    most: u64,
    earned: u64,
}

impl Savings {
    fn new(config: &RetryBudgetConfig) -> Self {
        Self {
            word: AtomicU64::new(0),
            most: u64::from(config.most) * ONE,
            earned: (config.ratio * ONE as f64).round() as u64,
        }
    }

    #[inline]
    fn earn(&self) {
        let mut was = self.word.load(Ordering::Relaxed);
        loop {
            let sum = (was + self.earned).min(self.most);
            if sum == was {
                // Full: threads that only succeed share the line for reading.
                return;
            }
            match self.word.compare_exchange_weak(was, sum, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => was = now,
            }
        }
    }

    fn take(&self) -> bool {
        let mut was = self.word.load(Ordering::Relaxed);
        while let Some(rest) = was.checked_sub(ONE) {
            match self.word.compare_exchange_weak(was, rest, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => was = now,
            }
        }
        false
    }

    fn saved(&self) -> u64 {
        self.word.load(Ordering::Relaxed) / ONE
    }
}

/// A bucket of one second's worth, told by the time at which it is full again (GCRA): one word,
/// nanoseconds since the budget was made.
#[derive(Debug)]
struct Floor {
    epoch: Instant,
    // Relaxed, as the savings' word.
    full_at_ns: AtomicU64,
    each_ns: u64,
    all_ns: u64,
}

impl Floor {
    fn new(per_second: u32, epoch: Instant) -> Option<Self> {
        // Rounded up, never in favour of retries.
        let each_ns = 1_000_000_000_u64.div_ceil(u64::from(per_second).max(1));
        let all_ns = each_ns * u64::from(per_second);
        let full_at_ns = AtomicU64::new(0);
        (per_second > 0).then_some(Self { epoch, full_at_ns, each_ns, all_ns })
    }

    fn take(&self, now: Instant) -> bool {
        let now = now.nanos_since(self.epoch);
        let word = &self.full_at_ns;
        let mut was = word.load(Ordering::Relaxed);
        loop {
            let full_at = was.max(now) + self.each_ns;
            if full_at - now > self.all_ns {
                return false;
            }
            match word.compare_exchange_weak(was, full_at, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => was = other,
            }
        }
    }
}
