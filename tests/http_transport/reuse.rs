//! Connections are used again, and only those that can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use headworks::http_transport::{CloseReason, Preset, TransportConfig};
use http::{Method, Request, StatusCode};
use tokio::task::JoinSet;

use crate::server::{OK, Server, at_rest, counts, patiently, transport, until};

#[tokio::test]
async fn a_hundred_requests_in_a_row_use_one_connection() {
    let server = Server::answering().await;
    let transport = transport(Preset::Default);
    for _ in 0..100 {
        let answer = transport.get(server.url("/")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.into_body().bytes(10).await.unwrap(), "ok");
    }
    let counts = at_rest(&transport).await;
    assert_eq!((counts.opened, counts.reused, counts.idle), (1, 99, 1));
}

/// The connection's task runs on another thread than the caller, whose next request comes before
/// that task has noticed that the last answer was read.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_in_a_row_use_one_connection_on_several_threads_too() {
    let server = Server::answering().await;
    for round in 0..30 {
        let transport = transport(Preset::Default);
        for _ in 0..100 {
            let answer = transport.get(server.url("/")).await.unwrap();
            assert_eq!(answer.into_body().bytes(10).await.unwrap(), "ok");
        }
        let counts = at_rest(&transport).await;
        assert_eq!((counts.opened, counts.reused), (1, 99), "round {round}");
    }
}

/// Many at once on several threads: once there are enough connections, no more are dialled.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_that_go_on_need_no_more_connections_than_they_are() {
    let server = Server::answering().await;
    let transport = transport(Preset::Default);
    let mut callers = JoinSet::new();
    for _ in 0..10 {
        let (transport, url) = (transport.clone(), server.url("/"));
        callers.spawn(async move {
            for _ in 0..200 {
                let answer = transport.get(&url).await.unwrap();
                assert_eq!(answer.into_body().bytes(10).await.unwrap(), "ok");
            }
        });
    }
    assert_eq!(patiently(callers.join_all()).await.len(), 10);
    let counts = at_rest(&transport).await;
    assert!(counts.opened <= 10, "{counts:?}");
}

/// The original serialised twenty callers over ten connections.
#[tokio::test]
async fn twenty_callers_at_once_are_served_in_one_round_trip() {
    let server = Server::answering_together(20).await;
    let transport = transport(Preset::Default);
    for _ in 0..2 {
        let mut callers = JoinSet::new();
        for _ in 0..20 {
            let (transport, url) = (transport.clone(), server.url("/"));
            callers.spawn(async move {
                transport.get(url).await.unwrap().into_body().bytes(10).await.unwrap()
            });
        }
        assert_eq!(patiently(callers.join_all()).await.len(), 20);
    }
    assert_eq!(at_rest(&transport).await.opened, 20);
}

#[tokio::test]
async fn the_newest_idle_connection_is_used_first() {
    let server = Server::by_hand().await;
    let transport = transport(Preset::Default);
    let mut peers = Vec::new();
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let (answer, peer) = tokio::join!(transport.get(server.url("/")), async {
            let mut peer = server.accept().await;
            peer.request().await.unwrap();
            peer.write(OK).await;
            peer
        });
        bodies.push(answer.unwrap().into_body());
        peers.push(peer);
    }
    // A body of known length is done with its last byte.
    for mut body in bodies {
        assert_eq!(body.chunk().await.unwrap().unwrap(), "ok");
    }
    at_rest(&transport).await;
    let (answer, _) = tokio::join!(transport.get(server.url("/")), async {
        assert!(peers[2].request().await.unwrap().starts_with("GET / HTTP/1.1\r\n"));
        peers[2].write(OK).await;
    });
    answer.unwrap();
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closes_leaves_the_pool() {
    let server = Server::by_hand().await;
    let transport = transport(Preset::Default);
    let (answer, peer) = tokio::join!(transport.get(server.url("/")), async {
        let mut peer = server.accept().await;
        peer.request().await.unwrap();
        peer.write(OK).await;
        peer
    });
    answer.unwrap().into_body().bytes(10).await.unwrap();
    assert_eq!(at_rest(&transport).await.idle, 1);
    drop(peer);
    until(|| counts(&transport).idle == 0).await;
    let counts = at_rest(&transport).await;
    assert_eq!(counts.closed.of(CloseReason::ByPeer), 1, "{counts:?}");
}

