//! A service of HTTP requests that limits its clients by their addresses, behind a proxy that it
//! trusts; and a client that heeds what it is told. No network is used.
//!
//! `cargo run --example rate_limited_service --features tower`

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use headworks::rate_limit::http::{
    ByClientIp, ClientIp, ForwardingHeader, PeerAddr, RateLimitHint, RateLimitLayer, TrustedProxies,
};
use headworks::rate_limit::{Quota, RateLimiter, TieredQuota, TieredRateLimiter, TryAcquireError};
use http::{Request, Response, StatusCode};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

type Answer = Response<String>;

async fn hello(_: Request<()>) -> Result<Answer, Infallible> {
    Ok(Response::new("hello".to_owned()))
}

/// What is refused gets a body of our own.
fn too_many(why: &TryAcquireError) -> Answer {
    Response::new(format!("not now: {why}"))
}

/// A request as it arrives: from the other end of its connection, with what the proxy wrote.
fn arriving(peer: &str, forwarded_for: &str) -> Result<Request<()>, Box<dyn std::error::Error>> {
    let mut request = Request::builder().header("x-forwarded-for", forwarded_for).body(())?;
    // Whoever accepts connections does this, once per request.
    request.extensions_mut().insert(PeerAddr(peer.parse()?));
    Ok(request)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Three at once for each client and one more a minute; for all together a thousand a second.
    let quota = TieredQuota::default()
        .with_per_key(Quota::per_minute(1).with_burst(3))
        .with_global(Quota::per_second(1_000));
    let limiter = Arc::new(TieredRateLimiter::<ClientIp>::new(quota)?);
    let proxies = TrustedProxies::new(["10.0.0.0/8"], ForwardingHeader::XForwardedFor)?;
    let by_address = RateLimitLayer::per_key(Arc::clone(&limiter), ByClientIp::new(proxies))
        .with_policy("per-client")?
        .with_refusal(too_many);
    let mut service = ServiceBuilder::new().layer(by_address).service(service_fn(hello));

    // Alice, through our proxy. She puts a new address in front each time; the proxy appends hers.
    let mut statuses = Vec::new();
    let mut last = None;
    for n in 1..=5 {
        let request = arriving("10.0.0.7:443", &format!("203.0.113.{n}, 198.51.100.1"))?;
        let answer = service.ready().await?.call(request).await?;
        println!("alice, request {n}: {}, {:?}", answer.status(), answer.headers()["ratelimit"]);
        statuses.push(answer.status().as_u16());
        last = Some(answer);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);

    // A client that is told reads it.
    let refused = last.ok_or("five were sent")?;
    println!("she is told: {}", refused.body());
    let hint = RateLimitHint::read(refused.headers());
    println!("she understands: {hint:?}");
    assert_eq!((hint.limit, hint.remaining), (Some(3), Some(0)));
    assert!(hint.wait() >= Duration::from_secs(59), "{:?}", hint.wait());

    // Bob has his own bucket, and one who comes without the proxy is believed nothing.
    for (who, peer, written) in [
        ("bob", "10.0.0.7:443", "198.51.100.2"),
        ("bob, with an address of his /64", "[2001:db8::1]:80", "198.51.100.1"),
        ("and with another", "[2001:db8::2]:80", "198.51.100.1"),
    ] {
        let answer = service.ready().await?.call(arriving(peer, written)?).await?;
        println!("{who}: {}", answer.status());
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let snapshot = limiter.snapshot();
    println!("{} clients known, {} refusals", snapshot.keys, snapshot.refused);
    assert_eq!((snapshot.keys, snapshot.refused), (3, 2));

    // One bucket for everybody is the same with another limiter.
    let limiter = Arc::new(RateLimiter::new(Quota::per_minute(1))?);
    let mut service =
        ServiceBuilder::new().layer(RateLimitLayer::global(limiter)).service(service_fn(hello));
    let first = service.ready().await?.call(Request::new(())).await?;
    let second = service.ready().await?.call(Request::new(())).await?;
    assert_eq!([first.status().as_u16(), second.status().as_u16()], [200, 429]);
    Ok(())
}
