//! Wherever a request is dropped, nothing leaks and no dirty connection comes back.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use headworks::http_transport::{TransportConfig, TransportError};
use headworks::{Priority, Transport};
use http::Request;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tower_service::Service;

use crate::server::{OK, Peer, Server, at_rest, counts, patiently, transport, until};

/// How a request's task ends at the gate.
#[derive(Clone, Copy, Debug)]
enum End {
    Dropped,
    Panicked,
}

/// A request under way, that ends so when told.
struct Caller {
    stop: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Caller {
    fn start(transport: &Transport, url: String, end: End) -> Self {
        let (transport, stop) = (transport.clone(), Arc::new(Notify::new()));
        let told = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut call = pin!(async {
                transport.get(url).await.unwrap().into_body().bytes(1 << 20).await.unwrap();
            });
            tokio::select! {
                biased;
                () = told.notified() => if matches!(end, End::Panicked) {
                    std::panic::resume_unwind(Box::new("at the gate"));
                },
                () = &mut call => {}
            }
        });
        Self { stop, task }
    }

    async fn end(self) {
        self.stop.notify_one();
        let _ = patiently(self.task).await;
    }
}

fn one_place() -> Transport {
    let one = TransportConfig::default().with_open_per_host(1).with_open_overall(1);
    // A connection that is read to its end for its own sake has tests of its own.
    transport(one.with_drain_bytes(0))
}

/// The pool still works, and holds no more than one connection.
pub(crate) async fn works(transport: &Transport) {
    let server = Server::answering().await;
    for _ in 0..2 {
        let call = async { transport.get(server.url("/")).await?.into_body().bytes(10).await };
        assert_eq!(patiently(call).await.unwrap(), "ok");
    }
    assert_eq!(at_rest(transport).await.idle, 1);
}

const ENDS: [End; 2] = [End::Dropped, End::Panicked];

#[tokio::test]
async fn at_the_pool_wait() {
    for end in ENDS {
        let server = Server::by_hand().await;
        let transport = one_place();
        let holder = Caller::start(&transport, server.url("/"), end);
        until(|| counts(&transport).active == 1).await;
        let callers: Vec<_> =
            (0..10).map(|_| Caller::start(&transport, server.url("/"), end)).collect();
        until(|| counts(&transport).waiting == 10).await;
        for (left, caller) in callers.into_iter().enumerate() {
            caller.end().await;
            assert_eq!(counts(&transport).waiting, 9 - left);
        }
        holder.end().await;
        assert_eq!(at_rest(&transport).await.open(), 0);
        works(&transport).await;
    }
}

/// Served and cancelled at the same moment: the verdict goes to the next in line.
#[tokio::test]
async fn between_the_verdict_and_its_reading() {
    let server = Server::answering().await;
    let transport = one_place();
    let holder = transport.get(server.url("/")).await.unwrap();
    let url = server.url("/");
    let mut first = Box::pin(transport.get(url.clone()));
    let mut second = Box::pin(transport.get(url.clone()));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert!(second.as_mut().poll(&mut cx).is_pending());
    assert_eq!(counts(&transport).waiting, 2);
    // The connection goes to the first, which never looks.
    holder.into_body().bytes(10).await.unwrap();
    assert_eq!(counts(&transport).waiting, 1);
    drop(first);
    assert_eq!(counts(&transport).waiting, 0);
    patiently(second).await.unwrap().into_body().bytes(10).await.unwrap();
    let counts = at_rest(&transport).await;
    assert_eq!((counts.opened, counts.reused), (1, 1), "a verdict nobody read is no reuse");
}

