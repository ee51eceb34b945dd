use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName};
use http::{Request, Response, StatusCode};
use tower::{Layer, Service, ServiceBuilder};

use super::super::*;
use crate::blocks::rate_limit::{
    Quota, RateLimiter, RateLimiterConfig, TieredQuota, TieredRateLimiter, TryAcquireError,
};
use crate::ground::enforcement::Enforcement;

const DAY: Duration = Duration::from_secs(86_400);

/// Answers at once, counts, and insists on being made ready before each call.
#[derive(Clone, Default)]
struct Inner {
    calls: Arc<AtomicUsize>,
    is_ready: bool,
}

impl Service<Request<()>> for Inner {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called where it was not made ready");
        self.calls.fetch_add(1, Ordering::Relaxed);
        ready(Ok(Response::new("inside".to_owned())))
    }
}

/// `burst` now, and hardly more.
fn burst(burst: u32) -> Quota {
    Quota::new(1, DAY).with_burst(burst)
}

fn tiered<K: Eq + std::hash::Hash>(per_key: u32, global: u32) -> Arc<TieredRateLimiter<K>> {
    let quota = TieredQuota::default().with_per_key(burst(per_key)).with_global(burst(global));
    Arc::new(TieredRateLimiter::new(quota).unwrap())
}

fn global(quota: impl Into<RateLimiterConfig>) -> RateLimitLayer<Arc<RateLimiter>> {
    RateLimitLayer::global(Arc::new(RateLimiter::new(quota).unwrap()))
}

fn send<S>(service: &mut S, request: Request<()>) -> Response<String>
where
    S: Service<Request<()>, Response = Response<String>, Error = Infallible>,
{
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    match pin!(service.call(request)).poll(&mut cx) {
        Poll::Ready(Ok(response)) => response,
        Poll::Pending => panic!("nothing waits here"),
    }
}

fn status<S>(service: &mut S, request: Request<()>) -> u16
where
    S: Service<Request<()>, Response = Response<String>, Error = Infallible>,
{
    send(service, request).status().as_u16()
}

fn from(peer: &str) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(PeerAddr(peer.parse().unwrap()));
    request
}

fn with(name: &'static str, value: &str) -> Request<()> {
    Request::builder().header(name, value).body(()).unwrap()
}