#[tokio::test]
async fn connection_close_is_obeyed() {
    let server = Server::running(|mut peer| async move {
        peer.request().await;
        peer.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let transport = transport(Preset::Default);
    for _ in 0..3 {
        let answer = transport.get(server.url("/")).await.unwrap();
        assert_eq!(answer.into_body().bytes(10).await.unwrap(), "ok");
    }
    let counts = at_rest(&transport).await;
    assert_eq!((counts.opened, counts.reused, counts.idle), (3, 0, 0));
}

#[tokio::test]
async fn an_idle_connection_ends_by_its_timeout_and_by_its_age() {
    let server = Server::answering().await;
    for (config, reason) in [
        (
            TransportConfig::default().with_idle_timeout(Duration::from_millis(30)),
            CloseReason::IdleTimeout,
        ),
        (TransportConfig::default().with_max_age(Duration::from_millis(30)), CloseReason::MaxAge),
    ] {
        let transport = transport(config);
        transport.get(server.url("/")).await.unwrap().into_body().bytes(10).await.unwrap();
        until(|| counts(&transport).closed.of(reason) == 1).await;
        assert_eq!(at_rest(&transport).await.idle, 0);
    }
}

/// The server reads the second request on the connection and resets it without a byte.
async fn dies_at_the_second_request(request: Request<&'static str>) -> (Result<(), String>, usize) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let server = Server::running(move |mut peer| {
        let seen = Arc::clone(&counter);
        async move {
            while peer.request().await.is_some() {
                if seen.fetch_add(1, Ordering::SeqCst) == 1 {
                    return peer.reset();
                }
                peer.write(OK).await;
            }
        }
    })
    .await;
    let transport = transport(Preset::Default);
    transport.get(server.url("/")).await.unwrap().into_body().bytes(10).await.unwrap();
    let (mut parts, body) = request.into_parts();
    parts.uri = server.url("/").parse().unwrap();
    let result = transport.send(Request::from_parts(parts, body)).await;
    let result = result.map(drop).map_err(|error| format!("{error:?}"));
    at_rest(&transport).await;
    (result, seen.load(Ordering::SeqCst))
}

#[tokio::test]
async fn an_idempotent_request_survives_a_dead_pooled_connection() {
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let request = Request::builder().method(method).body("again").unwrap();
        assert_eq!(dies_at_the_second_request(request).await, (Ok(()), 3));
    }
}

#[tokio::test]
async fn a_request_that_may_not_be_repeated_is_not() {
    let request = Request::builder().method(Method::POST).body("once").unwrap();
    let (result, seen) = dies_at_the_second_request(request).await;
    assert!(result.unwrap_err().starts_with("Send"));
    assert_eq!(seen, 2);
}

/// A body that streams can't be sent again, whatever the method.
#[tokio::test]
async fn a_stream_is_not_repeated() {
    let server = Server::by_hand().await;
    let transport = transport(Preset::Default);
    let serve = async {
        let mut peer = server.accept().await;
        peer.request().await.unwrap();
        peer.write(OK).await;
        peer.request().await.unwrap();
        peer.reset();
    };
    let call = async {
        transport.get(server.url("/")).await.unwrap().into_body().bytes(10).await.unwrap();
        let stream = http_body_util::Full::new(Bytes::from_static(b"stream"));
        let body = headworks::http_transport::TransportBody::stream(stream);
        let request = Request::put(server.url("/")).body(body).unwrap();
        transport.send(request).await.unwrap_err()
    };
    let (error, ()) = tokio::join!(call, serve);
    assert!(error.is_retryable(), "{error:?}");
    assert_eq!(at_rest(&transport).await.opened, 1);
}

/// Bytes of an answer came: it was not a stale connection, and nothing is sent again.
#[tokio::test]
async fn a_request_is_not_repeated_once_an_answer_has_begun() {
    let server = Server::by_hand().await;
    let transport = transport(Preset::Default);
    let serve = async {
        let mut peer = server.accept().await;
        peer.request().await.unwrap();
        peer.write(OK).await;
        peer.request().await.unwrap();
        peer.write("HTTP/1.1 200 O").await;
    };
    let call = async {
        transport.get(server.url("/")).await.unwrap().into_body().bytes(10).await.unwrap();
        transport.get(server.url("/")).await.unwrap_err()
    };
    let (error, ()) = tokio::join!(call, serve);
    assert!(matches!(error, headworks::TransportError::Send(_)), "{error:?}");
    assert_eq!(at_rest(&transport).await.opened, 1);
}

/// The answer is there before the request has been written: the connection waits until it is.
#[tokio::test]
async fn an_early_answer_does_not_bring_back_a_busy_connection() {
    let server = Server::by_hand().await;
    let transport = transport(Preset::Default);
    let (send, body) = tokio::sync::mpsc::channel::<Bytes>(1);
    let request = Request::post(server.url("/")).body(streamed(body)).unwrap();
    let (answer, mut peer) = tokio::join!(transport.send(request), async {
        let mut peer = server.accept().await;
        peer.write(OK).await;
        peer
    });
    assert_eq!(answer.unwrap().into_body().bytes(10).await.unwrap(), "ok");
    assert_eq!(counts(&transport).active, 1, "still writing");
    // Nobody waits for it: whoever comes meanwhile gets another connection.
    let (other, second) = tokio::join!(transport.get(server.url("/")), async {
        let mut peer = server.accept().await;
        peer.request().await.unwrap();
        peer.write(OK).await;
        peer
    });
    assert_eq!(other.unwrap().into_body().bytes(10).await.unwrap(), "ok");
    send.send(Bytes::from_static(b"late")).await.unwrap();
    drop(send);
    assert!(peer.request().await.unwrap().contains("late"));
    let counts = at_rest(&transport).await;
    assert_eq!(counts.idle as u64 + counts.closed.total(), 2);
    drop(second);
}

