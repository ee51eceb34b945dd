//! One ceiling over the connections of several configurations.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headworks::http_transport::{CloseReason, TransportConfig, TransportError};
use headworks::{ConfigError, Priority, Transport, TransportFactory};
use tokio::task::JoinSet;

use crate::server::{OK, Peer, Server, at_rest, counts, patiently, until};

fn config(name: &'static str) -> TransportConfig {
    TransportConfig::default().with_name(name).with_pool_wait_timeout(Duration::from_secs(15))
}

fn beneath<const N: usize>(most: usize, names: [&'static str; N]) -> [Transport; N] {
    let factory = TransportFactory::with_ceiling(most).unwrap();
    names.map(|name| factory.transport(config(name)).unwrap())
}

fn open(transport: &Transport) -> usize {
    transport.snapshot().ceiling.unwrap().open
}

async fn get(transport: &Transport, url: &str) -> Result<(), TransportError> {
    let read = async { transport.get(url).await?.into_body().bytes(10).await };
    patiently(read).await.map(|read| assert_eq!(read, "ok"))
}

/// The server's count of its open connections, and the most there were at a time.
#[derive(Default)]
struct Crowd {
    now: AtomicUsize,
    most: AtomicUsize,
}

async fn counting() -> (Server, Arc<Crowd>) {
    let crowd = Arc::new(Crowd::default());
    let counted = Arc::clone(&crowd);
    let server = Server::running(move |mut peer: Peer| {
        let crowd = Arc::clone(&counted);
        async move {
            let now = crowd.now.fetch_add(1, Ordering::SeqCst) + 1;
            crowd.most.fetch_max(now, Ordering::SeqCst);
            while peer.request().await.is_some() {
                tokio::task::yield_now().await;
                peer.write(OK).await;
            }
            crowd.now.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    (server, crowd)
}

#[tokio::test]
async fn herds_in_three_pools_are_all_answered_over_as_many_connections_as_there_may_be() {
    let (server, crowd) = counting().await;
    let pools = beneath(4, ["a", "b", "c"]);
    for round in 0..3 {
        let mut callers = JoinSet::new();
        for n in 0..150_usize {
            let (transport, url) = (pools[n % 3].clone(), server.url("/"));
            callers.spawn(async move {
                if n % 5 == 4 {
                    // Some leave, wherever they stand by then.
                    let mut call = pin!(get(&transport, &url));
                    let turns = async {
                        for _ in 0..n % 40 {
                            tokio::task::yield_now().await;
                        }
                    };
                    tokio::select! { biased; it = &mut call => it.unwrap(), () = turns => {} }
                } else {
                    get(&transport, &url).await.unwrap();
                }
            });
        }
        while let Some(ended) = callers.join_next().await {
            ended.unwrap();
            assert!(open(&pools[0]) <= 4);
        }
        let mut idle = 0;
        for pool in &pools {
            idle += at_rest(pool).await.idle;
        }
        until(|| open(&pools[0]) == idle).await;
        assert!((1..=4).contains(&idle), "{round}: {idle}");
    }
    // What the client has closed the server's tasks may see some turns later. Each pool alone would
    // have opened fifty.
    assert!(crowd.most.load(Ordering::SeqCst) <= 3 * 4, "{:?}", crowd.most);
    drop(pools);
    until(|| crowd.now.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn an_idle_connection_of_another_pool_makes_room_the_one_that_is_idle_for_longest() {
    let [server, other] = [Server::answering().await, Server::answering().await];
    let [a, b, c] = beneath(2, ["a", "b", "c"]);
    get(&a, &server.url("/")).await.unwrap();
    at_rest(&a).await;
    get(&b, &server.url("/")).await.unwrap();
    at_rest(&b).await;
    get(&c, &other.url("/")).await.unwrap();
    let displaced = |pool| counts(pool).closed.of(CloseReason::Displaced);
    assert_eq!([displaced(&a), displaced(&b), displaced(&c)], [1, 0, 0]);
    at_rest(&c).await;
    get(&a, &server.url("/")).await.unwrap();
    assert_eq!([displaced(&a), displaced(&b), displaced(&c)], [1, 1, 0]);
    assert_eq!(counts(&c).idle, 1);
    at_rest(&a).await;
    let snapshot = a.snapshot();
    let ceiling = snapshot.ceiling.unwrap();
    assert_eq!((ceiling.open, ceiling.max), (2, 2));
    let told: Vec<_> = snapshot.metrics().map(|it| it.name).collect();
    for name in ["open", "max"] {
        let name = format!("http_client_ceiling_{name}_connections");
        assert_eq!(told.iter().filter(|it| **it == name).count(), 1, "{name}");
    }
}

/// Its connection is never idle: there is always somebody in its own line.
#[tokio::test]
async fn a_busy_pool_gives_a_connection_up_after_a_while() {
    let server = Server::answering().await;
    let [busy, other] = beneath(1, ["busy", "other"]);
    let mut callers = JoinSet::new();
    let answered = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let (busy, url, answered) = (busy.clone(), server.url("/"), Arc::clone(&answered));
        callers.spawn(async move {
            loop {
                get(&busy, &url).await.unwrap();
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    until(|| answered.load(Ordering::SeqCst) > 100).await;
    let url = server.url("/");
    let mut call = pin!(get(&other, &url));
    let began = {
        let waits = async {
            until(|| counts(&other).waiting == 1).await;
            answered.load(Ordering::SeqCst)
        };
        tokio::select! {
            biased;
            it = &mut call => panic!("{it:?}: it had no place"),
            began = waits => began,
        }
    };
    call.await.unwrap();
    let past = answered.load(Ordering::SeqCst) - began;
    assert!(past <= 40, "{past} went past it");
    callers.shutdown().await;
}

#[tokio::test]
async fn the_higher_class_gets_the_place_whichever_pool_it_is_in() {
    let server = Server::by_hand().await;
    let [a, b, c] = beneath(1, ["a", "b", "c"]);
    let mut callers = JoinSet::new();
    let begin = |callers: &mut JoinSet<&'static str>, name, transport: &Transport, class| {
        let (transport, url) = (transport.with_priority(class), server.url("/"));
        callers.spawn(async move {
            get(&transport, &url).await.unwrap();
            name
        });
    };
    begin(&mut callers, "first", &a, Priority::Normal);
    let mut peer = server.accept().await;
    peer.request().await.unwrap();
    begin(&mut callers, "low", &b, Priority::Low);
    until(|| counts(&b).waiting == 1).await;
    begin(&mut callers, "high", &c, Priority::High);
    until(|| counts(&c).waiting == 1).await;
    peer.write(OK).await;
    for expected in ["first", "high"] {
        assert_eq!(patiently(callers.join_next()).await.unwrap().unwrap(), expected);
        peer = server.accept().await;
        peer.request().await.unwrap();
        peer.write(OK).await;
    }
    assert_eq!(patiently(callers.join_next()).await.unwrap().unwrap(), "low");
    drop(peer);
}

/// Whatever holds the place, and however it ends.
#[tokio::test]
async fn a_place_comes_back_however_its_holder_ends() {
    let (server, hangs) = (Server::answering().await, Server::by_hand().await);
    for how in ["dropped call", "dropped body", "dropped pool", "closed pool", "broken connection"]
    {
        let [holder, other] = beneath(1, ["holder", "other"]);
        let (hanging, url) = (hangs.url("/"), server.url("/"));
        let sender = holder.clone();
        let held = tokio::spawn(async move { sender.get(hanging).await });
        let mut peer = hangs.accept().await;
        peer.request().await.unwrap();
        let waits = tokio::spawn({
            let other = other.clone();
            async move { get(&other, &url).await }
        });
        until(|| counts(&other).waiting == 1).await;
        match how {
            "dropped call" => held.abort(),
            "dropped body" => {
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n").await;
                drop(patiently(held).await.unwrap().unwrap());
            }
            "dropped pool" => {
                held.abort();
                drop(holder);
            }
            "closed pool" => {
                let report = patiently(holder.close(Duration::ZERO)).await;
                assert_eq!(report.requests, 1);
            }
            _ => {
                peer.reset();
                assert!(patiently(held).await.unwrap().is_err());
            }
        }
        assert!(patiently(waits).await.unwrap().is_ok(), "{how}");
        assert_eq!((open(&other), at_rest(&other).await.idle), (1, 1), "{how}");
    }
}

/// Who waits in the pool that is closed is told so, and who waits in another one is not.
#[tokio::test]
async fn a_closed_pool_leaves_the_line() {
    let hangs = Server::by_hand().await;
    let [holder, closed, other] = beneath(1, ["holder", "closed", "other"]);
    let url = hangs.url("/");
    let call = |transport: &Transport| {
        let (transport, url) = (transport.clone(), url.clone());
        tokio::spawn(async move { get(&transport, &url).await })
    };
    let held = call(&holder);
    let mut peer = hangs.accept().await;
    peer.request().await.unwrap();
    let refused = call(&closed);
    until(|| counts(&closed).waiting == 1).await;
    let waits = call(&other);
    until(|| counts(&other).waiting == 1).await;
    patiently(closed.close(Duration::ZERO)).await;
    assert!(matches!(patiently(refused).await.unwrap(), Err(TransportError::Closed)));
    peer.write(OK).await;
    patiently(held).await.unwrap().unwrap();
    let mut peer = hangs.accept().await;
    peer.request().await.unwrap();
    peer.write(OK).await;
    patiently(waits).await.unwrap().unwrap();
}

/// Connections that carry many requests at once are asked to end as well.
#[tokio::test]
async fn a_shared_connection_makes_room_when_it_carries_nothing() {
    let server = crate::h2::serving(10, |_, mut respond| async move {
        let mut send = respond.send_response(http::Response::new(()), false).unwrap();
        send.send_data(bytes::Bytes::from_static(b"ok"), true).unwrap();
    })
    .await;
    let plain = Server::answering().await;
    let factory = TransportFactory::with_ceiling(1).unwrap();
    let shared = factory.transport(crate::h2::config()).unwrap();
    let other = factory.transport(config("other")).unwrap();
    for _ in 0..3 {
        get(&shared, &server.url("/")).await.unwrap();
        get(&other, &plain.url("/")).await.unwrap();
    }
    assert_eq!((counts(&shared).opened, counts(&other).opened), (3, 3));
    assert_eq!(factory.ceiling().unwrap().max, 1);
}

/// Nothing is dialled ahead past those who wait, and not above the ceiling.
#[tokio::test]
async fn dialling_ahead_keeps_to_the_ceiling() {
    let server = Server::answering().await;
    let [a, b] = beneath(3, ["a", "b"]);
    assert_eq!(a.warm_up(server.url("/"), 10).await.unwrap().opened, 3);
    assert_eq!(b.warm_up(server.url("/"), 10).await.unwrap().opened, 0);
    assert_eq!((open(&a), counts(&a).idle), (3, 3));
    get(&b, &server.url("/")).await.unwrap();
    at_rest(&b).await;
    assert_eq!((counts(&a).closed.of(CloseReason::Displaced), open(&a)), (1, 3));
}

#[test]
fn a_ceiling_that_cannot_work_is_refused() {
    for wrong in [0, 1_000_001] {
        let error = TransportFactory::with_ceiling(wrong).unwrap_err();
        assert!(matches!(&error, ConfigError::Invalid { .. }), "{error:?}");
        assert!(error.to_string().contains("http_transport.ceiling"), "{error}");
    }
    assert_eq!(TransportFactory::new().unwrap().ceiling(), None);
}