#[test]
fn a_refusal_is_an_answer_and_the_service_has_not_seen_it() {
    let inner = Inner::default();
    let mut service = global(burst(2)).layer(inner.clone());
    for left in ["1", "0"] {
        let answer = send(&mut service, Request::new(()));
        assert_eq!((answer.status(), answer.body().as_str()), (StatusCode::OK, "inside"));
        assert_eq!(answer.headers()["ratelimit-policy"], r#""default";q=2;w=172800"#);
        assert_eq!(answer.headers()["ratelimit"], format!(r#""default";r={left};t=86400"#));
        assert_eq!(answer.headers()["x-ratelimit-limit"], "2");
        assert_eq!(answer.headers()["x-ratelimit-remaining"], left);
        assert!(!answer.headers().contains_key("retry-after"));
    }
    for _ in 0..3 {
        let refused = send(&mut service, Request::new(()));
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.body(), "");
        assert_eq!(refused.headers()["ratelimit"], r#""default";r=0;t=86400"#);
        assert_eq!(refused.headers()["x-ratelimit-remaining"], "0");
        let after: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((86_399..=86_400 + 3_601).contains(&after), "{after}");
    }
    assert_eq!(inner.calls.load(Ordering::Relaxed), 2);
}

#[test]
fn it_is_ready_when_the_service_inside_is_also_without_tokens() {
    struct Never;
    impl Service<Request<()>> for Never {
        type Response = Response<String>;
        type Error = &'static str;
        type Future = Ready<Result<Self::Response, Self::Error>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            Poll::Ready(Err("broken"))
        }
        fn call(&mut self, _: Request<()>) -> Self::Future {
            panic!("it was never ready")
        }
    }
    let layer = global(burst(1));
    let mut cx = Context::from_waker(Waker::noop());
    let mut spent = layer.layer(Inner::default());
    assert_eq!(status(&mut spent, Request::new(())), 200);
    assert_eq!(spent.poll_ready(&mut cx), Poll::Ready(Ok(())));
    assert_eq!(layer.layer(Never).poll_ready(&mut cx), Poll::Ready(Err("broken")));
}

#[test]
fn an_error_of_the_service_inside_is_passed_on() {
    let inner = tower::service_fn(|_: Request<()>| ready(Err::<Response<String>, _>("broken")));
    let mut service = global(burst(1)).layer(inner);
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(answer) = pin!(service.call(Request::new(()))).poll(&mut cx) else { panic!() };
    assert_eq!(answer.unwrap_err(), "broken");
}

#[test]
fn each_client_has_its_bucket_and_a_spent_one_costs_the_others_nothing() {
    let limiter = tiered::<ClientIp>(2, 6);
    let by_address = ByClientIp::new(TrustedProxies::none());
    let layer = RateLimitLayer::per_key(Arc::clone(&limiter), by_address);
    let mut service = layer.layer(Inner::default());
    for (peer, expected) in [
        ("192.0.2.1:1", [200, 200, 429]),
        ("192.0.2.2:1", [200, 200, 429]),
        ("192.0.2.1:2", [429, 429, 429]),
        ("[2001:db8::1]:1", [200, 200, 429]),
        ("[2001:db8::2]:1", [429, 429, 429]),
        ("192.0.2.3:1", [429, 429, 429]),
    ] {
        assert_eq!([(); 3].map(|()| status(&mut service, from(peer))), expected, "{peer}");
    }
    assert_eq!(limiter.snapshot().keys, 3);
}

#[test]
fn the_quota_of_all_is_told_only_when_it_is_the_lesser() {
    let by_address = ByClientIp::new(TrustedProxies::none());
    let layer = RateLimitLayer::per_key(tiered::<ClientIp>(4, 5), by_address);
    let mut service = layer.layer(Inner::default());
    let mut left = |peer: &str| {
        let answer = send(&mut service, from(peer));
        assert_eq!(answer.headers()["ratelimit-policy"], r#""default";q=4;w=345600"#);
        let left = answer.headers()["x-ratelimit-remaining"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), left)
    };
    assert_eq!(left("192.0.2.1:1"), (200, "3".to_owned()));
    assert_eq!(left("192.0.2.2:1"), (200, "3".to_owned()), "of 4, and 3 for all");
    assert_eq!(left("192.0.2.3:1"), (200, "2".to_owned()), "of 4, but 2 for all");
    assert_eq!(left("192.0.2.4:1"), (200, "1".to_owned()));
    assert_eq!(left("192.0.2.5:1"), (200, "0".to_owned()));
    assert_eq!(left("192.0.2.6:1"), (429, "0".to_owned()), "its own is full");
}

#[test]
fn keys_by_header_and_by_function() {
    let by_header = ByHeader::new(HeaderName::from_static("x-api-key"));
    let layer = RateLimitLayer::per_key(tiered::<String>(1, 100), by_header);
    let mut service = layer.layer(Inner::default());
    let long = "k".repeat(257);
    let mut twice = with("x-api-key", "c");
    twice.headers_mut().append("x-api-key", "d".parse().unwrap());
    for (request, expected) in [
        (with("x-api-key", "a"), 200),
        (with("x-api-key", "a"), 429),
        (with("x-api-key", "b"), 200),
        (Request::new(()), 200),
        // All that is no plain value shares the bucket of those without.
        (with("x-api-key", ""), 429),
        (with("x-api-key", &long), 429),
        (with("x-api-key", "\u{fc}"), 429),
        (twice, 429),
        (with("x-api-key", &long[..256]), 200),
    ] {
        let sent = format!("{request:?}");
        assert_eq!(status(&mut service, request), expected, "{sent}");
    }

    let by_path = |request: &Request<()>| request.uri().path().to_owned();
    let layer = RateLimitLayer::per_key(tiered::<String>(1, 100), by_path);
    let mut service = layer.layer(Inner::default());
    let to = |path: &str| Request::builder().uri(path).body(()).unwrap();
    assert_eq!(["/a", "/a?x", "/b"].map(|path| status(&mut service, to(path))), [200, 429, 200]);
}

#[test]
fn the_body_of_a_refusal_is_its_makers() {
    let body = |why: &TryAcquireError| {
        let mut response = Response::new(format!("{why:?}"));
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().insert(CONTENT_TYPE, "text/plain".parse().unwrap());
        response
    };
    let limiter = Arc::new(RateLimiter::new(burst(1)).unwrap());
    let layer = RateLimitLayer::global(Arc::clone(&limiter)).with_refusal(body);
    let mut service = layer.layer(Inner::default());
    assert_eq!(status(&mut service, Request::new(())), 200);
    let refused = send(&mut service, Request::new(()));
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "whatever it says");
    assert_eq!(refused.headers()["content-type"], "text/plain");
    assert!(refused.body().starts_with("RateLimited("), "{}", refused.body());

    limiter.close();
    let refused = send(&mut service, Request::new(()));
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.body(), "Closed");
    assert_eq!(refused.headers().len(), 1, "never again: nothing of when, {refused:?}");
}

