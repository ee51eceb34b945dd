//! Retries that can't make an outage worse.
//!
//! [`Retry`] runs an operation by a [`RetryPolicy`]: so many attempts, [`Backoff`] with full
//! jitter between them, a timeout for each and for all, a backend's `Retry-After` honoured, and no
//! further attempt where that is too long. Each further attempt is paid from a [`RetryBudget`] shared by all callers of a backend:
//! while it is down, they together send only a little more than without retries.
//!
//! Whoever asks for a retry says whether the work may be done twice ([`Idempotency`]), and judges
//! results by the [`Verdict`](crate::Verdict) that the circuit breaker reads too. A refusal by a
//! limiter, breaker or pool on this side is no failure: it is waited out, up to its own limit, and
//! costs nothing. (An open circuit asks for more than that by default, and ends the operation.)
//! [`Hedge`] sends a second attempt for a call that takes unusually long, from the same budget.
//! With the feature `tower` there are a `RetryLayer` and a `HedgeLayer`.
//!
//! # Invariants
//! 1. Over any time *t*, the retries of one budget are at most ratio × successes + floor ×
//!    (*t* + 1 s) + savings, and savings never exceed their cap.
//!    Hedges count as retries.
//! 2. No wait is begun that couldn't end before the total timeout, and no budget is spent for it.
//! 3. A backend's wish is a lower bound of the wait, and never the exact wait: those who were told
//!    the same come back spread. A wish above the cap ends the operation.
//! 4. What must not be done twice is repeated only where the backend can't have seen it.
//! 5. At most `max_attempts` attempts reach the backend (without hedges), and at most
//!    `max_refusals` refusals are waited out, which ask for at most `refusals_wait_most` in all.
//! 6. The budget has no lock. Its two words, savings and floor, are each changed by one
//!    compare-and-swap that checks them; neither says anything about the other.

mod backoff;
mod budget;
mod config;
mod error;
mod hedge;
#[cfg(feature = "tower")]
mod layer;
mod metrics;
mod run;
mod runner;

#[cfg(all(test, headworks_loom))]
mod loom_tests;
#[cfg(all(test, not(headworks_loom)))]
mod tests;

pub use self::backoff::Backoff;
pub use self::budget::{BudgetSpent, RetryBudget, RetryBudgetConfig, RetryBudgetSnapshot};
pub use self::config::{Idempotency, RetryPolicy};
pub use self::error::{AttemptError, GaveUp, RetryError};
pub use self::hedge::{Hedge, HedgeConfig, HedgeSnapshot};
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use self::hedge::{HedgeLayer, Hedged};
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use self::layer::{Repeat, Retried, RetryLayer};
pub use self::metrics::RetrySnapshot;
pub use self::runner::Retry;
pub use crate::ground::outcome::RetryClass;
