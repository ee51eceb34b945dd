//! What lies around the handler.

use std::convert::Infallible;
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};

use super::*;
use crate::rate_limit::http::PeerAddr;
use crate::rate_limit::{Quota, TieredQuota};

/// A body whose length nobody knows: pieces of so many bytes, and then an end or none.
struct Pieces {
    left: usize,
    bytes: usize,
    ends: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return if self.ends { Poll::Ready(None) } else { Poll::Pending };
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'a'; self.bytes])))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

async fn send(intake: &HttpIntake, body: Pieces) -> Said {
    let request = Request::builder().method("POST").uri("/intent").body(body).unwrap();
    Said::of(intake.service().call(request).await.unwrap()).await
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_whatever_it_says_of_itself() {
    let config = unlimited().with_body_bytes(100);
    let intake = HttpIntake::builder(config, &open(), lines).build().unwrap();
    let said = ask(&intake, post(&"a".repeat(101))).await;
    assert_eq!((said.status, said.problem()), (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"));
    let said = send(&intake, Pieces { left: usize::MAX, bytes: 30, ends: false }).await;
    assert_eq!((said.status, said.problem()), (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"));
    ask(&intake, post(&"a".repeat(100))).await.id();
    send(&intake, Pieces { left: 10, bytes: 10, ends: true }).await.id();
}

#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_given_up_in_its_time() {
    let intake = intake(&open());
    let since = tokio::time::Instant::now();
    let said = send(&intake, Pieces { left: 3, bytes: 10, ends: false }).await;
    assert_eq!((said.status, said.problem()), (StatusCode::REQUEST_TIMEOUT, "body-timeout"));
    let took = since.elapsed();
    assert!((10..=11).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test]
async fn what_is_being_read_is_bounded_over_all() {
    let config = unlimited().with_body_bytes(10 << 10).with_bodies_bytes(25 << 10);
    let intake = HttpIntake::builder(config, &open(), lines).build().unwrap();
    let mut held = Vec::new();
    for left in [0, 0, 0, 10, 10] {
        // Who has sent nothing yet holds nothing.
        let mut sending = Box::pin(send(&intake, Pieces { left, bytes: 1 << 10, ends: false }));
        assert!(poll(&mut sending).is_pending());
        held.push(sending);
    }
    let said = send(&intake, Pieces { left: 10, bytes: 1 << 10, ends: true }).await;
    assert_eq!((said.status, said.problem()), (StatusCode::SERVICE_UNAVAILABLE, "busy"));
    assert_eq!(said.header("retry-after"), "1");
    ask(&intake, post("small")).await.id();
    held.pop();
    send(&intake, Pieces { left: 10, bytes: 1 << 10, ends: true }).await.id();
}

/// A piece that comes with the whole buffer it was read into.
struct Pinning {
    _held: Arc<()>,
}

impl AsRef<[u8]> for Pinning {
    fn as_ref(&self) -> &[u8] {
        b"a"
    }
}

/// So many of those, and no end.
struct Crumbs {
    left: usize,
    buffers: Arc<()>,
}

impl Body for Crumbs {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.left.checked_sub(1) else { return Poll::Pending };
        self.left = left;
        let piece = Bytes::from_owner(Pinning { _held: Arc::clone(&self.buffers) });
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

#[tokio::test]
async fn pieces_of_a_byte_hold_no_more_than_a_byte() {
    let buffers = Arc::new(());
    let intake = intake(&open());
    let body = Crumbs { left: 1_000, buffers: Arc::clone(&buffers) };
    let request = Request::builder().method("POST").uri("/intent").body(body).unwrap();
    let mut service = intake.service();
    let mut sending = Box::pin(service.call(request));
    // Whatever turns it takes to come to where no more is sent.
    for _ in 0..100 {
        assert!(poll(&mut sending).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(Arc::strong_count(&buffers), 2, "the body's own, and this one");
}

#[tokio::test]
async fn a_head_that_is_too_long_is_a_problem() {
    let config = unlimited().with_header_bytes(1 << 10);
    let intake = HttpIntake::builder(config, &open(), lines).build().unwrap();
    let long = "a".repeat(600);
    ask(&intake, with(post("a"), "x-long", &long)).await.id();
    let said = ask(&intake, with(with(post("a"), "x-long", &long), "x-other", &long)).await;
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    assert_eq!((said.status, said.problem()), (status, "head-too-large"));
    let path = format!("/intent?{}", "a".repeat(1 << 10));
    assert_eq!(ask(&intake, get(&path)).await.status, status);
}

#[tokio::test]
async fn every_answer_has_its_security_headers() {
    let intake = intake(&open());
    for request in [post("a"), get("/healthz"), get("/nothing"), request("OPTIONS", "/intent", "")]
    {
        let said = ask(&intake, request).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(said.header(name), value, "{said:?}");
        }
        assert!(said.header("content-security-policy").contains("default-src 'none'"));
    }
}

#[tokio::test]
async fn pages_of_known_origins_may_and_others_may_not() {
    let config = unlimited().with_cors_origins(vec!["https://ops.example".into()]);
    let intake = HttpIntake::builder(config, &open(), lines).build().unwrap();
    let preflight = |origin: &str| {
        let request = with(request("OPTIONS", "/intent", ""), "origin", origin);
        with(request, "access-control-request-method", "POST")
    };
    let said = ask(&intake, preflight("https://ops.example")).await;
    assert_eq!(said.status, StatusCode::OK);
    assert_eq!(said.header("access-control-allow-origin"), "https://ops.example");
    assert!(said.header("access-control-allow-headers").contains("idempotency-key"));
    let said = ask(&intake, preflight("https://evil.example")).await;
    assert_eq!(said.header("access-control-allow-origin"), "");

    let said = ask(&intake, with(post("a"), "origin", "https://ops.example")).await;
    assert_eq!(said.header("access-control-allow-origin"), "https://ops.example");
    said.id();
    for origin in ["https://evil.example", "null"] {
        let said = ask(&intake, with(post("a"), "origin", origin)).await;
        assert_eq!((said.status, said.problem()), (StatusCode::FORBIDDEN, "foreign-origin"));
    }
    assert_eq!(intake.snapshot().accepted, 1);
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let rate = TieredQuota::default().with_per_key(Quota::per_minute(2));
    let intake =
        HttpIntake::builder(unlimited().with_rate(Some(rate)), &open(), lines).build().unwrap();
    let from = |address: &str, mut request: Request<Full<Bytes>>| {
        request.extensions_mut().insert(PeerAddr(address.parse().unwrap()));
        request
    };
    for left in ["1", "0"] {
        let said = ask(&intake, from("192.0.2.1:1", post("a"))).await;
        assert_eq!(said.header("x-ratelimit-remaining"), left);
        said.id();
    }
    let said = ask(&intake, from("192.0.2.1:2", post("a"))).await;
    assert_eq!((said.status, said.problem()), (StatusCode::TOO_MANY_REQUESTS, "too-many-requests"));
    assert!(said.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert!(said.header("ratelimit").contains("r=0"), "{said:?}");
    assert_eq!(said.header("x-content-type-options"), "nosniff");
    ask(&intake, from("192.0.2.2:1", post("a"))).await.id();
    for _ in 0..5 {
        assert_eq!(ask(&intake, from("192.0.2.1:1", get("/readyz"))).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn an_answer_that_will_not_change_is_given_again() {
    let intake = intake(&open());
    let id = ask(&intake, post("a")).await.id();
    let ended = end_of(&intake, &id).await;
    let path = format!("/intent/{id}");
    let again = ask(&intake, get(&path)).await;
    assert_eq!((again.body, again.headers.get("age").is_some()), (ended, true));
    assert_eq!(again.headers["cache-control"], "private, max-age=10");
    assert_eq!(again.headers["x-content-type-options"], "nosniff");
    assert_eq!(intake.snapshot().cached, 1);
    // Not to a page, whose answer would have other headers.
    let said = ask(&intake, with(get(&path), "origin", "https://a.example")).await;
    assert!(said.headers.get("age").is_none());

    let never = HttpIntake::builder(unlimited().with_cache_for(None), &open(), lines).build();
    let never = never.unwrap();
    let id = ask(&never, post("a")).await.id();
    end_of(&never, &id).await;
    assert_eq!(
        ask(&never, get(&format!("/intent/{id}"))).await.header("cache-control"),
        "no-store"
    );
    assert_eq!(never.snapshot().cached, 0);
}

#[tokio::test]
async fn every_answer_is_counted_and_timed_once() {
    let intake = intake(&open());
    let id = ask(&intake, post("a")).await.id();
    end_of(&intake, &id).await;
    let before = intake.snapshot();
    ask(&intake, get(&format!("/intent/{id}"))).await;
    ask(&intake, get("/nothing")).await;
    ask(&intake, post("panic")).await;
    let after = intake.snapshot();
    let by_class: Vec<_> =
        after.answers().iter().zip(before.answers()).map(|(a, b)| a - b).collect();
    assert_eq!(by_class, [0, 1, 0, 1, 1]);
    assert_eq!(after.took.count() - before.took.count(), 3);
    let other = after.routes.iter().find(|route| route.route == "other").unwrap();
    assert_eq!(other.answers, [0, 0, 0, 1, 0]);
    let mut names: Vec<_> = after.metrics().map(|metric| metric.name).collect();
    assert!(names.iter().all(|name| name.starts_with("http_intake_")));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

/// Writes down whatever events say.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<String>>);

impl tracing::field::Visit for Events {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        *self.0.lock() += &format!("{}={value:?} ", field.name());
    }
}

impl tracing::Subscriber for Events {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        if event.metadata().target().contains("intake") {
            event.record(&mut self.clone());
            *self.0.lock() += "\n";
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn the_log_has_one_line_an_answer_and_no_secret() {
    let events = Events::default();
    let _guard = tracing::subscriber::set_default(events.clone());
    let tokens = StaticTokens::new().with("token-0123456789", "red").unwrap();
    let intake = HttpIntake::builder(unlimited(), &open(), lines).bearer(tokens).build().unwrap();
    let mut request = with(post("secret-body"), "authorization", "Bearer token-0123456789");
    request = with(request, "idempotency-key", "secret-key");
    *request.uri_mut() = "/intent?token=secret-query".parse().unwrap();
    request.extensions_mut().insert(PeerAddr("192.0.2.1:4711".parse().unwrap()));
    let id = ask(&intake, request).await.id();
    ask(&intake, with(get(&format!("/intent/{id}")), "authorization", "Bearer wrong-secret-0"))
        .await;
    ask(&intake, request_of("SECRET", "/secret-path")).await;
    let told = events.0.lock().clone();
    assert_eq!(told.lines().count(), 3, "{told}");
    for field in [
        "method=\"POST\"",
        "route=\"/intent\"",
        "status=202",
        "client=192.0.2.1",
        "status=401",
        "route=\"/intent/{id}\"",
        "method=\"other\"",
        "route=\"other\"",
    ] {
        assert!(told.contains(field), "{field} in {told}");
    }
    for secret in ["secret", "SECRET", "token", &id] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}

fn request_of(method: &str, path: &str) -> Request<Full<Bytes>> {
    request(method, path, "")
}

#[tokio::test]
async fn an_answer_that_is_dropped_costs_nothing_but_the_answer() {
    let (pipeline, gate) = gated(crate::PipelineConfig::default());
    let intake = intake(&pipeline);
    drop(intake.service().call(post("a/1")));
    assert_eq!(pipeline.snapshot().ledger.accepted, 0, "not polled, not submitted");
    let mut answer = Box::pin(intake.service().call(post("a/1")));
    // Whatever this poll came to, the intent is accepted once at most, and ends.
    let _ = poll(&mut answer);
    drop(answer);
    gate.add_permits(10);
    let report = pipeline.shutdown(Duration::from_secs(5)).await;
    assert_eq!((report.ledger.accepted, report.ledger.completed), (1, 1));
    while intake.snapshot().live_tickets > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(intake.snapshot().ended_tickets, 1);
}
