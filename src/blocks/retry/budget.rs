//! The retry budget: retries are a share of what succeeds, so they can't make an outage worse.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ground::config_error::ConfigError;
use crate::ground::metrics::Counter;
use crate::ground::primitives::Mutex;
use crate::ground::time;

/// How much may be retried. Plain data; checked by [`RetryBudget::new`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct RetryBudgetConfig {
    /// The label of its metrics. Default: `"retry"`.
    pub name: Cow<'static, str>,
    /// How much of a retry each success earns, 0 to 10. Default: 0.2.
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

/// Retries to share among all who call one backend. Clones are the same budget.
///
/// Each success earns [`ratio`](RetryBudgetConfig::ratio) of a retry, and a floor per second is
/// always there: over any time *t*, retries ≤ ratio × successes + floor × (*t* + 1 s) + what was
/// saved before, at most [`most`](RetryBudgetConfig::most). So when all fails, retries add next to
/// nothing. After Finagle's `RetryBudget` and the retry quota of the AWS SDKs; Finagle lets
/// savings expire after 10 s, here a cap bounds them.
///
/// # Cost
/// One short lock.
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
    core: Mutex<Core>,
    withdrawn: Counter,
    refused: Counter,
}

/// What a budget has done since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryBudgetSnapshot {
    /// Retries paid for.
    pub withdrawn: u64,
    /// Retries refused.
    pub refused: u64,
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
        let core = Mutex::new(Core::new(&config, now));
        let (withdrawn, refused) = (Counter::default(), Counter::default());
        Ok(Self { shared: Arc::new(Shared { core, withdrawn, refused }) })
    }

    /// A call succeeded, first attempt or not.
    pub fn success(&self) {
        self.shared.core.lock().success();
    }

    /// Pays for one retry.
    ///
    /// # Errors
    /// [`BudgetSpent`]: don't retry now.
    pub fn try_withdraw(&self) -> Result<(), BudgetSpent> {
        self.try_withdraw_at(time::now())
    }

    pub(crate) fn try_withdraw_at(&self, now: Instant) -> Result<(), BudgetSpent> {
        let paid = self.shared.core.lock().try_withdraw(now);
        let counter = if paid.is_ok() { &self.shared.withdrawn } else { &self.shared.refused };
        counter.add(1);
        paid
    }

    /// The counts.
    #[must_use]
    pub fn snapshot(&self) -> RetryBudgetSnapshot {
        let Shared { withdrawn, refused, .. } = &*self.shared;
        RetryBudgetSnapshot { withdrawn: withdrawn.get(), refused: refused.get() }
    }
}

/// Thousandths of a retry, so that sums are exact.
const ONE: u64 = 1_000;

#[derive(Debug)]
pub(super) struct Core {
    savings: u64,
    most: u64,
    earned: u64,
    /// The floor is a bucket of one second's worth, told by the time at which it is full again.
    floor_full_at: Instant,
    /// What one retry of the floor costs, and a second's worth; `None`: there is no floor.
    floor: Option<(Duration, Duration)>,
}

impl Core {
    pub(super) fn new(config: &RetryBudgetConfig, now: Instant) -> Self {
        Self {
            savings: 0,
            most: u64::from(config.most) * ONE,
            earned: (config.ratio * ONE as f64).round() as u64,
            floor_full_at: now,
            floor: (config.floor_per_second > 0).then(|| {
                // Rounded up, never in favour of retries.
                let each = 1_000_000_000_u64.div_ceil(u64::from(config.floor_per_second));
                let each = Duration::from_nanos(each);
                (each, each * config.floor_per_second)
            }),
        }
    }

    pub(super) fn success(&mut self) {
        self.savings = (self.savings + self.earned).min(self.most);
    }

    /// The floor first: it can't be saved up, savings can.
    pub(super) fn try_withdraw(&mut self, now: Instant) -> Result<(), BudgetSpent> {
        if let Some((each, all)) = self.floor {
            let full_at = self.floor_full_at.max(now) + each;
            if full_at.saturating_duration_since(now) <= all {
                self.floor_full_at = full_at;
                return Ok(());
            }
        }
        self.savings = self.savings.checked_sub(ONE).ok_or(BudgetSpent)?;
        Ok(())
    }
}
