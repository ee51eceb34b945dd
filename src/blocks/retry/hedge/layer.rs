//! A tower layer: a request that takes unusually long is sent a second time.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::handle::Hedge;
use crate::Verdict;
use crate::retry::{Idempotency, Repeat};

/// Puts a [`Hedged`] before a service: of its requests those that take unusually long are sent a
/// second time, as a [`Hedge`] allows.
///
/// `judge` is that of a [`RetryLayer`](crate::retry::RetryLayer), and what [`Repeat`] makes of a
/// request says whether it may be done twice. Inside of a `RetryLayer` take
/// [`Retry::hedge`](crate::Retry::hedge), or both earn.
///
/// ```
/// use headworks::Verdict;
/// use headworks::retry::{Hedge, HedgeConfig, HedgeLayer, RetryBudget, RetryBudgetConfig};
/// use http::{Request, Response};
/// use std::convert::Infallible;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let budget = RetryBudget::new(RetryBudgetConfig::default())?;
/// let hedge = Hedge::new(HedgeConfig::default(), budget)?;
/// let backend = |_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) };
/// let service = ServiceBuilder::new()
///     .layer(HedgeLayer::new(hedge, |result: &Result<Response<()>, Infallible>| Verdict::of_response(result)))
///     .service(service_fn(backend));
/// assert_eq!(service.oneshot(Request::new(())).await?.status(), 200);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HedgeLayer<J> {
    hedge: Hedge,
    judge: J,
}

impl<J> HedgeLayer<J> {
    /// All services of this layer share the hedge, and what it knows to be usual.
    pub fn new(hedge: Hedge, judge: J) -> Self {
        Self { hedge, judge }
    }
}

impl<S, J: Clone> Layer<S> for HedgeLayer<J> {
    type Service = Hedged<S, J>;

    fn layer(&self, inner: S) -> Self::Service {
        Hedged { inner, hedge: self.hedge.clone(), judge: self.judge.clone() }
    }
}

impl<J> fmt::Debug for HedgeLayer<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeLayer").field("hedge", &self.hedge).finish_non_exhaustive()
    }
}

/// A service whose slow requests are sent twice. Made by [`HedgeLayer`].
///
/// It is ready when the service inside is. A call runs the service that was made ready; the second
/// attempt runs a clone, which it makes ready first. Dropping a call drops both attempts.
///
/// # Cost
/// One allocation for the future, and a copy of each request that may be done twice.
#[derive(Clone)]
pub struct Hedged<S, J> {
    inner: S,
    hedge: Hedge,
    judge: J,
}

impl<S, J> Hedged<S, J> {
    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, J, R> Service<R> for Hedged<S, J>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
    J: Fn(&Result<S::Response, S::Error>) -> Verdict + Clone + Send + Sync + 'static,
    R: Repeat + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // The one that was made ready is the one to be called.
        let fresh = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, fresh.clone());
        let (hedge, judge) = (self.hedge.clone(), self.judge.clone());
        Box::pin(async move {
            let may_be_repeated = request.idempotency() == Idempotency::Idempotent;
            let spare = if may_be_repeated { request.copy() } else { None };
            let first = send(ready, request, Readiness::Ready);
            let again = spare.map(|spare| || send(fresh, spare, Readiness::Unknown));
            hedge.race(judge, first, again).await
        })
    }
}

/// Whether a service was made ready for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    Ready,
    Unknown,
}

async fn send<S: Service<R>, R>(
    mut service: S,
    request: R,
    readiness: Readiness,
) -> Result<S::Response, S::Error> {
    if readiness == Readiness::Unknown {
        poll_fn(|cx| service.poll_ready(cx)).await?;
    }
    service.call(request).await
}

impl<S: fmt::Debug, J> fmt::Debug for Hedged<S, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedged")
            .field("inner", &self.inner)
            .field("hedge", &self.hedge)
            .finish_non_exhaustive()
    }
}
