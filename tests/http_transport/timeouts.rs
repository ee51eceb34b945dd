//! Each phase has a timeout of its own, and an error of its own.

use std::time::Duration;

use headworks::http_transport::{Phase, Protocol, TransportConfig, TransportError};
use headworks::{Outcome, Transport};
use http::Uri;
use tokio::net::{TcpListener, TcpStream};

use crate::server::{OK, Peer, Server, at_rest, counts, patiently, transport, until};

/// Of what never comes.
const SHORT: Duration = Duration::from_millis(40);

/// Of a whole that gets somewhere first, on a machine that does other things as well.
const ENOUGH: Duration = Duration::from_secs(1);

fn config() -> TransportConfig {
    TransportConfig::default()
}

async fn get(transport: &Transport, url: impl TryInto<Uri>) -> Result<(), TransportError> {
    patiently(async { transport.get(url).await?.into_body().bytes(1 << 20).await.map(drop) }).await
}

/// A server that does `wrong` after it has read a request.
async fn after_request(wrong: &'static str) -> Server {
    Server::running(move |mut peer: Peer| async move {
        peer.request().await;
        peer.write(wrong).await;
        peer.closed().await;
    })
    .await
}

#[tokio::test]
async fn waiting_for_a_connection_has_a_timeout() {
    let server = Server::by_hand().await;
    let one = config().with_open_per_host(1).with_pool_wait_timeout(SHORT);
    let transport = transport(one);
    let holder = tokio::join!(transport.get(server.url("/")), async {
        let mut peer = server.accept().await;
        peer.request().await.unwrap();
        peer.write(OK).await;
        peer
    });
    let error = get(&transport, server.url("/")).await.unwrap_err();
    assert!(matches!(error, TransportError::PoolWaitTimeout), "{error:?}");
    assert_eq!((error.is_retryable(), error.outcome()), (true, Outcome::Ignored));
    assert_eq!(counts(&transport).waiting, 0);
    holder.0.unwrap().into_body().bytes(10).await.unwrap();
    assert_eq!(at_rest(&transport).await.idle, 1);
}

/// An address that swallows packets: a listener whose backlog is full, as long as these last.
pub(crate) async fn full_backlog() -> (TcpListener, Vec<TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Linux takes backlog + 1 connections and drops the SYN of the next.
    let mut full = Vec::new();
    while let Ok(stream) = tokio::time::timeout(10 * SHORT, TcpStream::connect(address)).await {
        full.push(stream.unwrap());
        assert!(full.len() < 100, "the backlog never fills");
    }
    (listener, full)
}

#[tokio::test]
async fn dialling_has_a_timeout() {
    let (listener, _full) = full_backlog().await;
    let address = listener.local_addr().unwrap();
    let transport = transport(config().with_dial_timeout(SHORT));
    let error = get(&transport, format!("http://{address}/")).await.unwrap_err();
    assert!(matches!(error, TransportError::DialTimeout { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("connecting to http://{address} took too long"));
    assert_eq!((error.is_retryable(), error.outcome()), (true, Outcome::Failure));
    assert_eq!(at_rest(&transport).await.open(), 0);
}

#[tokio::test]
async fn the_answers_header_has_a_timeout() {
    for sent in ["", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let server = after_request(sent).await;
        let transport = transport(config().with_response_header_timeout(SHORT));
        let error = get(&transport, server.url("/")).await.unwrap_err();
        assert!(matches!(error, TransportError::HeaderTimeout), "{error:?}");
        assert_eq!(at_rest(&transport).await.open(), 0);
    }
}

#[tokio::test]
async fn a_silence_inside_the_body_has_a_timeout() {
    for sent in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    ] {
        let server = after_request(sent).await;
        let transport = transport(config().with_body_idle_timeout(SHORT));
        let error = get(&transport, server.url("/")).await.unwrap_err();
        assert!(matches!(error, TransportError::BodyIdleTimeout), "{error:?}");
        assert_eq!(at_rest(&transport).await.open(), 0);
    }
}

/// Each piece is in time, the whole is not.
#[tokio::test]
async fn the_total_covers_a_body_that_drips() {
    let server = Server::running(|mut peer: Peer| async move {
        peer.request().await;
        peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        while peer.write("1\r\nx\r\n").await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let transport = transport(config().with_total_timeout(ENOUGH));
    let answer = transport.get(server.url("/")).await.unwrap();
    let mut body = answer.into_body();
    let error = patiently(async {
        loop {
            if let Err(error) = body.chunk().await.unwrap() {
                return error;
            }
        }
    })
    .await;
    assert!(matches!(error, TransportError::TotalTimeout { phase: Phase::Body }), "{error:?}");
    assert!(body.chunk().await.is_none(), "over is over");
    assert_eq!(at_rest(&transport).await.open(), 0);
}

#[tokio::test]
async fn the_total_names_the_phase_it_ended_in() {
    let server = after_request("").await;
    let transport = transport(config().with_total_timeout(ENOUGH));
    let error = get(&transport, server.url("/")).await.unwrap_err();
    assert!(matches!(error, TransportError::TotalTimeout { phase: Phase::Header }), "{error:?}");

    let transport = self::transport(config().with_total_timeout(ENOUGH));
    let server = after_request("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok").await;
    let error = get(&transport, server.url("/")).await.unwrap_err();
    assert!(matches!(error, TransportError::TotalTimeout { phase: Phase::Body }), "{error:?}");
    until(|| counts(&transport).open() == 0).await;
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn the_tls_handshake_has_a_timeout() {
    let server = Server::running(Peer::closed).await;
    let transport = transport(config().with_tls_timeout(SHORT));
    let error = get(&transport, format!("https://{}/", server.address)).await.unwrap_err();
    assert!(matches!(error, TransportError::TlsTimeout { .. }), "{error:?}");
    assert_eq!(at_rest(&transport).await.open(), 0);
}

/// Connecting takes a second (the first packet is lost, and sent again then), and the settings never
/// come: both together have the one timeout.
#[tokio::test]
async fn connecting_and_the_settings_share_a_timeout() {
    let (listener, full) = full_backlog().await;
    let address = listener.local_addr().unwrap();
    let dial_timeout = Duration::from_secs(3);
    let http2 = config().with_protocol(Protocol::Http2).with_dial_timeout(dial_timeout);
    let transport = transport(http2);
    let call = get(&transport, format!("http://{address}/"));
    let mut late = std::pin::pin!(tokio::time::sleep(dial_timeout + Duration::from_millis(800)));
    let mut accepted = Vec::new();
    let accepts = async {
        until(|| counts(&transport).dialling == 1).await;
        // Longer than the first packet takes, shorter than it takes to be sent again.
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(full);
        loop {
            accepted.push(listener.accept().await.unwrap());
        }
    };
    let error = tokio::select! {
        biased;
        ended = call => ended.unwrap_err(),
        () = &mut late => panic!("each had a timeout of its own"),
        () = accepts => unreachable!(),
    };
    assert!(matches!(error, TransportError::DialTimeout { .. }), "{error:?}");
    assert_eq!(transport.snapshot().timings.dial.count(), 1, "it was connected");
}