/// A channel as a body.
pub(crate) fn streamed(
    mut pieces: tokio::sync::mpsc::Receiver<Bytes>,
) -> headworks::http_transport::TransportBody {
    struct Pieces<F>(F);
    impl<F> http_body::Body for Pieces<F>
    where
        F: FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<Bytes>> + Unpin,
    {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            (self.0)(cx).map(|piece| piece.map(|bytes| Ok(http_body::Frame::data(bytes))))
        }
    }
    headworks::http_transport::TransportBody::stream(Pieces(
        move |cx: &mut std::task::Context<'_>| pieces.poll_recv(cx),
    ))
}

#[tokio::test]
async fn clones_and_equal_configurations_share_a_pool_and_others_do_not() {
    let server = Server::answering().await;
    let factory = headworks::TransportFactory::new().unwrap();
    let first = factory.transport(Preset::Default).unwrap();
    let second = factory.transport(TransportConfig::default()).unwrap();
    let third = factory.transport(TransportConfig::default().with_name("llm")).unwrap();
    for transport in [&first, &second, &third] {
        transport.get(server.url("/")).await.unwrap().into_body().bytes(10).await.unwrap();
    }
    assert_eq!((at_rest(&first).await.opened, at_rest(&second).await.reused), (1, 1));
    assert_eq!((at_rest(&third).await.opened, at_rest(&third).await.reused), (1, 0));
}

#[tokio::test]
async fn the_last_transport_takes_its_connections_along() {
    let server = Server::by_hand().await;
    let factory = headworks::TransportFactory::new().unwrap();
    let transport = factory.transport(Preset::Default).unwrap();
    let (answer, peer) = tokio::join!(transport.get(server.url("/")), async {
        let mut peer = server.accept().await;
        peer.request().await.unwrap();
        peer.write(OK).await;
        peer
    });
    answer.unwrap().into_body().bytes(10).await.unwrap();
    drop(transport);
    peer.closed().await;
    assert_eq!(
        factory.transport(Preset::Default).unwrap().snapshot().in_all.opened,
        0,
        "a new pool"
    );
}

/// A driver lives on the runtime that dialled. When that ends, the pool is whole on the next.
#[test]
fn a_pool_outlives_the_runtime_that_dialled() {
    let build = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let transport = transport(TransportConfig::default().with_open_per_host(1));
    for round in 1..=3 {
        let runtime = build();
        runtime.block_on(async {
            let server = Server::answering().await;
            for _ in 0..3 {
                let call =
                    async { transport.get(server.url("/")).await?.into_body().bytes(9).await };
                assert_eq!(patiently(call).await.unwrap(), "ok");
            }
        });
        drop(runtime);
        let counts = counts(&transport);
        assert_eq!((counts.opened, counts.open()), (round, 0), "{counts:?}");
    }
    let alone = std::future::Future::poll(
        std::pin::pin!(transport.get("http://127.0.0.1:1/")).as_mut(),
        &mut std::task::Context::from_waker(std::task::Waker::noop()),
    );
    let std::task::Poll::Ready(Err(error)) = alone else { panic!("no runtime, and it waits") };
    assert!(matches!(error, headworks::TransportError::Dial { .. }), "{error:?}");
    assert_eq!(counts(&transport).open(), 0);
}

/// The server ends connections without a word, after a number of answers that differs each time.
#[tokio::test]
async fn idempotent_callers_see_nothing_of_idle_connections_that_end() {
    let lives = Arc::new(AtomicUsize::new(0));
    let server = Server::running(move |mut peer| {
        let lives = Arc::clone(&lives);
        async move {
            // 1 to 17, all over the place but the same in every run.
            let life = lives.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9) % 17 + 1;
            for _ in 0..life {
                if peer.request().await.is_none() || !peer.write(OK).await {
                    return;
                }
            }
        }
    })
    .await;
    let transport = transport(TransportConfig::default().with_open_per_host(30));
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let (transport, url) = (transport.clone(), server.url("/"));
        callers.spawn(async move {
            for _ in 0..100 {
                let answer = transport.get(&url).await.unwrap();
                assert_eq!(answer.into_body().bytes(10).await.unwrap(), "ok");
                tokio::task::yield_now().await;
            }
        });
    }
    assert_eq!(patiently(callers.join_all()).await.len(), 20);
    at_rest(&transport).await;
}
