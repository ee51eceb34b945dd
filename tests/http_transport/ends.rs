//! Wherever a request over HTTP/2 ends, its stream comes back and its neighbours go on; and over
//! either protocol the end may be the timeout of the whole.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::h2::Reason;
use bytes::Bytes;
use headworks::Transport;
use headworks::http_transport::{
    CloseReason, Phase, TransportBody, TransportConfig, TransportError,
};
use http::{Request, Response};
use tokio::sync::Notify;

use crate::cancel::works;
use crate::h2::{config, serving};
use crate::reuse::streamed;
use crate::server::{OK, Peer, Server, at_rest, counts, patiently, transport, until};
use crate::timeouts::full_backlog;

/// How a request ends at the gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Dropped,
    Panicked,
    TimedOut,
}

pub(crate) const ENDS: [End; 3] = [End::Dropped, End::Panicked, End::TimedOut];

/// Long enough to come to any gate here, on a machine that does other things as well.
const WHOLE: Duration = Duration::from_millis(700);

pub(crate) fn one_place(config: TransportConfig, end: End) -> Transport {
    let one = config.with_open_per_host(1).with_open_overall(1).with_drain_bytes(0);
    transport(match end {
        End::TimedOut => one.with_total_timeout(WHOLE),
        End::Dropped | End::Panicked => one,
    })
}

/// Runs `call` until it stands at the gate, and ends it there. The phase in which its time ran out.
pub(crate) async fn ends_at<F>(
    call: F,
    end: End,
    at_the_gate: impl Future<Output = ()>,
) -> Option<Phase>
where
    F: Future<Output = Result<(), TransportError>> + Send + 'static,
{
    let stop = Arc::new(Notify::new());
    let told = Arc::clone(&stop);
    let task = tokio::spawn(async move {
        tokio::select! {
            biased;
            () = told.notified() => {
                if end == End::Panicked {
                    std::panic::resume_unwind(Box::new("at the gate"));
                }
                Ok(())
            }
            ended = call => ended,
        }
    });
    patiently(at_the_gate).await;
    if end != End::TimedOut {
        stop.notify_one();
    }
    match patiently(task).await {
        Ok(Ok(())) => None,
        Ok(Err(TransportError::TotalTimeout { phase })) => Some(phase),
        Ok(Err(error)) => panic!("{end:?}: {error:?}"),
        Err(panicked) => {
            assert!(panicked.is_panic() && end == End::Panicked);
            None
        }
    }
}

pub(crate) async fn get(transport: Transport, url: String) -> Result<(), TransportError> {
    transport.get(url).await?.into_body().bytes(1 << 20).await.map(drop)
}

pub(crate) fn in_time(end: End, phase: Phase) -> Option<Phase> {
    (end == End::TimedOut).then_some(phase)
}

/// Waits for the connection that a body holds which nobody reads.
#[tokio::test]
async fn at_the_pool_wait() {
    for end in ENDS {
        let server = Server::by_hand().await;
        let transport = one_place(TransportConfig::default(), end);
        let (holder, peer) = tokio::join!(transport.get(server.url("/")), async {
            let mut peer = server.accept().await;
            peer.request().await.unwrap();
            peer.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
            peer
        });
        let call = get(transport.clone(), server.url("/"));
        let gate = until(|| counts(&transport).waiting == 1);
        assert_eq!(ends_at(call, end, gate).await, in_time(end, Phase::PoolWait));
        assert_eq!((counts(&transport).waiting, counts(&transport).active), (0, 1));
        drop(holder);
        peer.closed().await;
        assert_eq!(at_rest(&transport).await.open(), 0);
    }
}

/// The peer has yet to say its settings.
#[tokio::test]
async fn at_the_settings() {
    for end in ENDS {
        let server = Server::by_hand().await;
        let transport = one_place(config(), end);
        let call = get(transport.clone(), server.url("/"));
        let mut peer = None;
        let gate = async { peer = Some(server.accept().await) };
        assert_eq!(ends_at(call, end, gate).await, in_time(end, Phase::Dial));
        peer.unwrap().closed().await;
        let counts = at_rest(&transport).await;
        assert_eq!((counts.open(), counts.opened), (0, 0), "{end:?}");
    }
}

