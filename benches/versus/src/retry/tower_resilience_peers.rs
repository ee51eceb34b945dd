//! The same of tower-resilience alone.

use std::time::Duration;

use tower::ServiceBuilder;
use tower_resilience::circuitbreaker::CircuitBreakerLayer;
use tower_resilience::ratelimiter::RateLimiterLayer;
use tower_resilience::retry::{RetryBudgetBuilder, RetryLayer};
use tower_resilience::timelimiter::TimeLimiterLayer;

use super::caller::{Broken, Called, Caller, Nothing};

fn retry<E: 'static>() -> RetryLayer<(), (), E> {
    let budget = RetryBudgetBuilder::new().token_bucket().build().expect("the default");
    RetryLayer::builder()
        .max_attempts(3)
        .exponential_backoff(Duration::from_millis(100))
        .budget(budget)
        .build()
}

pub fn plain() -> impl Caller {
    Called(ServiceBuilder::new().layer(retry::<Broken>()).service(Nothing))
}

pub fn stack() -> impl Caller {
    let limiter = RateLimiterLayer::builder().limit_for_period(100_000_000).build();
    let breaker = CircuitBreakerLayer::builder().sliding_window_size(100).build();
    let timeout = TimeLimiterLayer::builder().timeout_duration(Duration::from_secs(30)).build();
    Called(
        ServiceBuilder::new()
            .layer(retry())
            .layer(limiter.expect("the default but for its limit"))
            .layer(breaker.expect("the default but for its window"))
            .layer(timeout)
            .service(Nothing),
    )
}
