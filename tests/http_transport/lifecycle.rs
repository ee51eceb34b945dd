//! The beginning and the end of a pool: dialling ahead, another configuration, closing.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use headworks::http_transport::{
    Body, CloseReason, CloseReport, Preset, Protocol, TransportConfig, TransportError,
};
use headworks::{Transport, TransportFactory};

use crate::server::{OK, Peer, Server, at_rest, counts, patiently, transport, until};

const LONG: Duration = Duration::from_secs(15);
const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha";

async fn get(transport: &Transport, server: &Server) {
    let answer = patiently(transport.get(server.url("/"))).await.unwrap();
    assert_eq!(answer.into_body().bytes(10).await.unwrap(), "ok");
}

/// A request whose answer is under way: what came of it, and who answers.
async fn half_answered(transport: &Transport, server: &Server) -> (Body, Peer) {
    let (answer, peer) = tokio::join!(transport.get(server.url("/")), async {
        let mut peer = server.accept().await;
        peer.request().await.unwrap();
        peer.write(HALF).await;
        peer
    });
    (answer.unwrap().into_body(), peer)
}

#[tokio::test]
async fn a_closing_pool_refuses_new_requests_and_waits_for_those_under_way() {
    let server = Server::by_hand().await;
    let transport = transport(Preset::Default);
    let (mut body, mut peer) = half_answered(&transport, &server).await;
    assert_eq!(body.chunk().await.unwrap().unwrap(), "ha");
    let closing = transport.clone();
    let mut close = pin!(closing.close(LONG));
    assert!(close.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let refused = transport.get(server.url("/")).await.unwrap_err();
    assert!(matches!(refused, TransportError::Closed), "{refused:?}");
    assert!(!refused.is_retryable());
    peer.write("lf").await;
    let read = async { (body.chunk().await.unwrap().unwrap(), body.chunk().await.is_none()) };
    let (report, read) = patiently(async { tokio::join!(close, read) }).await;
    assert_eq!((report, read), (CloseReport::default(), ("lf".into(), true)));
    peer.closed().await;
    let counts = counts(&transport);
    assert_eq!((counts.open(), counts.closed.total()), (0, 1), "{counts:?}");
}

#[tokio::test]
async fn idle_connections_are_closed_at_once_and_closing_again_changes_nothing() {
    let server = Server::answering().await;
    let transport = transport(Preset::Default);
    get(&transport, &server).await;
    until(|| counts(&transport).idle == 1).await;
    assert_eq!(patiently(transport.close(LONG)).await, CloseReport::default());
    let closed = counts(&transport);
    assert_eq!((closed.open(), closed.closed.of(CloseReason::Retired)), (0, 1), "{closed:?}");
    assert_eq!(patiently(transport.close(LONG)).await, CloseReport::default());
}

/// One reads a body, one waits for a header, one waits in line.
#[tokio::test]
async fn what_has_not_ended_in_time_is_cut_and_listed() {
    let server = Server::by_hand().await;
    let transport = transport(TransportConfig::default().with_open_per_host(2));
    let (mut body, first) = half_answered(&transport, &server).await;
    assert_eq!(body.chunk().await.unwrap().unwrap(), "ha");
    let (header, line) = (transport.get(server.url("/")), transport.get(server.url("/")));
    let close = async {
        let mut second = server.accept().await;
        second.request().await.unwrap();
        until(|| counts(&transport).waiting == 1).await;
        (transport.close(Duration::from_millis(20)).await, second)
    };
    let all = async { tokio::join!(header, line, close, body.chunk()) };
    let (header, line, (report, second), chunk) = patiently(Box::pin(all)).await;
    for error in [header.unwrap_err(), line.unwrap_err(), chunk.unwrap().unwrap_err()] {
        assert!(matches!(error, TransportError::Closed), "{error:?}");
    }
    assert_eq!((report.requests, report.hosts.len()), (3, 1));
    let host = &report.hosts[0];
    assert_eq!(host.host, format!("http://{}", server.address));
    assert_eq!((host.waiting, host.dialling, host.active, host.streams), (1, 0, 2, 0));
    first.closed().await;
    second.closed().await;
    let counts = counts(&transport);
    assert_eq!((counts.open(), counts.waiting), (0, 0), "{counts:?}");
}

/// A server that never says its settings: the dial does not end by itself.
#[tokio::test]
async fn a_dial_under_way_is_cut_too() {
    let server = Server::by_hand().await;
    let transport = transport(TransportConfig::default().with_protocol(Protocol::Http2));
    let close = async {
        let peer = server.accept().await;
        let report = transport.close(Duration::ZERO).await;
        peer.closed().await;
        report
    };
    let dialled = async { tokio::join!(transport.get(server.url("/")), close) };
    let (answer, report) = patiently(Box::pin(dialled)).await;
    assert!(matches!(answer.unwrap_err(), TransportError::Closed));
    assert_eq!((report.requests, report.hosts[0].dialling), (1, 1));
    assert_eq!(counts(&transport).open(), 0);
}

#[tokio::test]
async fn a_close_that_is_dropped_cuts_nothing_and_can_be_gone_on_with() {
    let server = Server::by_hand().await;
    let transport = transport(Preset::Default);
    let (body, mut peer) = half_answered(&transport, &server).await;
    {
        let mut close = pin!(transport.close(LONG));
        assert!(close.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert!(matches!(transport.get(server.url("/")).await.unwrap_err(), TransportError::Closed));
    peer.write("lf").await;
    assert_eq!(patiently(body.bytes(10)).await.unwrap(), "half");
    assert_eq!(patiently(transport.close(LONG)).await, CloseReport::default());
}

#[tokio::test]
async fn a_closed_factory_has_closed_all_and_hands_out_what_is_closed() {
    let server = Server::answering().await;
    let factory = TransportFactory::new().unwrap();
    let named = |name: &'static str| TransportConfig::default().with_name(name);
    let (one, two) = (factory.transport(named("one")).unwrap(), factory.transport(named("two")));
    let two = two.unwrap();
    get(&one, &server).await;
    get(&two, &server).await;
    factory.reload(&two, named("three")).unwrap();
    get(&two, &server).await;
    assert_eq!(patiently(factory.close(LONG)).await, CloseReport::default());
    for transport in [&one, &two, &factory.transport(named("four")).unwrap()] {
        let error = transport.get(server.url("/")).await.unwrap_err();
        assert!(matches!(error, TransportError::Closed), "{error:?}");
        assert_eq!(counts(transport).open(), 0);
    }
    factory.reload(&one, named("five")).unwrap();
    assert!(matches!(one.get(server.url("/")).await.unwrap_err(), TransportError::Closed));
}

#[tokio::test]
async fn a_new_pool_takes_the_place_of_one_that_was_closed() {
    let server = Server::answering().await;
    let factory = TransportFactory::new().unwrap();
    let closed = factory.transport(Preset::Default).unwrap();
    patiently(closed.close(LONG)).await;
    get(&factory.transport(Preset::Default).unwrap(), &server).await;
    assert!(matches!(closed.get(server.url("/")).await.unwrap_err(), TransportError::Closed));
}

#[tokio::test]
async fn another_configuration_drops_no_request_and_mixes_no_pools() {
    let server = Server::by_hand().await;
    let factory = TransportFactory::new().unwrap();
    let transport = factory.transport(Preset::Default).unwrap();
    let (clone, other) = (transport.clone(), factory.transport(Preset::Default).unwrap());
    let (body, mut old) = half_answered(&transport, &server).await;

    let wrong = TransportConfig::default().with_open_per_host(0);
    factory.reload(&transport, wrong).unwrap_err();
    assert_eq!(counts(&transport).opened, 1, "nothing has changed");
    let new = TransportConfig::default().with_name("new");
    factory.reload(&transport, new.clone()).unwrap();
    assert_eq!(clone.snapshot().name, "new", "a clone goes with it");
    assert_eq!((counts(&other).active, &*other.snapshot().name), (1, "http"), "the other stays");
    assert_eq!(counts(&factory.transport(new).unwrap()).opened, 0);

    let (answer, mut peer) = tokio::join!(clone.get(server.url("/")), async {
        let mut peer = server.accept().await;
        peer.request().await.unwrap();
        peer.write(OK).await;
        peer
    });
    answer.unwrap().into_body().bytes(10).await.unwrap();
    assert_eq!((counts(&clone).opened, counts(&other).opened), (1, 1));
    old.write("lf").await;
    assert_eq!(patiently(body.bytes(10)).await.unwrap(), "half");
    until(|| counts(&other).idle == 1).await;
    // Nobody uses the old one any more.
    factory.reload(&other, TransportConfig::default().with_name("new")).unwrap();
    old.closed().await;
    until(|| counts(&clone).idle == 1).await;
    let serve = async {
        peer.request().await.unwrap();
        peer.write(OK).await;
    };
    let (answer, ()) = patiently(async { tokio::join!(other.get(server.url("/")), serve) }).await;
    assert_eq!(answer.unwrap().status(), 200);
    assert_eq!(counts(&other).opened, 1, "and is the one of both");
}

#[tokio::test]
async fn the_last_transport_takes_the_idle_connections_with_it_though_an_answer_is_being_read() {
    let server = Server::by_hand().await;
    let transport = transport(Preset::Default);
    let warm = patiently(transport.warm_up(server.url("/"), 1)).await.unwrap();
    assert_eq!(warm.opened, 1);
    let mut idle = server.accept().await;
    let (answer, mut peer) = tokio::join!(transport.get(server.url("/")), async {
        idle.request().await.unwrap();
        idle.write(HALF).await;
        idle
    });
    patiently(transport.warm_up(server.url("/"), 2)).await.unwrap();
    let second = server.accept().await;
    drop(transport);
    second.closed().await;
    peer.write("lf").await;
    assert_eq!(patiently(answer.unwrap().into_body().bytes(10)).await.unwrap(), "half");
    peer.closed().await;
}

#[tokio::test]
async fn connections_are_dialled_ahead_up_to_the_caps_and_then_used() {
    let server = Server::answering().await;
    let config = TransportConfig::default().with_idle_per_host(4).with_open_per_host(10);
    let transport = transport(config);
    let warm = patiently(transport.warm_up(server.url("/"), 3)).await.unwrap();
    assert!(warm.error.is_none());
    assert_eq!((warm.opened, at_rest(&transport).await.idle), (3, 3));
    let warm = patiently(transport.warm_up(server.url("/"), 100)).await.unwrap();
    assert_eq!((warm.opened, at_rest(&transport).await.idle), (1, 4), "not above the idle cap");
    get(&transport, &server).await;
    let rest = at_rest(&transport).await;
    assert_eq!((rest.opened, rest.reused, rest.idle), (4, 1, 4), "{rest:?}");
    let warm = patiently(transport.warm_up(server.url("/"), 4)).await.unwrap();
    assert_eq!(warm.opened, 0, "those that are there count");
}

#[tokio::test]
async fn the_first_dial_that_fails_is_told_and_ends_it() {
    let gone = {
        let server = Server::by_hand().await;
        server.url("/")
    };
    let transport = transport(Preset::Default);
    let warm = patiently(transport.warm_up(gone, 3)).await.unwrap();
    assert_eq!(warm.opened, 0);
    assert!(matches!(warm.error, Some(TransportError::Dial { .. })), "{warm:?}");
    assert_eq!(at_rest(&transport).await.opened, 0);
    let error = transport.warm_up("/nowhere", 1).await.unwrap_err();
    assert!(matches!(error, TransportError::InvalidUrl(_)));
    patiently(transport.close(LONG)).await;
    let error = transport.warm_up("http://127.0.0.1:1/", 1).await.unwrap_err();
    assert!(matches!(error, TransportError::Closed));
}

#[tokio::test]
async fn dialling_ahead_that_is_dropped_leaves_no_place_taken() {
    let server = Server::by_hand().await;
    let config = TransportConfig::default().with_protocol(Protocol::Http2);
    let transport = transport(config);
    {
        let mut warm = pin!(transport.warm_up(server.url("/"), 2));
        assert!(warm.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(counts(&transport).dialling, 1, "shared connections one at a time");
    }
    until(|| counts(&transport).open() == 0).await;
}

/// A connection's task ends on the runtime that dialled, and nobody drives that any more.
#[test]
fn a_runtime_that_stands_still_does_not_hold_up_a_close() {
    let build = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (stands_still, runs) = (build(), build());
    let transport = transport(Preset::Default);
    let (server, body) = stands_still.block_on(async {
        let server = Server::by_hand().await;
        let (mut body, peer) = half_answered(&transport, &server).await;
        assert_eq!(body.chunk().await.unwrap().unwrap(), "ha");
        ((server, peer), body)
    });
    let report = runs.block_on(patiently(transport.close(Duration::from_millis(20))));
    assert_eq!((report.requests, report.unresponsive), (1, 1));
    let again = runs.block_on(patiently(transport.close(Duration::ZERO)));
    assert_eq!(again.unresponsive, 1, "it still stands");
    drop((stands_still, body, server));
    assert_eq!(counts(&transport).open(), 0);
    assert_eq!(runs.block_on(patiently(transport.close(LONG))), CloseReport::default());
}
