//! A tower layer: a breaker before a service.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::breaker::{CircuitBreaker, finish};
use super::error::CallError;
use crate::ground::outcome::Verdict;
use crate::ground::quiet::wake_all_quietly;
use crate::ground::time;

/// Puts a breaker before a service: a [`Guarded`] one. A function tells what an answer says about
/// the backend: an [`Outcome`](crate::Outcome) or a [`Verdict`].
///
/// ```
/// use headworks::circuit_breaker::{CallError, CircuitBreakerConfig, CircuitBreakerLayer};
/// use headworks::{CircuitBreaker, Verdict};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let breaker = CircuitBreaker::new(CircuitBreakerConfig::default())?;
/// let judge = |answer: &Result<u16, String>| match answer {
///     Ok(status) if *status < 500 => Verdict::success(),
///     _ => Verdict::failure(),
/// };
/// let service = ServiceBuilder::new()
///     .layer(CircuitBreakerLayer::new(breaker.clone(), judge))
///     .service(service_fn(|status: u16| async move { Ok::<_, String>(status) }));
/// assert_eq!(service.clone().oneshot(200).await, Ok(200));
/// breaker.force_open();
/// assert!(matches!(service.oneshot(200).await, Err(CallError::Open(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CircuitBreakerLayer<C> {
    breaker: CircuitBreaker,
    classify: C,
}

impl<C> CircuitBreakerLayer<C> {
    /// All services of this layer share the breaker. `classify` is a
    /// `Fn(&Result<Response, Error>) -> impl Into<Verdict>`.
    pub fn new(breaker: CircuitBreaker, classify: C) -> Self {
        Self { breaker, classify }
    }
}

impl<S, C: Clone> Layer<S> for CircuitBreakerLayer<C> {
    type Service = Guarded<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded { inner, breaker: self.breaker.clone(), classify: self.classify.clone() }
    }
}

impl<C> fmt::Debug for CircuitBreakerLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer")
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

/// A service behind a breaker. Made by [`CircuitBreakerLayer`].
///
/// It is ready when the service inside is: whether the circuit lets a request through is asked
/// when there is one, so no permit is held for somebody who may never call. A refused request
/// does not reach the service inside, which stays ready. A call runs for at most the breaker's
/// `call_timeout`; dropped, it counts as [`Unreported`](super::Unreported) says.
///
/// # Cost
/// One allocation for the future.
#[derive(Clone)]
pub struct Guarded<S, C> {
    inner: S,
    breaker: CircuitBreaker,
    classify: C,
}

impl<S, C> Guarded<S, C> {
    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, C, V, Request> Service<Request> for Guarded<S, C>
where
    S: Service<Request>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    C: Fn(&Result<S::Response, S::Error>) -> V + Clone + Send + 'static,
    V: Into<Verdict>,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(CallError::Inner)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let now = time::now();
        let permit = match self.breaker.try_acquire_owned_telling(now, wake_all_quietly) {
            Ok(permit) => permit,
            Err(open) => return Box::pin(ready(Err(open.into()))),
        };
        let until = time::later(now, self.breaker.call_timeout());
        let classify = self.classify.clone();
        let answer = self.inner.call(request);
        Box::pin(finish(until, answer, move |result| {
            permit.report(result.map_or(Verdict::failure(), |result| classify(result).into()));
        }))
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Guarded<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("inner", &self.inner)
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}
