//! Attempts, one after the other.

use std::future::Future;
use std::time::Instant;

use super::budget::RetryBudget;
use super::config::RetryPolicy;
use super::error::{AttemptError, GaveUp, RetryError};
use crate::ground::config_error::ConfigError;
use crate::ground::outcome::RetryClass;
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::rng::Rng;
use crate::ground::time;

/// Runs an operation again when that makes sense: by a [`RetryPolicy`], paid from a
/// [`RetryBudget`] that all callers of one backend share.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use headworks::retry::{Backoff, Retry, RetryBudget, RetryBudgetConfig, RetryClass, RetryPolicy};
/// use std::time::Duration;
///
/// let budget = RetryBudget::new(RetryBudgetConfig::default()).unwrap();
/// let quick = Backoff::new(Duration::ZERO, Duration::ZERO);
/// let retry = Retry::new(RetryPolicy::default().with_backoff(quick), budget).unwrap();
/// let done = retry
///     .run(|_: &&str| RetryClass::Retry, |attempt| async move {
///         if attempt < 2 { Err("not yet") } else { Ok(attempt) }
///     })
///     .await;
/// assert_eq!(done, Ok(2));
/// # }
/// ```
#[derive(Debug)]
pub struct Retry {
    policy: RetryPolicy,
    budget: RetryBudget,
    seed: AtomicU64,
}

impl Retry {
    /// Binds a policy to a budget.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work.
    pub fn new(policy: RetryPolicy, budget: RetryBudget) -> Result<Self, ConfigError> {
        policy.check()?;
        Ok(Self { policy, budget, seed: AtomicU64::new(Rng::from_entropy().next()) })
    }

    /// Makes attempts, numbered from 1, until one succeeds or no further one makes sense.
    /// `classify` says what an error asks for; a timeout of an attempt asks for a retry.
    ///
    /// An operation is repeated: it must do no harm twice. Classify as [`RetryClass::Stop`] what
    /// would.
    ///
    /// # Errors
    /// [`RetryError`]: the last attempt's failure, and why there was no further one.
    ///
    /// # Panics
    /// Outside of a tokio runtime with a timer, if it waits or a timeout is set.
    ///
    /// # Cancel safety
    /// Dropped, it drops the attempt under way or the wait; retries paid for stay paid.
    ///
    /// # Cost
    /// No allocation. A success takes the budget's short lock; timers only where timeouts are set.
    pub async fn run<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        mut classify: impl FnMut(&E) -> RetryClass,
        mut operation: impl FnMut(u32) -> F,
    ) -> Result<T, RetryError<E>> {
        let mut now = time::now();
        let end = self.policy.total_timeout.and_then(|total| time::later(now, total));
        let mut attempt = 0;
        loop {
            attempt += 1;
            let own = self.policy.attempt_timeout.and_then(|timeout| time::later(now, timeout));
            let until = time::earlier(own, end);
            let failed = match time::until(until, operation(attempt)).await {
                Some(Ok(done)) => {
                    self.budget.success();
                    return Ok(done);
                }
                Some(Err(error)) => AttemptError::Inner(error),
                None => AttemptError::TimedOut,
            };
            let class = match &failed {
                AttemptError::Inner(error) => classify(error),
                AttemptError::TimedOut => RetryClass::Retry,
            };
            now = time::now();
            match self.next(class, attempt, end, now) {
                Ok(at) => time::sleep_until(Some(at)).await,
                Err(why) => return Err(RetryError::new(why, attempt, failed)),
            }
            now = time::now();
        }
    }

    /// When to make the next attempt. The budget comes last: a retry that won't be made for
    /// another reason costs nothing.
    fn next(
        &self,
        class: RetryClass,
        attempt: u32,
        end: Option<Instant>,
        now: Instant,
    ) -> Result<Instant, GaveUp> {
        if class == RetryClass::Stop {
            return Err(GaveUp::Permanent);
        }
        // Relaxed: any two attempts get different numbers, which is all a seed needs.
        let mut rng = Rng::seeded(self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed));
        let wait = self.policy.wait(class, attempt, &mut rng).ok_or(GaveUp::Attempts)?;
        let at = time::later(now, wait).ok_or(GaveUp::TotalTimeout)?;
        if end.is_some_and(|end| at >= end) {
            return Err(GaveUp::TotalTimeout);
        }
        self.budget.try_withdraw_at(now).map_err(|_| GaveUp::Budget)?;
        Ok(at)
    }
}
