//! HTTP/2 servers that go in the middle, or never were any: frames written by hand (RFC 9113).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headworks::http_transport::TransportError;
use http::Request;
use tokio::io::AsyncReadExt;

use crate::h2::config;
use crate::server::{Peer, Server, at_rest, patiently, transport};

const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// "I have begun with nothing, and go."
const GOAWAY_0: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// `:status 200` for stream 1, its end, and nothing else.
const OK_1: [u8; 10] = [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];

/// Reads frames until one with this type; `false` when the client goes before.
async fn frame(peer: &mut Peer, wanted: u8) -> bool {
    let mut head = [0; 9];
    loop {
        if peer.stream.read_exact(&mut head).await.is_err() {
            return false;
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        if peer.stream.read_exact(&mut payload).await.is_err() {
            return false;
        }
        if head[3] == wanted {
            return true;
        }
    }
}

const HEADERS: u8 = 1;

/// The client's greeting is read and answered.
async fn greet(peer: &mut Peer) -> bool {
    let mut preface = [0; 24];
    peer.stream.read_exact(&mut preface).await.is_ok() && peer.write(SETTINGS).await
}

/// `GOAWAY` to the first `storms` connections, each time for a request that was just sent.
async fn stormy(storms: usize) -> (Server, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let server = Server::running(move |mut peer: Peer| {
        let seen = Arc::clone(&counter);
        async move {
            if !greet(&mut peer).await || !frame(&mut peer, HEADERS).await {
                return;
            }
            let goes = seen.fetch_add(1, Ordering::SeqCst) < storms;
            peer.write(if goes { &GOAWAY_0[..] } else { &OK_1[..] }).await;
            peer.closed().await;
        }
    })
    .await;
    (server, seen)
}

#[tokio::test]
async fn what_a_goaway_leaves_out_was_not_sent_and_is_sent_again() {
    for (storms, well) in [(1, true), (2, true), (1_000, false)] {
        let (server, seen) = stormy(storms).await;
        let transport = transport(config());
        let request = Request::post(server.url("/")).body("once").unwrap();
        let result = patiently(transport.send(request)).await;
        assert_eq!(result.is_ok(), well, "{result:?}");
        if let Err(error) = result {
            assert!(matches!(error, TransportError::Send(_)), "{error:?}");
            assert!(error.is_retryable());
        }
        assert_eq!(seen.load(Ordering::SeqCst), 3.min(storms + 1));
        let counts = at_rest(&transport).await;
        assert_eq!(counts.open(), usize::from(well), "{counts:?}");
    }
}

/// A connection that breaks under a request may have carried it: only what can be repeated is.
#[tokio::test]
async fn a_connection_that_breaks_is_not_a_refusal() {
    for (method, sends) in [("GET", 2), ("POST", 1)] {
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&seen);
        let server = Server::running(move |mut peer: Peer| {
            let seen = Arc::clone(&counter);
            async move {
                if !greet(&mut peer).await || !frame(&mut peer, HEADERS).await {
                    return;
                }
                if seen.fetch_add(1, Ordering::SeqCst) != 1 {
                    peer.write(OK_1).await;
                }
                // The second request of the first connection is cut off.
                if frame(&mut peer, HEADERS).await {
                    seen.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
        .await;
        let transport = transport(config());
        transport.get(server.url("/")).await.unwrap();
        let request = Request::builder().method(method).uri(server.url("/")).body(()).unwrap();
        let result = patiently(transport.send(request)).await;
        let seen = seen.load(Ordering::SeqCst) - 1;
        assert_eq!(seen, sends, "{method}: {result:?}");
        assert_eq!(result.is_ok(), method == "GET");
    }
}

#[tokio::test]
async fn a_server_that_speaks_something_else_fails_the_dial() {
    for greeting in
        ["HTTP/1.1 400 Bad Request\r\n\r\n", "\0\0\0\0\0\0\0\0\0\0\0", "SSH-2.0-x\r\n", ""]
    {
        let server = Server::running(move |mut peer: Peer| async move {
            peer.write(greeting).await;
        })
        .await;
        let transport = transport(config());
        let error = patiently(transport.get(server.url("/"))).await.unwrap_err();
        assert!(matches!(error, TransportError::Dial { .. }), "{greeting:?}: {error:?}");
        assert_eq!(at_rest(&transport).await.open(), 0);
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_fails_the_dial_in_time() {
    let server = Server::running(Peer::closed).await;
    let transport = transport(config().with_dial_timeout(Duration::from_millis(40)));
    let error = patiently(transport.get(server.url("/"))).await.unwrap_err();
    assert!(matches!(error, TransportError::DialTimeout { .. }), "{error:?}");
    assert_eq!(at_rest(&transport).await.open(), 0);
}

/// What breaks the protocol ends the connection, each request with it.
#[tokio::test]
async fn garbage_in_the_middle_is_an_invalid_answer() {
    // Data for a stream that is not open; a window update by nothing; a frame too large.
    let garbage: [&[u8]; 3] = [
        &[0, 0, 1, 0, 0, 0, 0, 0, 9, 1],
        &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[255, 255, 255, 0, 0, 0, 0, 0, 1],
    ];
    for wrong in garbage {
        let server = Server::running(move |mut peer: Peer| async move {
            if greet(&mut peer).await && frame(&mut peer, HEADERS).await {
                peer.write(wrong).await;
            }
            peer.closed().await;
        })
        .await;
        let transport = transport(config());
        let error = patiently(transport.get(server.url("/"))).await.unwrap_err();
        assert!(matches!(error, TransportError::InvalidAnswer(_)), "{wrong:?}: {error:?}");
        assert_eq!(at_rest(&transport).await.open(), 0);
    }
}
