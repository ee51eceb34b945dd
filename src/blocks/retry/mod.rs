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
//! # Examples
//! Limiter, breaker and retry around one call. Each attempt asks the limiter, then the breaker; what
//! they refuse is waited out or ends it, and only the backend's own failures count.
//! ```
//! use headworks::circuit_breaker::{CallError, CircuitBreakerConfig};
//! use headworks::rate_limit::{Quota, TryAcquireError};
//! use headworks::retry::{Idempotency, RetryBudget, RetryBudgetConfig, RetryError, RetryPolicy};
//! use headworks::{CircuitBreaker, Classify, RateLimiter, Retry, Verdict};
//!
//! /// How the backend fails.
//! #[derive(Debug)]
//! enum BackendError {
//!     Busy,
//!     NoSuchOrder,
//! }
//!
//! /// Said once, for breaker and retry.
//! impl Classify for BackendError {
//!     fn verdict(&self) -> Verdict {
//!         match self {
//!             Self::Busy => Verdict::failure(),
//!             Self::NoSuchOrder => Verdict::permanent(),
//!         }
//!     }
//! }
//!
//! /// How one attempt fails. The refusals of this crate know what they say.
//! #[derive(Debug)]
//! enum AttemptFailed {
//!     Limited(TryAcquireError),
//!     Called(CallError<BackendError>),
//! }
//!
//! impl Classify for AttemptFailed {
//!     fn verdict(&self) -> Verdict {
//!         match self {
//!             Self::Limited(refused) => refused.verdict(),
//!             Self::Called(error) => error.verdict(),
//!         }
//!     }
//! }
//!
//! struct Client {
//!     limiter: RateLimiter,
//!     breaker: CircuitBreaker,
//!     retry: Retry,
//! }
//!
//! impl Client {
//!     async fn order(&self, id: u32) -> Result<u32, RetryError<AttemptFailed>> {
//!         let attempt = |number| async move {
//!             self.limiter.try_acquire(1).map_err(AttemptFailed::Limited)?;
//!             self.breaker.call(backend(id, number)).await.map_err(AttemptFailed::Called)
//!         };
//!         self.retry.run(Idempotency::Idempotent, Verdict::of, attempt).await
//!     }
//! }
//!
//! /// Busy at first.
//! async fn backend(id: u32, attempt: u32) -> Result<u32, BackendError> {
//!     match (id, attempt) {
//!         (0, _) => Err(BackendError::NoSuchOrder),
//!         (_, 1) => Err(BackendError::Busy),
//!         _ => Ok(id),
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client {
//!     limiter: RateLimiter::new(Quota::per_second(100))?,
//!     breaker: CircuitBreaker::new(CircuitBreakerConfig::default())?,
//!     retry: Retry::new(RetryPolicy::default(), RetryBudget::new(RetryBudgetConfig::default())?)?,
//! };
//! assert_eq!(client.order(7).await.unwrap(), 7);
//! assert_eq!(client.order(0).await.unwrap_err().attempts(), 1);
//! # Ok(())
//! # }
//! ```
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
pub use crate::ground::metrics::{Metric, MetricValue};
pub use crate::ground::outcome::RetryClass;
