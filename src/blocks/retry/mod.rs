//! Retries that can't make an outage worse.
//!
//! [`Retry`] runs an operation by a [`RetryPolicy`]: so many attempts, [`Backoff`] with full
//! jitter between them, a timeout for each and for all, a backend's `Retry-After` honoured up to a
//! cap. Each further attempt is paid from a [`RetryBudget`] shared by all callers of a backend:
//! while it is down, they together send only a little more than without retries.
//!
//! Not for work that must not be done twice, and not around a block that refuses (limiter,
//! breaker, pool): a refusal says when to come back by itself.
//!
//! # Invariants
//! 1. Over any time *t*, the retries of one budget are at most ratio × successes + floor ×
//!    (*t* + 1 s) + savings, and savings never exceed their cap.
//! 2. No wait is begun that couldn't end before the total timeout, and no budget is spent for it.
//! 3. A backend's wish is a lower bound of the wait, up to its cap, and never the exact wait:
//!    those who were told the same come back spread.

mod backoff;
mod budget;
mod config;
mod error;
mod runner;

#[cfg(all(test, not(headworks_loom)))]
mod tests;

pub use self::backoff::Backoff;
pub use self::budget::{BudgetSpent, RetryBudget, RetryBudgetConfig, RetryBudgetSnapshot};
pub use self::config::RetryPolicy;
pub use self::error::{AttemptError, GaveUp, RetryError};
pub use self::runner::Retry;
pub use crate::ground::outcome::RetryClass;
