//! The same flow as people compose it of tower's layers, and of tower-resilience's.

use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::retry::budget::{Budget, TpsBudget};
use tower::retry::{Policy, RetryLayer};
use tower::{BoxError, Service, ServiceBuilder};
use tower_resilience::bulkhead::BulkheadLayer;
use tower_resilience::circuitbreaker::CircuitBreakerLayer;
use tower_resilience::ratelimiter::RateLimiterLayer;
use tower_resilience::retry::{RetryBudgetBuilder, RetryLayer as Resilient};
use tower_resilience::timelimiter::TimeLimiterLayer;

use super::flow::{Backend, Called, Flow, Setup};

const PATIENCE: Duration = Duration::from_secs(60);
/// So many that no call of these rows is refused by it.
const RATE: u64 = 100_000_000;

/// Sheds when its buffer is full; then limits of rate and concurrency, retries with a budget, and a
/// timeout.
pub fn tower(setup: Setup) -> impl Flow {
    let stack = ServiceBuilder::new()
        .load_shed()
        .buffer(setup.queue)
        .rate_limit(RATE, Duration::from_secs(1))
        .concurrency_limit(setup.width)
        .layer(RetryLayer::new(Attempts::three()))
        .timeout(PATIENCE)
        .service(Phases(setup.backend));
    Called(stack)
}

/// Who finds the bulkhead full waits in it, in no queue with a bound.
pub fn resilience(setup: Setup) -> impl Flow {
    let budget = RetryBudgetBuilder::new().token_bucket().build().expect("the default");
    let retry = Resilient::builder()
        .max_attempts(3)
        .exponential_backoff(Duration::from_millis(100))
        .budget(budget)
        .build();
    let limiter = RateLimiterLayer::builder().limit_for_period(RATE as usize).build();
    let breaker = CircuitBreakerLayer::builder().sliding_window_size(100).build();
    let bulkhead = BulkheadLayer::builder()
        .max_concurrent_calls(setup.width)
        .max_wait_duration(PATIENCE)
        .build();
    let timeout = TimeLimiterLayer::builder().timeout_duration(PATIENCE).build();
    let stack = ServiceBuilder::new()
        .layer(retry)
        .layer(limiter.expect("the default but for its limit"))
        .layer(bulkhead.expect("the default but for its width"))
        .layer(breaker.expect("the default but for its window"))
        .layer(timeout)
        .service(Phases(setup.backend));
    Called(stack)
}

/// All phases as one service.
#[derive(Clone, Copy)]
struct Phases(Backend);

/// What no phase of these rows says.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("broken")]
struct Broken;

impl Service<u64> for Phases {
    type Response = u64;
    type Error = Broken;
    type Future = Pin<Box<dyn Future<Output = Result<u64, Broken>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, object: u64) -> Self::Future {
        let backend = self.0;
        Box::pin(async move { Ok(backend.pass(object).await) })
    }
}

/// Three attempts, at once, paid from the budget.
#[derive(Clone)]
struct Attempts {
    left: u32,
    budget: Arc<TpsBudget>,
}

impl Attempts {
    fn three() -> Self {
        let budget = TpsBudget::new(Duration::from_secs(10), 3, 0.2);
        Self { left: 2, budget: Arc::new(budget) }
    }
}

impl Policy<u64, u64, BoxError> for Attempts {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut u64, result: &mut Result<u64, BoxError>) -> Option<Ready<()>> {
        if result.is_ok() {
            self.budget.deposit();
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        self.budget.withdraw().then(|| ready(()))
    }

    fn clone_request(&mut self, object: &u64) -> Option<u64> {
        Some(*object)
    }
}