#[test]
fn stacked_layers_each_tell_of_their_own_limit() {
    let outer = global(burst(9)).with_policy("all").unwrap();
    let inner = global(burst(5)).with_policy("some").unwrap().with_fields(LimitFields::Draft);
    let quiet = global(burst(2)).with_fields(LimitFields::None);
    let mut service =
        ServiceBuilder::new().layer(outer).layer(inner).layer(quiet).service(Inner::default());
    let answer = send(&mut service, Request::new(()));
    let told: Vec<_> = answer.headers().get_all("ratelimit").iter().collect();
    assert_eq!(told, [r#""some";r=4;t=345600"#, r#""all";r=8;t=691200"#]);
    assert_eq!(RateLimitHint::read(answer.headers()).remaining, Some(4));
    send(&mut service, Request::new(()));
    let refused = send(&mut service, Request::new(()));
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "by the one that is quiet");
    assert!(refused.headers().contains_key("retry-after"));
}

#[test]
fn in_the_shadow_nothing_is_refused() {
    let config = RateLimiterConfig::from(burst(1)).with_enforcement(Enforcement::Shadow);
    let mut service = global(config).layer(Inner::default());
    assert_eq!([(); 5].map(|()| status(&mut service, Request::new(()))), [200; 5]);
}

#[test]
fn an_answer_was_given_once() {
    let mut service = global(burst(1)).layer(Inner::default());
    assert_eq!(status(&mut service, Request::new(())), 200);
    let mut cx = Context::from_waker(Waker::noop());
    let mut refused = pin!(service.call(Request::new(())));
    assert!(refused.as_mut().poll(&mut cx).is_ready());
    assert!(refused.as_mut().poll(&mut cx).is_pending());
}

#[test]
fn dropping_an_answer_to_come_takes_its_token_with_it() {
    let limiter = Arc::new(RateLimiter::new(burst(2)).unwrap());
    let never = tower::service_fn(|_: Request<()>| {
        std::future::pending::<Result<Response<String>, Infallible>>()
    });
    let mut service = RateLimitLayer::global(Arc::clone(&limiter)).layer(never);
    let mut cx = Context::from_waker(Waker::noop());
    let mut answer = Box::pin(service.call(Request::new(())));
    assert!(answer.as_mut().poll(&mut cx).is_pending());
    drop(answer);
    assert_eq!(limiter.peek().available, 1, "the service inside was called");
}