/// A server that stands still at `/gate`, after so much of an answer, and answers the rest.
async fn standing_still(
    says: Option<&'static str>,
) -> (Server, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (came, reset) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (coming, resetting) = (Arc::clone(&came), Arc::clone(&reset));
    let server = serving(10, move |request, mut respond| {
        let (came, reset) = (Arc::clone(&coming), Arc::clone(&resetting));
        async move {
            if request.uri().path() != "/gate" {
                let mut send = respond.send_response(Response::new(()), false).unwrap();
                return send.send_data(Bytes::from_static(b"ok"), true).unwrap();
            }
            let reason = match says {
                None => {
                    came.fetch_add(1, Ordering::SeqCst);
                    std::future::poll_fn(|cx| respond.poll_reset(cx)).await
                }
                Some(text) => {
                    let mut send = respond.send_response(Response::new(()), false).unwrap();
                    if !text.is_empty() {
                        send.send_data(Bytes::from_static(text.as_bytes()), false).unwrap();
                    }
                    came.fetch_add(1, Ordering::SeqCst);
                    std::future::poll_fn(|cx| send.poll_reset(cx)).await
                }
            };
            assert_eq!(reason.unwrap(), Reason::CANCEL);
            reset.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    (server, came, reset)
}

/// The stream alone ends, and its server is told; the connection carries the next request.
async fn over_a_stream(says: Option<&'static str>, upload: bool, phase: Phase) {
    for end in ENDS {
        let (server, came, reset) = standing_still(says).await;
        let transport = one_place(config(), end);
        let request = Request::post(server.url("/gate"));
        let request = request.body(if upload { endless() } else { "work".into() }).unwrap();
        let sender = transport.clone();
        let call =
            async move { sender.send(request).await?.into_body().bytes(1 << 20).await.map(drop) };
        let gate = until(|| came.load(Ordering::SeqCst) == 1);
        assert_eq!(ends_at(call, end, gate).await, in_time(end, phase), "{end:?}");
        until(|| reset.load(Ordering::SeqCst) == 1).await;
        let now = at_rest(&transport).await;
        assert_eq!((now.streams, now.idle, now.opened), (0, 1, 1), "{end:?}");
        patiently(get(transport.clone(), server.url("/"))).await.unwrap();
        assert_eq!(at_rest(&transport).await.opened, 1, "{end:?}");
    }
}

#[tokio::test]
async fn at_the_header_of_a_stream() {
    over_a_stream(None, false, Phase::Header).await;
}

#[tokio::test]
async fn at_the_body_of_a_stream() {
    over_a_stream(Some(""), false, Phase::Body).await;
    over_a_stream(Some("half"), false, Phase::Body).await;
}

/// The server reads nothing of it, so that it stands still where the window ends.
#[tokio::test]
async fn at_the_upload_of_a_stream() {
    over_a_stream(None, true, Phase::Header).await;
    over_a_stream(Some("half"), true, Phase::Body).await;
}

/// A body without an end.
fn endless() -> TransportBody {
    struct Endless;
    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            let piece = Bytes::from_static(&[b'x'; 4_096]);
            std::task::Poll::Ready(Some(Ok(http_body::Frame::data(piece))))
        }
    }
    TransportBody::stream(Endless)
}

/// The same over HTTP/1.1, where the connection goes with the request: the server has said so much.
#[tokio::test]
async fn at_the_header_and_the_body_of_a_connection_when_time_runs_out() {
    for (said, phase) in [
        ("", Phase::Header),
        ("HTTP/1.1 200 OK\r\nContent-Le", Phase::Header),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", Phase::Body),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", Phase::Body),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", Phase::Body),
    ] {
        let server = Server::by_hand().await;
        let transport = one_place(TransportConfig::default(), End::TimedOut);
        let call = get(transport.clone(), server.url("/"));
        let mut peer = None;
        let gate = async {
            let mut accepted: Peer = server.accept().await;
            accepted.request().await.unwrap();
            accepted.write(said).await;
            peer = Some(accepted);
        };
        assert_eq!(ends_at(call, End::TimedOut, gate).await, Some(phase), "{said}");
        peer.unwrap().closed().await;
        let counts = at_rest(&transport).await;
        assert_eq!((counts.open(), counts.closed.total()), (0, 1), "{said}");
    }
}

/// The request's body stands still over HTTP/1.1: nobody reads it.
#[tokio::test]
async fn at_the_upload_of_a_connection() {
    for end in ENDS {
        let server = Server::by_hand().await;
        let transport = one_place(TransportConfig::default(), end);
        let request = Request::post(server.url("/")).body(endless()).unwrap();
        let sender = transport.clone();
        let call = async move { sender.send(request).await.map(drop) };
        let mut peer = None;
        let gate = async { peer = Some(server.accept().await) };
        assert_eq!(ends_at(call, end, gate).await, in_time(end, Phase::Header), "{end:?}");
        let counts = at_rest(&transport).await;
        assert_eq!(counts.open(), 0, "{end:?}: {counts:?}");
        drop(peer);
    }
}