/// Whoever evicts it wakes it, and is not to suffer for it.
#[tokio::test]
async fn a_waker_that_panics_is_nobody_elses_problem() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("a waker's own"));
        }
    }
    let server = Server::by_hand().await;
    let one = TransportConfig::default().with_open_per_host(1).with_waiting_per_host(1);
    let transport = transport(one.with_drain_bytes(0));
    let holder = Caller::start(&transport, server.url("/"), End::Dropped);
    until(|| counts(&transport).active == 1).await;
    let [low, high] = [Priority::Low, Priority::High].map(|it| transport.with_priority(it));
    let mut evicted = Box::pin(low.get(server.url("/")));
    let waker = Waker::from(Arc::new(Panics));
    assert!(evicted.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let mut evicts = Box::pin(high.get(server.url("/")));
    assert!(evicts.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(matches!(patiently(evicted).await, Err(TransportError::PoolFull)));
    assert_eq!(counts(&transport).waiting, 1);
    drop(evicts);
    holder.end().await;
    assert_eq!(at_rest(&transport).await.open(), 0);
}

#[tokio::test]
async fn at_the_dial() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut full = Vec::new();
    let patience = std::time::Duration::from_millis(400);
    let connect = || tokio::net::TcpStream::connect(address);
    while let Ok(stream) = tokio::time::timeout(patience, connect()).await {
        full.push(stream.unwrap());
    }
    for end in ENDS {
        let transport = one_place();
        let caller = Caller::start(&transport, format!("http://{address}/"), end);
        until(|| counts(&transport).dialling == 1).await;
        caller.end().await;
        let counts = at_rest(&transport).await;
        assert_eq!((counts.open(), counts.opened), (0, 0));
        works(&transport).await;
    }
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn at_the_tls_handshake() {
    for end in ENDS {
        let server = Server::by_hand().await;
        let transport = one_place();
        let caller = Caller::start(&transport, format!("https://{}/", server.address), end);
        let peer = server.accept().await;
        caller.end().await;
        peer.closed().await;
        assert_eq!(at_rest(&transport).await.open(), 0);
        works(&transport).await;
    }
}

/// Dropped when the server has said this much.
async fn after(said: &'static str) {
    for end in ENDS {
        let server = Server::by_hand().await;
        let transport = one_place();
        let caller = Caller::start(&transport, server.url("/"), end);
        let mut peer = server.accept().await;
        peer.request().await.unwrap();
        peer.write(said).await;
        // Whatever the caller has read of it by now.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        caller.end().await;
        peer.closed().await;
        let counts = at_rest(&transport).await;
        assert_eq!((counts.open(), counts.closed.total()), (0, 1));
        works(&transport).await;
    }
}

#[tokio::test]
async fn at_the_header() {
    after("").await;
    after("HTTP/1.1 200 OK\r\nContent-Le").await;
}

#[tokio::test]
async fn at_the_body() {
    after("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await;
    after("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    after("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
}

#[tokio::test]
async fn a_dropped_body_closes_its_connection_and_frees_its_place() {
    let server = Server::by_hand().await;
    let transport = one_place();
    let (answer, mut peer) = tokio::join!(transport.get(server.url("/")), async {
        let mut peer = server.accept().await;
        peer.request().await.unwrap();
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
        peer
    });
    assert_eq!(counts(&transport).active, 1);
    drop(answer);
    assert_eq!(peer.request().await, None, "closed");
    assert_eq!(at_rest(&transport).await.open(), 0);
    works(&transport).await;
}

fn poll_once<F: Future>(future: F) {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(future.as_mut().poll(&mut cx), Poll::Pending), "it was to wait");
}

#[tokio::test]
async fn every_async_fn_may_be_polled_once_and_dropped() {
    let server = Server::by_hand().await;
    let mut transport = transport(TransportConfig::default().with_drain_bytes(0));
    let url = server.url("/");
    let request = || Request::get(&url).body(()).unwrap();
    poll_once(transport.get(&url));
    poll_once(transport.send(request()));
    poll_once(transport.post_json::<_, ()>(&url, "x"));
    poll_once(transport.send_json::<str, ()>(Request::post(&url).body("x").unwrap()));
    poll_once(transport.call(request()));
    assert_eq!(at_rest(&transport).await.open(), 0);
    for whole in [false, true] {
        let (answer, peer) = tokio::join!(transport.get(&url), async {
            loop {
                let mut peer = server.accept().await;
                // Those that were polled once and dropped are in the backlog before it.
                if peer.request().await.is_some() {
                    peer.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
                    return peer;
                }
            }
        });
        let mut body = answer.unwrap().into_body();
        assert_eq!(body.chunk().await.unwrap().unwrap(), "half");
        if whole {
            poll_once(body.bytes(10));
        } else {
            poll_once(body.chunk());
            poll_once(std::future::poll_fn(|cx| {
                http_body::Body::poll_frame(Pin::new(&mut body), cx)
            }));
            drop(body);
        }
        peer.closed().await;
        assert_eq!(at_rest(&transport).await.open(), 0);
    }
}

/// Dropped after every possible number of turns, over servers that behave and that don't.
#[tokio::test]
async fn a_storm_of_cancels_leaks_nothing() {
    let server = Server::running(|mut peer: Peer| async move {
        for turn in 0.. {
            if peer.request().await.is_none() {
                return;
            }
            for piece in OK.as_bytes().chunks(20) {
                if !peer.write(piece).await {
                    return;
                }
                tokio::task::yield_now().await;
            }
            if turn % 7 == 6 {
                return peer.reset();
            }
        }
    })
    .await;
    let config = TransportConfig::default().with_open_per_host(4).with_open_overall(4);
    let transport = transport(config);
    let mut callers = JoinSet::new();
    for n in 0..600_usize {
        let (caller, url) = (transport.clone(), server.url("/"));
        callers.spawn(async move {
            let mut call = pin!(async { caller.get(url).await?.into_body().bytes(10).await });
            let turns = async {
                for _ in 0..n % 60 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                answer = &mut call => if let Ok(answer) = answer { assert_eq!(answer, "ok") },
                () = turns => {}
            }
        });
        if n % 20 == 0 {
            tokio::task::yield_now().await;
        }
        assert!(counts(&transport).open() <= 4);
    }
    while let Some(ended) = patiently(callers.join_next()).await {
        ended.unwrap();
    }
    assert!(at_rest(&transport).await.idle <= 4);
    let call = async { transport.get(server.url("/")).await?.into_body().bytes(10).await };
    assert_eq!(patiently(call).await.unwrap(), "ok");
}
