//! The layers that are services: security headers, CORS, what passes the limit by, the limit.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION,
    ORIGIN, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeader;
use tower_layer::Layer;
use tower_service::Service;

use super::size::Incoming;
use crate::ConfigError;
use crate::intake::http::body::IntakeBody;
use crate::intake::http::config::HttpIntakeConfig;
use crate::intake::http::core::Route;
use crate::intake::http::handler::{Answer, Desk, Handler};
use crate::intake::http::problem::{Kind, Problem};
use crate::rate_limit::http::{ByClientIp, ClientIp, RateLimitLayer, TrustedProxies};
use crate::rate_limit::{TieredRateLimiter, TryAcquireError};

/// One service for all: cloned for each request, as calling it needs one of its own.
pub(in crate::edges::intake::http) trait Serve: Send + Sync {
    fn serve(
        &self,
        request: Request<Incoming>,
    ) -> Pin<Box<dyn Future<Output = Response<IntakeBody>> + Send>>;
}

struct Cloned<S>(S);

impl<S> Serve for Cloned<S>
where
    S: Service<Request<Incoming>, Response = Response<IntakeBody>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    fn serve(
        &self,
        request: Request<Incoming>,
    ) -> Pin<Box<dyn Future<Output = Response<IntakeBody>> + Send>> {
        // Always ready, as every layer here is.
        let answer = self.0.clone().call(request);
        Box::pin(async move {
            match answer.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    }
}

/// From the security headers inwards.
pub(in crate::edges::intake::http) fn of(
    config: &HttpIntakeConfig,
    proxies: TrustedProxies,
    desk: Arc<Desk>,
) -> Result<Arc<dyn Serve>, ConfigError> {
    let origins: Arc<[HeaderValue]> = config.origins()?.into();
    let gate = |inner: Arc<dyn Serve>| {
        let gate = Gate { desk: Arc::clone(&desk), origins: Arc::clone(&origins), inner };
        Arc::new(Cloned(secured(cors(&origins).layer(gate)))) as Arc<dyn Serve>
    };
    let handler = Handler::new(Arc::clone(&desk));
    let Some(rate) = config.rate.clone() else { return Ok(gate(Arc::new(Cloned(handler)))) };
    let limiter = Arc::new(TieredRateLimiter::<ClientIp>::new(rate)?);
    let layer = RateLimitLayer::per_key(limiter, ByClientIp::new(proxies));
    let limited = layer.with_refusal(too_many).layer(handler);
    Ok(gate(Arc::new(Cloned(limited))))
}

/// The limiter's own layer says when to come back.
fn too_many(_: &TryAcquireError) -> Response<IntakeBody> {
    Problem::new(Kind::TooManyRequests, "this client asks too often, or all together do").response()
}

fn cors(origins: &[HeaderValue]) -> CorsLayer {
    let fields = ["ratelimit", "ratelimit-policy", "idempotency-replayed"];
    let told = fields.map(HeaderName::from_static).into_iter().chain([LOCATION, RETRY_AFTER]);
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static("idempotency-key")])
        .expose_headers(told.collect::<Vec<_>>())
        .max_age(Duration::from_secs(600))
}

/// What is answered is data: never a page, never in a frame, and nothing that anybody may keep
/// unless it says so itself.
fn secured<S>(
    inner: S,
) -> impl Service<Request<Incoming>, Response = Response<IntakeBody>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static
where
    S: Service<Request<Incoming>, Response = Response<IntakeBody>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let set = |name, value| (name, HeaderValue::from_static(value));
    let [a, b, c, d, e] = [
        set(X_CONTENT_TYPE_OPTIONS, "nosniff"),
        set(X_FRAME_OPTIONS, "DENY"),
        set(REFERRER_POLICY, "no-referrer"),
        set(CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        set(CACHE_CONTROL, "no-store"),
    ];
    let inner = SetResponseHeader::overriding(inner, a.0, a.1);
    let inner = SetResponseHeader::overriding(inner, b.0, b.1);
    let inner = SetResponseHeader::overriding(inner, c.0, c.1);
    let inner = SetResponseHeader::overriding(inner, d.0, d.1);
    SetResponseHeader::if_not_present(inner, e.0, e.1)
}

/// Answers probes past limit and token, and refuses what a page of somebody else's sends: a browser
/// lets any page `POST` text to whatever listens on its user's machine.
#[derive(Clone)]
struct Gate {
    desk: Arc<Desk>,
    origins: Arc<[HeaderValue]>,
    inner: Arc<dyn Serve>,
}

impl Gate {
    fn is_foreign(&self, request: &Request<Incoming>) -> bool {
        let mut origins = request.headers().get_all(ORIGIN).iter();
        request.method() == Method::POST && origins.any(|origin| !self.origins.contains(origin))
    }
}

impl Service<Request<Incoming>> for Gate {
    type Response = Response<IntakeBody>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Answer {
        let answer = |response| Box::pin(std::future::ready(Ok(response)));
        let probe = Route::of(request.uri().path()).filter(|route| route.is_probe());
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if let Some(probe) = probe.filter(|_| is_read) {
            return answer(self.desk.probe(probe).unwrap_or_else(|problem| problem.response()));
        }
        if self.is_foreign(&request) {
            let detail = "a page of this origin may not use this";
            return answer(Problem::new(Kind::ForeignOrigin, detail).response());
        }
        let answer = self.inner.serve(request);
        Box::pin(async move { Ok(answer.await) })
    }
}
