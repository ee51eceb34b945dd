//! A tower layer: the requests of a service are repeated when that makes sense.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Request};
use tower_layer::Layer;
use tower_service::Service;

use super::config::Idempotency;
use super::error::{GaveUp, RetryError};
use super::runner::Retry;
use crate::Verdict;
use crate::ground::time;

/// A request that a [`RetryLayer`] may send again.
pub trait Repeat: Sized {
    /// A copy to keep for a further attempt, asked for before each; one is held at a time. `None`:
    /// this attempt is the last. (A body that streams, or one too large to be held.)
    fn copy(&self) -> Option<Self>;

    /// Whether it may be done twice.
    fn idempotency(&self) -> Idempotency;
}

/// Idempotent by its method (RFC 9110, section 9.2.2), unless an [`Idempotency`] among its
/// extensions says otherwise.
impl<B: Clone> Repeat for Request<B> {
    fn copy(&self) -> Option<Self> {
        Some(self.clone())
    }

    fn idempotency(&self) -> Idempotency {
        let by_method = match *self.method() {
            Method::GET | Method::HEAD | Method::PUT | Method::DELETE => Idempotency::Idempotent,
            Method::OPTIONS | Method::TRACE => Idempotency::Idempotent,
            _ => Idempotency::AtMostOnce,
        };
        self.extensions().get().copied().unwrap_or(by_method)
    }
}

/// Puts a [`Retried`] before a service: its requests are repeated as a [`Retry`] allows.
///
/// `judge` is a `Fn(&Result<Response, Error>) -> Verdict`, for HTTP
/// [`Verdict::of_response`](crate::Verdict::of_response). What [`Repeat`] makes of a request says
/// whether it may be done twice.
///
/// ```
/// use headworks::Verdict;
/// use headworks::retry::{Backoff, Retry, RetryBudget, RetryBudgetConfig, RetryLayer, RetryPolicy};
/// use http::{Request, Response};
/// use std::sync::{Arc, atomic::{AtomicU16, Ordering}};
/// use std::{convert::Infallible, time::Duration};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let policy = RetryPolicy::default().with_backoff(Backoff::new(Duration::ZERO, Duration::ZERO));
/// let retry = Retry::new(policy, RetryBudget::new(RetryBudgetConfig::default())?)?;
/// let status = Arc::new(AtomicU16::new(503));
/// let backend = move |_: Request<()>| {
///     let status = status.swap(200, Ordering::Relaxed);
///     async move { Ok::<_, Infallible>(Response::builder().status(status).body(()).unwrap()) }
/// };
/// let service = ServiceBuilder::new()
///     .layer(RetryLayer::new(retry, |result: &Result<Response<()>, Infallible>| Verdict::of_response(result)))
///     .service(service_fn(backend));
/// assert_eq!(service.oneshot(Request::new(())).await?.status(), 200);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RetryLayer<J> {
    retry: Retry,
    judge: J,
}

impl<J> RetryLayer<J> {
    /// All services of this layer share the retry and its budget.
    pub fn new(retry: Retry, judge: J) -> Self {
        Self { retry, judge }
    }
}

impl<S, J: Clone> Layer<S> for RetryLayer<J> {
    type Service = Retried<S, J>;

    fn layer(&self, inner: S) -> Self::Service {
        Retried { inner, retry: self.retry.clone(), judge: self.judge.clone() }
    }
}

impl<J> fmt::Debug for RetryLayer<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer").field("retry", &self.retry).finish_non_exhaustive()
    }
}

/// A service whose requests are repeated. Made by [`RetryLayer`].
///
/// It is ready when the service inside is. A call runs the service that was made ready; before
/// each further attempt it makes the same one ready again. Dropping a call drops its attempt or
/// its wait. As with [`Retry::run`], a last answer is returned as it is, whatever was thought of
/// it.
#[derive(Clone)]
pub struct Retried<S, J> {
    inner: S,
    retry: Retry,
    judge: J,
}

impl<S, J> Retried<S, J> {
    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, J, R> Service<R> for Retried<S, J>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
    J: Fn(&Result<S::Response, S::Error>) -> Verdict + Clone + Send + 'static,
    R: Repeat + Send + 'static,
{
    type Response = S::Response;
    type Error = RetryError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(RetryError::not_ready)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // The one that was made ready is the one to be called.
        let fresh = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, fresh);
        let (retry, judge) = (self.retry.clone(), self.judge.clone());
        Box::pin(async move { repeat(retry, judge, ready, request).await })
    }
}

async fn repeat<S, J, R>(
    retry: Retry,
    judge: J,
    mut service: S,
    mut request: R,
) -> Result<S::Response, RetryError<S::Error>>
where
    S: Service<R>,
    J: Fn(&Result<S::Response, S::Error>) -> Verdict,
    R: Repeat,
{
    let mut run = retry.begin(request.idempotency());
    loop {
        let spare = request.copy();
        let (number, until) = run.attempt();
        let attempt = async {
            if number > 1 {
                poll_fn(|cx| service.poll_ready(cx)).await?;
            }
            service.call(request).await
        };
        let result = time::until(until, attempt).await;
        let verdict = result.as_ref().map_or(Verdict::failure(), &judge);
        let Some(spare) = spare else {
            let why = run.next(verdict.stop()).err().unwrap_or(GaveUp::Permanent);
            return run.end(result, why, verdict);
        };
        let at = match run.next(verdict) {
            Ok(at) => at,
            Err(why) => return run.end(result, why, verdict),
        };
        drop(result);
        time::sleep_until(Some(at)).await;
        request = spare;
    }
}

impl<S: fmt::Debug, J> fmt::Debug for Retried<S, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retried")
            .field("inner", &self.inner)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
