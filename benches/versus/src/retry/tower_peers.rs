//! tower's retry with its budget; and around its timeout, with governor and the breaker of
//! tower-resilience, for tower has neither.

use std::future::{Ready, ready};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tower::retry::budget::{Budget, TpsBudget};
use tower::retry::{Policy, RetryLayer};
use tower::timeout::TimeoutLayer;
use tower::{BoxError, Service, ServiceBuilder};
use tower_resilience::circuitbreaker::CircuitBreakerLayer;

use super::caller::{Called, Caller, Nothing};

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

impl<E> Policy<(), (), E> for Attempts {
    type Future = Ready<()>;

    fn retry(&mut self, (): &mut (), result: &mut Result<(), E>) -> Option<Ready<()>> {
        match result {
            Ok(()) => {
                self.budget.deposit();
                None
            }
            Err(_) => {
                self.left = self.left.checked_sub(1)?;
                self.budget.withdraw().then(|| ready(()))
            }
        }
    }

    fn clone_request(&mut self, (): &()) -> Option<()> {
        Some(())
    }
}

pub fn plain() -> impl Caller {
    Called(ServiceBuilder::new().layer(RetryLayer::new(Attempts::three())).service(Nothing))
}

pub fn stack() -> impl Caller {
    let breaker = CircuitBreakerLayer::builder()
        .sliding_window_size(100)
        .build()
        .expect("the default but for its window");
    let inner = ServiceBuilder::new()
        .layer(breaker)
        .layer(TimeoutLayer::new(Duration::from_secs(30)))
        .service(Nothing);
    let quota = Quota::per_second(const { NonZeroU32::new(10_000_000).unwrap() });
    let limited = Limited { limiter: Arc::new(RateLimiter::direct(quota)), inner };
    Called(ServiceBuilder::new().layer(RetryLayer::new(Attempts::three())).service(limited))
}

/// governor before a service; it has no layer of its own for a service without HTTP.
#[derive(Clone)]
struct Limited<S> {
    limiter: Arc<DefaultDirectRateLimiter>,
    inner: S,
}

impl<S> Service<()> for Limited<S>
where
    S: Service<(), Response = ()>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, (): ()) -> Self::Future {
        match self.limiter.check() {
            Ok(()) => {
                let answer = self.inner.call(());
                Box::pin(async move { answer.await.map_err(Into::into) })
            }
            Err(early) => Box::pin(ready(Err(early.to_string().into()))),
        }
    }
}
