//! Attempts, one after the other.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use super::budget::RetryBudget;
use super::config::{Idempotency, RetryPolicy};
use super::error::RetryError;
use super::hedge::{Hedge, HedgeConfig};
use super::metrics::{Metrics, RetrySnapshot};
use super::run::Run;
use crate::ground::config_error::ConfigError;
use crate::ground::outcome::Verdict;
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::rng::Rng;
use crate::ground::time;

/// Runs an operation again when that makes sense: by a [`RetryPolicy`], paid from a
/// [`RetryBudget`] that all callers of one backend share. Clones are the same retry.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use headworks::Verdict;
/// use headworks::retry::{Backoff, Idempotency, Retry, RetryBudget, RetryBudgetConfig, RetryPolicy};
/// use std::time::Duration;
///
/// let budget = RetryBudget::new(RetryBudgetConfig::default()).unwrap();
/// let quick = Backoff::new(Duration::ZERO, Duration::ZERO);
/// let retry = Retry::new(RetryPolicy::default().with_backoff(quick), budget).unwrap();
/// let judge = |result: &Result<_, _>| match result {
///     Err("busy") => Verdict::failure(),
///     Err(_) => Verdict::permanent(),
///     Ok(_) => Verdict::success(),
/// };
/// let done = retry
///     .run(Idempotency::Idempotent, judge, |attempt| async move {
///         if attempt < 2 { Err("busy") } else { Ok(attempt) }
///     })
///     .await;
/// assert_eq!(done, Ok(2));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Retry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) policy: RetryPolicy,
    pub(super) budget: RetryBudget,
    pub(super) metrics: Metrics,
    seed: AtomicU64,
}

impl Shared {
    /// Chance of its own for every wait.
    pub(super) fn rng(&self) -> Rng {
        // Relaxed: any two waits get different numbers, which is all a seed needs.
        Rng::seeded(self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }
}

impl Retry {
    /// Binds a policy to a budget.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work.
    pub fn new(policy: RetryPolicy, budget: RetryBudget) -> Result<Self, ConfigError> {
        policy.check()?;
        let (metrics, seed) = (Metrics::default(), AtomicU64::new(Rng::from_entropy().next()));
        Ok(Self { shared: Arc::new(Shared { policy, budget, metrics, seed }) })
    }

    /// Draws all further waits by chance from this number, so that a simulation replays. Without
    /// it they are different in every process, as they should be.
    pub fn reseed(&self, seed: u64) {
        // Relaxed: nothing is read on the strength of it.
        self.shared.seed.store(seed, Ordering::Relaxed);
    }

    /// Hedging for the attempts of this retry: each is one [`Hedge::run`] inside of
    /// [`run`](Self::run). It is paid from the same budget, and leaves the earning to the retry.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work.
    pub fn hedge(&self, config: HedgeConfig) -> Result<Hedge, ConfigError> {
        Hedge::inside(config, self.shared.budget.clone())
    }

    /// The label of its metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.policy.name
    }

    /// The counts.
    #[must_use]
    pub fn snapshot(&self) -> RetrySnapshot {
        self.shared.metrics.snapshot()
    }

    /// Makes attempts, numbered from 1, until one goes well or no further one makes sense.
    ///
    /// `judge` says what a result means, [`Verdict::of`] where the error knows it; a timeout of
    /// an attempt is a failure. A value that is judged worth another attempt (an HTTP 503, say) is
    /// repeated like an error; the last one is returned as it is.
    ///
    /// What must not be done twice is repeated only where the backend can't have seen it. A
    /// refusal by a limiter, breaker or pool inside of `operation`
    /// ([`Verdict::refused`]) is waited out: no attempt is used up and no budget is spent.
    ///
    /// # Errors
    /// [`RetryError`]: the last attempt's failure, and why there was no further one.
    ///
    /// # Panics
    /// Outside of a tokio runtime with a timer, if it waits between attempts, or for one that has
    /// a timeout.
    ///
    /// # Cancel safety
    /// Dropped, it drops the attempt under way or the wait; retries paid for stay paid.
    ///
    /// # Cost
    /// No allocation and no lock. A success reads the budget's word; clock and timers only where
    /// timeouts are set, or after a failure.
    pub async fn run<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        idempotency: Idempotency,
        judge: impl Fn(&Result<T, E>) -> Verdict,
        mut operation: impl FnMut(u32) -> F,
    ) -> Result<T, RetryError<E>> {
        let mut run = self.begin(idempotency);
        loop {
            let (number, until) = run.attempt();
            let result = {
                // Made where it stays: the future of an attempt may be large.
                let attempt = pin!(operation(number));
                time::until(until, attempt).await
            };
            let verdict = result.as_ref().map_or(Verdict::failure(), &judge);
            let at = match run.next(verdict) {
                Ok(at) => at,
                Err(why) => return run.end(result, why, verdict),
            };
            // Whatever it holds, a connection perhaps, is not held while waiting.
            drop(result);
            time::sleep_until(Some(at)).await;
        }
    }

    #[inline]
    pub(crate) fn begin(&self, idempotency: Idempotency) -> Run<'_> {
        Run::new(&self.shared, idempotency)
    }
}
