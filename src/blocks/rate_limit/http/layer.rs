//! A limiter before an HTTP service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use super::fields::{LimitFields, PolicyName, Standing, whole_seconds};
use super::future::ResponseFuture;
use super::limit::{Limit, PerKey, Verdict};
use crate::blocks::rate_limit::{RateLimiter, TieredRateLimiter, TryAcquireError};
use crate::ground::config_error::ConfigError;
use crate::ground::time;

/// Puts a [`Limited`] before a service of HTTP requests: each takes a token of a limiter, or is
/// answered with 429.
///
/// # Examples
/// ```
/// use std::convert::Infallible;
/// use std::sync::Arc;
///
/// use headworks::rate_limit::http::{ByClientIp, PeerAddr, RateLimitLayer, TrustedProxies};
/// use headworks::rate_limit::{Quota, TieredQuota, TieredRateLimiter};
/// use http::{Request, Response, StatusCode};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let quota = TieredQuota::default().with_per_key(Quota::per_minute(1));
/// let limiter = Arc::new(TieredRateLimiter::new(quota)?);
/// let by_address = ByClientIp::new(TrustedProxies::none());
/// let service = ServiceBuilder::new()
///     .layer(RateLimitLayer::per_key(limiter, by_address))
///     .service(service_fn(|_: Request<()>| async {
///         Ok::<_, Infallible>(Response::new("hello".to_owned()))
///     }));
///
/// let mut request = Request::new(());
/// // Whoever accepts the connections puts this in.
/// request.extensions_mut().insert(PeerAddr("192.0.2.1:4711".parse()?));
/// assert_eq!(service.clone().oneshot(request.clone()).await?.status(), StatusCode::OK);
///
/// let refused = service.oneshot(request).await?;
/// assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
/// assert_eq!(refused.headers()["x-ratelimit-remaining"], "0");
/// assert!(refused.headers().contains_key("retry-after"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RateLimitLayer<L, F = EmptyBody> {
    limit: L,
    fields: LimitFields,
    policy: PolicyName,
    refusal: F,
}

impl RateLimitLayer<Arc<RateLimiter>> {
    /// All requests take from one bucket.
    #[must_use]
    pub fn global(limiter: Arc<RateLimiter>) -> Self {
        Self::new(limiter)
    }
}

impl<K, X> RateLimitLayer<PerKey<K, X>> {
    /// Each takes from the bucket of its key, and from that of all. `key` is a
    /// [`RequestKey`](super::RequestKey): [`ByClientIp`](super::ByClientIp),
    /// [`ByHeader`](super::ByHeader), or a `Fn(&Request<B>) -> K`.
    #[must_use]
    pub fn per_key(limiter: Arc<TieredRateLimiter<K>>, key: X) -> Self {
        Self::new(PerKey { limiter, key })
    }
}

impl<L> RateLimitLayer<L> {
    fn new(limit: L) -> Self {
        let (fields, policy) = (LimitFields::default(), PolicyName::default());
        Self { limit, fields, policy, refusal: EmptyBody }
    }
}

impl<L, F> RateLimitLayer<L, F> {
    /// Which fields answers get. Default: all.
    #[must_use]
    pub fn with_fields(mut self, fields: LimitFields) -> Self {
        self.fields = fields;
        self
    }

    /// The name of the limit in `RateLimit` and `RateLimit-Policy`. Where several layers are
    /// stacked, each needs its own. Default: `default`.
    ///
    /// # Errors
    /// [`ConfigError`]: not 1 to 64 printable ASCII characters, or a quote or backslash in it.
    pub fn with_policy(mut self, name: &str) -> Result<Self, ConfigError> {
        self.policy = PolicyName::new(name)?;
        Ok(self)
    }

