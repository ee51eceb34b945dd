//! `headworks::Retry`, by itself and around the limiter and the breaker, whose call has a timeout.

use std::future::ready;
use std::sync::Arc;

use headworks::circuit_breaker::{CallError, CircuitBreakerConfig};
use headworks::rate_limit::{Quota, TryAcquireError};
use headworks::retry::{Idempotency, RetryBudget, RetryBudgetConfig, RetryPolicy};
use headworks::{CircuitBreaker, Classify, RateLimiter, Retry, Verdict};

use super::caller::{Broken, Caller};

fn retry() -> Retry {
    let budget = RetryBudget::new(RetryBudgetConfig::default()).expect("the default");
    Retry::new(RetryPolicy::default(), budget).expect("the default")
}

impl Classify for Broken {
    fn verdict(&self) -> Verdict {
        Verdict::failure()
    }
}

#[derive(Clone)]
pub struct Plain(Retry);

impl Plain {
    pub const NAME: &'static str = "headworks";

    pub fn new() -> Self {
        Self(retry())
    }
}

impl Caller for Plain {
    async fn call(&mut self) -> bool {
        let attempt = |_| ready(Ok::<_, Broken>(()));
        self.0.run(Idempotency::Idempotent, Verdict::of, attempt).await.is_ok()
    }
}

/// The breaker as it comes: a time window, and a timeout around each call.
#[derive(Clone)]
pub struct Stack {
    retry: Retry,
    limiter: Arc<RateLimiter>,
    breaker: CircuitBreaker,
}

/// How one attempt fails.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Limited(#[from] TryAcquireError),
    #[error(transparent)]
    Call(#[from] CallError<Broken>),
}

impl Classify for Failed {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Limited(limited) => limited.verdict(),
            Self::Call(call) => call.verdict(),
        }
    }
}

impl Stack {
    pub const NAME: &'static str = "headworks";

    pub fn new() -> Self {
        let quota = Quota::per_second(10_000_000);
        Self {
            retry: retry(),
            limiter: Arc::new(RateLimiter::new(quota).expect("a quota in range")),
            breaker: CircuitBreaker::new(CircuitBreakerConfig::default()).expect("the default"),
        }
    }
}

impl Caller for Stack {
    async fn call(&mut self) -> bool {
        let Self { retry, limiter, breaker } = &*self;
        let attempt = |_| async {
            limiter.try_acquire(1)?;
            Ok::<_, Failed>(breaker.call(ready(Ok::<_, Broken>(()))).await?)
        };
        retry.run(Idempotency::Idempotent, Verdict::of, attempt).await.is_ok()
    }
}
