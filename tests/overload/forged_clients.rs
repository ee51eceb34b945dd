//! The limiter that this crate's forerunner had keyed clients by the first entry of
//! `X-Forwarded-For`, whoever wrote it, and let requests without an address through. Each fault
//! is a load here; the control is that limiter.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use headworks::rate_limit::http::{
    ByClientIp, ClientIp, ForwardingHeader, PeerAddr, RateLimitLayer, TrustedProxies,
};
use headworks::rate_limit::{Quota, TieredQuota, TieredRateLimiter};
use http::{Request, Response, StatusCode};
use tower::{Layer, Service, service_fn};

const SENT: u32 = 10_000;
const BURST: u32 = 20;

/// Says whether a request is let through.
type Door = Box<dyn FnMut(Request<()>) -> bool>;

/// `BURST` for each client and none comes back in the meantime.
fn ours(proxies: TrustedProxies) -> Door {
    let per_key = Quota::new(1, Duration::from_secs(86_400)).with_burst(BURST);
    let global = Quota::per_second(1_000_000).with_burst(1_000_000);
    let quota = TieredQuota::default().with_per_key(per_key).with_global(global);
    let limiter = Arc::new(TieredRateLimiter::<ClientIp>::new(quota).unwrap());
    let inside = |_: Request<()>| -> Ready<Result<_, Infallible>> { ready(Ok(Response::new(()))) };
    let mut service =
        RateLimitLayer::per_key(limiter, ByClientIp::new(proxies)).layer(service_fn(inside));
    Box::new(move |request| {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut cx).is_ready());
        match std::pin::pin!(service.call(request)).as_mut().poll(&mut cx) {
            Poll::Ready(answer) => answer.unwrap().status() == StatusCode::OK,
            Poll::Pending => panic!("nothing waits here"),
        }
    })
}

fn theirs() -> Door {
    let mut taken = HashMap::<IpAddr, u32>::new();
    Box::new(move |request| {
        let first =
            |value: &http::HeaderValue| value.to_str().ok()?.split(',').next()?.parse().ok();
        let forwarded = request.headers().get("x-forwarded-for").and_then(first);
        let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0.ip());
        let Some(client) = forwarded.or(peer) else { return true };
        let taken = taken.entry(client).or_default();
        *taken += 1;
        *taken <= BURST
    })
}

/// One client, a new address in every header it can think of, in each request.
fn forged(door: &mut Door, peer: &str, appended: Option<&str>) -> u32 {
    let peer: SocketAddr = peer.parse().unwrap();
    let passed = (0..SENT).filter(|n| {
        let made_up = IpAddr::from((0x0100_0000 + n).to_be_bytes());
        let line = match appended {
            Some(seen) => format!("{made_up}, {seen}"),
            None => made_up.to_string(),
        };
        let mut request = Request::new(());
        request.extensions_mut().insert(PeerAddr(peer));
        let headers = request.headers_mut();
        headers.insert("x-forwarded-for", line.parse().unwrap());
        headers.insert("forwarded", format!("for={made_up}").parse().unwrap());
        headers.insert("x-real-ip", made_up.to_string().parse().unwrap());
        door(request)
    });
    passed.count() as u32
}

fn nameless(door: &mut Door) -> u32 {
    (0..SENT).filter(|_| door(Request::new(()))).count() as u32
}

fn proxies() -> TrustedProxies {
    TrustedProxies::new(["10.0.0.0/8"], ForwardingHeader::XForwardedFor).unwrap()
}

#[test]
fn a_forged_x_forwarded_for_passes_no_more_than_the_burst() {
    assert_eq!(forged(&mut ours(TrustedProxies::none()), "198.51.100.1:99", None), BURST);
    assert_eq!(forged(&mut ours(proxies()), "198.51.100.1:99", None), BURST);
}

#[test]
fn nor_does_one_that_a_trusted_proxy_appended_to() {
    let mut door = ours(proxies());
    assert_eq!(forged(&mut door, "10.0.0.1:99", Some("198.51.100.1")), BURST);
    assert_eq!(forged(&mut door, "10.0.0.2:99", Some("198.51.100.1, 10.0.0.1")), 0, "the same");
    assert_eq!(forged(&mut door, "10.0.0.1:99", Some("198.51.100.2")), BURST, "another");
    assert_eq!(forged(&mut door, "10.0.0.1:99", Some("unknown")), BURST, "the proxy's own");
}

#[test]
fn without_an_address_all_share_one_bucket() {
    assert_eq!(nameless(&mut ours(proxies())), BURST);
}

#[test]
fn control_the_forerunner_let_all_10_000_of_10_000_through() {
    assert_eq!(forged(&mut theirs(), "198.51.100.1:99", None), SENT);
    assert_eq!(nameless(&mut theirs()), SENT);
}