    /// How refusals look: a `Fn(&TryAcquireError) -> Response<R>`, or any [`Refusal`]. Default:
    /// an empty body.
    #[must_use]
    pub fn with_refusal<G>(self, refusal: G) -> RateLimitLayer<L, G> {
        let Self { limit, fields, policy, .. } = self;
        RateLimitLayer { limit, fields, policy, refusal }
    }

    fn refuse<R>(&self, why: &TryAcquireError, standing: Option<Standing>) -> Response<R>
    where
        F: Refusal<R>,
    {
        let mut response = self.refusal.response(why);
        *response.status_mut() = match why {
            TryAcquireError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::TOO_MANY_REQUESTS,
        };
        if let Some(after) = why.retry_after() {
            let seconds = HeaderValue::from(whole_seconds(after).max(1));
            // A map that is full keeps what it has.
            let _ = response.headers_mut().try_insert(RETRY_AFTER, seconds);
        }
        self.told(standing).write(&mut response);
        response
    }

    fn told(&self, standing: Option<Standing>) -> Told {
        Told { standing, fields: self.fields, policy: self.policy.clone() }
    }
}

/// What an answer is to tell.
pub(super) struct Told {
    standing: Option<Standing>,
    fields: LimitFields,
    policy: PolicyName,
}

impl Told {
    pub(super) fn write<R>(&self, response: &mut Response<R>) {
        if let Some(standing) = &self.standing {
            standing.write(response.headers_mut(), self.fields, &self.policy);
        }
    }
}

impl<S, L: Clone, F: Clone> Layer<S> for RateLimitLayer<L, F> {
    type Service = Limited<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Limited { inner, layer: self.clone() }
    }
}

impl<L, F> fmt::Debug for RateLimitLayer<L, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("fields", &self.fields)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// How a refusal looks. A `Fn(&TryAcquireError) -> Response<R>` is one.
pub trait Refusal<R> {
    /// The body and whatever headers go with it. The layer sets the status (429; 503 when the
    /// limiter is closed) and adds `Retry-After` and the [`LimitFields`].
    fn response(&self, why: &TryAcquireError) -> Response<R>;
}

/// The refusal with the default body, which is the empty one of most body types.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyBody;

impl<R: Default> Refusal<R> for EmptyBody {
    fn response(&self, _: &TryAcquireError) -> Response<R> {
        Response::new(R::default())
    }
}

impl<R, F: Fn(&TryAcquireError) -> Response<R>> Refusal<R> for F {
    fn response(&self, why: &TryAcquireError) -> Response<R> {
        self(why)
    }
}

/// A service whose requests each take a token. Made by a [`RateLimitLayer`], which is `Y`.
///
/// It is ready when the service inside is, and refuses when it is called: whether a token is there
/// can only be known then. So place it outside of whatever reserves something when made ready (a
/// concurrency limit, a buffer): a refused call leaves that reservation with this instance, until
/// it is called again or dropped.
///
/// # Cost
/// A look at the clock, and [`RateLimiter::try_acquire`] or
/// [`TieredRateLimiter::try_acquire`](TieredRateLimiter::try_acquire). With any fields, a second
/// look at the bucket (with keys: a second look-up) and two allocations for each field written.
/// The answer's future is not boxed.
#[derive(Clone, Debug)]
pub struct Limited<S, Y> {
    inner: S,
    layer: Y,
}

impl<S, Y> Limited<S, Y> {
    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, L, F, B, R> Service<Request<B>> for Limited<S, RateLimitLayer<L, F>>
where
    S: Service<Request<B>, Response = Response<R>>,
    L: Limit<B>,
    F: Refusal<R>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let layer = &self.layer;
        let is_told = layer.fields != LimitFields::None;
        let Verdict { taken, standing } = layer.limit.take(&request, time::now(), is_told);
        match taken {
            Ok(()) => ResponseFuture::admitted(self.inner.call(request), layer.told(standing)),
            Err(why) => ResponseFuture::refused(layer.refuse(&why, standing)),
        }
    }
}
