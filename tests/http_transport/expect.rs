//! `Expect: 100-continue`: the body waits for the server's word.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use headworks::Transport;
use headworks::http_transport::{CloseReason, TransportBody, TransportConfig};
use http::{Method, Request, StatusCode};
use tokio::io::AsyncReadExt;

use crate::server::{OK, Peer, Server, at_rest, counts, patiently, transport};

const LONG: Duration = Duration::from_secs(15);
const GO_ON: &str = "HTTP/1.1 100 Continue\r\n\r\n";

fn above(bytes: usize, wait: Duration) -> Transport {
    let config = TransportConfig::default();
    transport(config.with_expect_continue_above(Some(bytes)).with_expect_continue_wait(wait))
}

fn post(server: &Server, body: impl Into<TransportBody>) -> Request<TransportBody> {
    let request = Request::builder().method(Method::POST).uri(server.url("/"));
    request.body(body.into()).unwrap()
}

/// The head of the next request, and nothing behind it.
async fn head(peer: &mut Peer) -> String {
    let mut head = Vec::new();
    patiently(async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(peer.stream.read_u8().await.unwrap());
        }
    })
    .await;
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

async fn body(peer: &mut Peer, bytes: usize) -> String {
    let mut body = vec![0; bytes];
    patiently(peer.stream.read_exact(&mut body)).await.unwrap();
    String::from_utf8(body).unwrap()
}

#[tokio::test]
async fn the_body_is_sent_when_the_server_says_so_and_the_connection_used_again() {
    let server = Server::by_hand().await;
    let transport = above(3, LONG);
    let mut peer = None;
    for _ in 0..2 {
        let serve = async {
            let mut peer = match peer.take() {
                Some(peer) => peer,
                None => server.accept().await,
            };
            let head = head(&mut peer).await;
            assert!(head.contains("expect: 100-continue\r\n"), "{head}");
            assert!(head.contains("content-length: 4\r\n"), "{head}");
            // Nothing comes by itself: the wait is longer than this test's patience.
            assert!(peer.stream.try_read(&mut [0]).is_err());
            peer.write(GO_ON).await;
            assert_eq!(body(&mut peer, 4).await, "work");
            peer.write(OK).await;
            peer
        };
        let sent = transport.send(post(&server, "work"));
        let (answer, kept) = patiently(Box::pin(async { tokio::join!(sent, serve) })).await;
        peer = Some(kept);
        assert_eq!(answer.unwrap().into_body().bytes(10).await.unwrap(), "ok");
        at_rest(&transport).await;
    }
    assert_eq!(counts(&transport).opened, 1);
}

#[tokio::test]
async fn a_silent_server_gets_the_body_after_the_wait() {
    let server = Server::answering().await;
    let transport = above(3, Duration::from_millis(20));
    let answer = patiently(transport.send(post(&server, "work"))).await.unwrap();
    assert_eq!(answer.into_body().bytes(10).await.unwrap(), "ok");
    assert_eq!(at_rest(&transport).await.idle, 1);
}

#[tokio::test]
async fn an_answer_before_the_body_ends_it_unsent_and_the_connection() {
    let server = Server::by_hand().await;
    let transport = above(3, LONG);
    let refused = "HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno";
    let serve = async {
        let mut peer = server.accept().await;
        head(&mut peer).await;
        peer.write(refused).await;
        let mut rest = Vec::new();
        let _ = patiently(peer.stream.read_to_end(&mut rest)).await;
        rest
    };
    let read = async {
        let answer = transport.send(post(&server, "work")).await.unwrap();
        assert_eq!(answer.status(), 401);
        answer.into_body().bytes(10).await.unwrap()
    };
    let (read, rest) = patiently(Box::pin(async { tokio::join!(read, serve) })).await;
    assert_eq!((&*read, rest.len()), (&b"no"[..], 0));
    let rest = at_rest(&transport).await;
    assert_eq!((rest.open(), rest.closed.of(CloseReason::Abandoned)), (0, 1), "{rest:?}");
}

#[tokio::test]
async fn a_server_that_does_not_know_it_is_asked_without() {
    let server = Server::by_hand().await;
    let transport = above(3, LONG);
    let serve = async {
        let mut peer = server.accept().await;
        head(&mut peer).await;
        peer.write("HTTP/1.1 417 What\r\nContent-Length: 0\r\n\r\n").await;
        let mut again = server.accept().await;
        let head = head(&mut again).await;
        assert!(!head.contains("expect"), "{head}");
        assert_eq!(body(&mut again, 4).await, "work");
        again.write(OK).await;
        (peer, again)
    };
    let sent = transport.send(post(&server, "work"));
    let (answer, _peers) = patiently(Box::pin(async { tokio::join!(sent, serve) })).await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn small_bodies_and_none_at_all_do_not_wait_and_streams_of_no_known_length_do() {
    let server = Server::by_hand().await;
    let transport = above(4, LONG);
    let expects = async |request: Request<TransportBody>| {
        let serve = async {
            let mut peer = server.accept().await;
            let head = head(&mut peer).await;
            peer.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            (head.contains("expect: 100-continue"), peer)
        };
        let (answer, (expects, _peer)) =
            patiently(async { tokio::join!(transport.send(request), serve) }).await;
        answer.unwrap();
        expects
    };
    assert!(!expects(post(&server, "work")).await);
    assert!(!expects(post(&server, ())).await);
    assert!(expects(post(&server, "works")).await);
    let mut asked = post(&server, "work");
    asked.headers_mut().insert("expect", "100-Continue".parse().unwrap());
    assert!(expects(asked).await, "its headers say so");
    assert!(expects(post(&server, TransportBody::stream(OfAnyLength))).await);
    let mut nothing = post(&server, ());
    nothing.headers_mut().insert("expect", "100-continue".parse().unwrap());
    assert!(!expects(nothing).await, "there is no body to wait for");
}

/// Says nothing of its length, and never anything else.
struct OfAnyLength;

impl http_body::Body for OfAnyLength {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}

/// Over HTTP/2: the same, by the same words.
#[tokio::test]
async fn a_stream_waits_for_the_word_too() {
    let server = crate::h2::serving(10, |request, mut respond| async move {
        assert_eq!(request.headers()["expect"], "100-continue");
        let mut body = request.into_body();
        if respond_100(&mut respond) {
            let data = patiently(body.data()).await.unwrap().unwrap();
            assert_eq!(data, "work");
        }
        let mut send = respond.send_response(http::Response::new(()), false).unwrap();
        send.send_data(Bytes::from_static(b"ok"), true).unwrap();
    })
    .await;
    let config = crate::h2::config().with_expect_continue_above(Some(3));
    let transport = transport(config.with_expect_continue_wait(LONG));
    let answer = patiently(transport.send(post(&server, "work"))).await.unwrap();
    assert_eq!(answer.into_body().bytes(10).await.unwrap(), "ok");
    assert_eq!(at_rest(&transport).await.idle, 1);
}

fn respond_100(respond: &mut ::h2::server::SendResponse<Bytes>) -> bool {
    let word = http::Response::builder().status(100).body(()).unwrap();
    respond.send_informational(word).is_ok()
}