/// The other ends at these two gates are in `cancel`.
#[tokio::test]
async fn at_the_dial_when_time_runs_out() {
    let (listener, full) = full_backlog().await;
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let transport = one_place(TransportConfig::default(), End::TimedOut);
    let gate = until(|| counts(&transport).dialling == 1);
    let ended = ends_at(get(transport.clone(), url), End::TimedOut, gate).await;
    assert_eq!(ended, Some(Phase::Dial));
    let counts = at_rest(&transport).await;
    assert_eq!((counts.open(), counts.opened), (0, 0));
    drop(full);
    works(&transport).await;
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn at_the_tls_handshake_when_time_runs_out() {
    let server = Server::by_hand().await;
    let transport = one_place(TransportConfig::default(), End::TimedOut);
    let call = get(transport.clone(), format!("https://{}/", server.address));
    let mut peer = None;
    let gate = async { peer = Some(server.accept().await) };
    assert_eq!(ends_at(call, End::TimedOut, gate).await, Some(Phase::Tls));
    peer.unwrap().closed().await;
    assert_eq!(at_rest(&transport).await.open(), 0);
    works(&transport).await;
}

/// One place, and less time than a connection has between two requests.
fn soon(end: End) -> Transport {
    let one = TransportConfig::default().with_open_per_host(1).with_open_overall(1);
    transport(match end {
        End::TimedOut => one.with_total_timeout(WHOLE / 2),
        End::Dropped | End::Panicked => one,
    })
}

/// A connection between two requests, and one that waits for it and ends. Then it comes back, or
/// is given up after a second where the rest never comes.
async fn between_two(
    end: End,
    transport: &Transport,
    server: &Server,
    mut peer: Peer,
    rest: impl AsyncFnOnce(&mut Peer),
) {
    assert_eq!(counts(transport).active, 1, "{end:?}: it is not back yet");
    let call = get(transport.clone(), server.url("/"));
    let gate = until(|| counts(transport).waiting == 1);
    assert_eq!(ends_at(call, end, gate).await, in_time(end, Phase::PoolWait), "{end:?}");
    assert_eq!(counts(transport).waiting, 0);
    if end == End::TimedOut {
        peer.closed().await;
        let counts = at_rest(transport).await;
        assert_eq!((counts.open(), counts.closed.of(CloseReason::Abandoned)), (0, 1));
        return;
    }
    rest(&mut peer).await;
    until(|| counts(transport).idle == 1).await;
    let (answer, ()) = tokio::join!(get(transport.clone(), server.url("/")), async {
        peer.request().await.unwrap();
        peer.write(OK).await;
    });
    answer.unwrap();
    let counts = at_rest(transport).await;
    assert_eq!((counts.opened, counts.reused, counts.idle), (1, 1, 1), "{end:?}");
}

/// Its answer has been read, and the rest of its request is still to be written.
#[tokio::test]
async fn at_a_connection_that_settles() {
    for end in ENDS {
        let server = Server::by_hand().await;
        let transport = soon(end);
        let (send, pieces) = tokio::sync::mpsc::channel(1);
        let request = Request::post(server.url("/")).body(streamed(pieces)).unwrap();
        let (answer, peer) = tokio::join!(transport.send(request), async {
            let mut peer = server.accept().await;
            peer.write(OK).await;
            peer
        });
        assert_eq!(answer.unwrap().into_body().bytes(10).await.unwrap(), "ok");
        let rest = async |peer: &mut Peer| {
            send.send(Bytes::from_static(b"late")).await.unwrap();
            drop(send);
            assert!(peer.request().await.unwrap().contains("late"));
        };
        between_two(end, &transport, &server, peer, rest).await;
    }
}

/// Its answer was dropped, and the connection's own task reads the rest.
#[tokio::test]
async fn at_a_connection_that_drains() {
    for end in ENDS {
        let server = Server::by_hand().await;
        let transport = soon(end);
        let (answer, peer) = tokio::join!(transport.get(server.url("/")), async {
            let mut peer = server.accept().await;
            peer.request().await.unwrap();
            peer.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha").await;
            peer
        });
        drop(answer.unwrap());
        let rest = async |peer: &mut Peer| assert!(peer.write("lf").await);
        between_two(end, &transport, &server, peer, rest).await;
    }
}
