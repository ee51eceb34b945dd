//! The gates that only some requests come to: the word that a body waits for, an answer that will
//! not give it and the request once more, a proxy's tunnel, a compressed body, the pause between two
//! attempts, two attempts side by side. Whoever ends there leaves nothing behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headworks::Transport;
#[cfg(feature = "compression")]
use headworks::http_transport::Decoding;
use headworks::http_transport::{
    CloseReason, Phase, Protocol, ProxyRules, Safeguards, SafeguardsConfig, TransportConfig,
    TransportError,
};
use headworks::retry::{AttemptError, Backoff, HedgeConfig, RetryPolicy};
use http::{Request, Response};

use crate::cancel::works;
use crate::ends::{ENDS, End, ends_at, get, in_time, one_place};
use crate::h2::serving;
use crate::safeguards::hedging;
use crate::server::{OK, Peer, Server, at_rest, counts, patiently, until};

/// Longer than any of these tests.
const LONG: Duration = Duration::from_secs(60);

/// The server has the head, and says nothing to it.
#[tokio::test]
async fn at_the_word_that_the_body_waits_for() {
    for end in ENDS {
        let server = Server::by_hand().await;
        let config = TransportConfig::default().with_expect_continue_above(Some(1));
        let transport = one_place(config.with_expect_continue_wait(LONG), end);
        let request = Request::post(server.url("/")).body("a body").unwrap();
        let sender = transport.clone();
        let call = async move { sender.send(request).await.map(drop) };
        let mut peer = None;
        let gate = async {
            let accepted = server.accept().await;
            accepted.stream.peek(&mut [0]).await.unwrap();
            peer = Some(accepted);
        };
        assert_eq!(ends_at(call, end, gate).await, in_time(end, Phase::Header), "{end:?}");
        let heard = peer.unwrap().rest().await;
        assert!(heard.contains("100-continue") && !heard.contains("a body"), "{heard}");
        assert_eq!(at_rest(&transport).await.open(), 0, "{end:?}");
    }
}

/// The server does not know what is expected of it, and has been asked again without.
const UNMET: &str = "HTTP/1.1 417 What\r\nContent-Length: 4\r\n\r\n";

fn expecting(end: End) -> Transport {
    let config = TransportConfig::default().with_expect_continue_above(Some(1));
    one_place(config.with_expect_continue_wait(LONG), end)
}

async fn post(transport: Transport, url: String) -> Result<(), TransportError> {
    let request = Request::post(url).body("a body").unwrap();
    transport.send(request).await?.into_body().bytes(1 << 20).await.map(drop)
}

#[tokio::test]
async fn at_the_second_sending_after_a_417() {
    for end in ENDS {
        let server = Server::by_hand().await;
        let transport = expecting(end);
        let mut peers = None;
        let gate = async {
            let mut first = server.accept().await;
            first.stream.peek(&mut [0]).await.unwrap();
            first.write(UNMET).await;
            let mut again = server.accept().await;
            let sent = again.request().await.unwrap();
            assert!(!sent.contains("expect") && sent.ends_with("a body"), "{sent}");
            peers = Some((first, again));
        };
        let ended = ends_at(post(transport.clone(), server.url("/")), end, gate).await;
        assert_eq!(ended, in_time(end, Phase::Header), "{end:?}");
        let (first, again) = peers.unwrap();
        assert!(!first.rest().await.contains("a body"), "{end:?}");
        again.closed().await;
        let counts = at_rest(&transport).await;
        assert_eq!((counts.open(), counts.closed.of(CloseReason::Abandoned)), (0, 2), "{end:?}");
        works(&transport).await;
    }
}

/// Another request waited already for the place that the first sending had.
#[tokio::test]
async fn in_line_for_the_second_sending_after_a_417() {
    for end in ENDS {
        let server = Server::by_hand().await;
        let transport = expecting(end);
        let mut peer = None;
        let other = tokio::spawn({
            let (transport, server) = (transport.clone(), server.url("/"));
            async move {
                until(|| counts(&transport).active == 1).await;
                get(transport, server).await
            }
        });
        let gate = async {
            let mut first = server.accept().await;
            first.stream.peek(&mut [0]).await.unwrap();
            until(|| counts(&transport).waiting == 1).await;
            first.write(UNMET).await;
            first.closed().await;
            let mut others = server.accept().await;
            others.request().await.unwrap();
            until(|| counts(&transport).waiting == 1).await;
            peer = Some(others);
        };
        let ended = ends_at(post(transport.clone(), server.url("/")), end, gate).await;
        assert_eq!(ended, in_time(end, Phase::PoolWait), "{end:?}");
        let mut peer = peer.unwrap();
        if end == End::TimedOut {
            // The other's time may have run out as well.
            other.abort();
            peer.closed().await;
            assert_eq!(at_rest(&transport).await.open(), 0);
            continue;
        }
        assert_eq!(counts(&transport).waiting, 0, "{end:?}");
        peer.write(OK).await;
        patiently(other).await.unwrap().unwrap();
        let counts = at_rest(&transport).await;
        assert_eq!((counts.opened, counts.idle), (2, 1), "{end:?}");
    }
}

/// Over HTTP/2 both go over one connection, which stays.
#[tokio::test]
async fn at_the_second_stream_after_a_417() {
    for end in ENDS {
        let (came, reset) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (coming, resetting) = (Arc::clone(&came), Arc::clone(&reset));
        let server = serving(10, move |request, mut respond| {
            let (came, reset) = (Arc::clone(&coming), Arc::clone(&resetting));
            async move {
                if request.headers().contains_key("expect") {
                    let unmet = Response::builder().status(417).body(()).unwrap();
                    respond.send_response(unmet, true).unwrap();
                    return;
                }
                came.fetch_add(1, Ordering::SeqCst);
                std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
                reset.fetch_add(1, Ordering::SeqCst);
            }
        })
        .await;
        let config = crate::h2::config().with_expect_continue_above(Some(1));
        let transport = one_place(config.with_expect_continue_wait(LONG), end);
        let gate = until(|| came.load(Ordering::SeqCst) == 1);
        let ended = ends_at(post(transport.clone(), server.url("/")), end, gate).await;
        assert_eq!(ended, in_time(end, Phase::Header), "{end:?}");
        until(|| reset.load(Ordering::SeqCst) == 1).await;
        let counts = at_rest(&transport).await;
        assert_eq!((counts.streams, counts.idle, counts.opened), (0, 1, 1), "{end:?}");
    }
}

/// Half of it is there, and some of that has been decoded; or none of it is.
#[cfg(feature = "compression")]
#[tokio::test]
async fn at_the_compressed_body() {
    use crate::compressed::{CODINGS, compressed, text};
    for (coding, end) in CODINGS.into_iter().flat_map(|it| ENDS.map(|end| (it, end))) {
        let whole = compressed(coding, &text()).await;
        for said in [whole.len() / 2, 0] {
            let server = Server::by_hand().await;
            let config = TransportConfig::default().with_decoding(Some(Decoding::default()));
            let transport = one_place(config, end);
            let (caller, url) = (transport.clone(), server.url("/"));
            let (begun, begins) = tokio::sync::oneshot::channel();
            let call = async move {
                let mut body = caller.get(url).await?.into_body();
                let mut read = if said > 0 { body.chunk().await.unwrap()?.len() } else { 0 };
                begun.send(read).unwrap();
                while let Some(piece) = body.chunk().await {
                    read += piece?.len();
                }
                panic!("it has no end, but {read} bytes");
            };
            let mut peer = None;
            let gate = async {
                let mut accepted = server.accept().await;
                accepted.request().await.unwrap();
                let length = whole.len();
                let head = format!("Content-Encoding: {coding}\r\nContent-Length: {length}");
                accepted.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n")).await;
                accepted.write(&whole[..said]).await;
                assert_eq!(begins.await.unwrap() > 0, said > 0);
                peer = Some(accepted);
            };
            let ended = ends_at(call, end, gate).await;
            assert_eq!(ended, in_time(end, Phase::Body), "{coding} {said} {end:?}");
            peer.unwrap().closed().await;
            let counts = at_rest(&transport).await;
            assert_eq!((counts.open(), counts.closed.total()), (0, 1), "{coding} {end:?}");
            works(&transport).await;
        }
    }
}

/// The proxy has been asked, and does not answer.
#[tokio::test]
async fn at_the_tunnel() {
    for end in ENDS {
        let proxy = Server::by_hand().await;
        let rules = ProxyRules::all(proxy.url("").parse().unwrap());
        let config = TransportConfig::default().with_proxy(rules.into());
        let transport = one_place(config.with_protocol(Protocol::Http2), end);
        let call = get(transport.clone(), "http://backend.invalid/".to_owned());
        let mut peer = None;
        let gate = async {
            let mut accepted = proxy.accept().await;
            assert!(accepted.request().await.unwrap().starts_with("CONNECT "));
            peer = Some(accepted);
        };
        assert_eq!(ends_at(call, end, gate).await, in_time(end, Phase::Dial), "{end:?}");
        peer.unwrap().closed().await;
        let counts = at_rest(&transport).await;
        assert_eq!((counts.open(), counts.opened), (0, 0), "{end:?}");
    }
}

/// The first attempt has failed, and the next is long away. (What would be past the time of the
/// whole is not waited for: see below.)
#[tokio::test]
async fn at_the_pause_between_two_attempts() {
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    for end in [End::Dropped, End::Panicked] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let server = Server::running(move |mut peer: Peer| {
            let asked = Arc::clone(&counted);
            async move {
                while peer.request().await.is_some() && peer.write(BUSY).await {
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
        .await;
        // Some time up to that, by chance.
        let policy = RetryPolicy::default().with_backoff(Backoff::new(100 * LONG, 100 * LONG));
        let config = SafeguardsConfig::default().with_retry(Some(policy));
        let safeguards = Safeguards::new(config).unwrap();
        let patient = TransportConfig::default().with_total_timeout(500 * LONG);
        let transport = one_place(patient, end).with_safeguards(safeguards.clone());
        let call = get(transport.clone(), server.url("/"));
        let gate = until(|| {
            let rests = counts(&transport).idle == 1;
            asked.load(Ordering::SeqCst) == 1 && rests
        });
        assert_eq!(ends_at(call, end, gate).await, None, "{end:?}");
        let counts = at_rest(&transport).await;
        assert_eq!((counts.opened, counts.idle), (1, 1), "{end:?}: it lay idle meanwhile");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{end:?}");
        let retry = safeguards.snapshot()[0].retry.unwrap();
        assert_eq!((retry.retried, retry.recovered), (1, 0), "{end:?}: it waited");
    }
}

/// A pause that time would run out in is none: the answer that there is is returned at once, and of
/// an error itself.
#[tokio::test]
async fn no_pause_is_begun_that_the_time_of_the_whole_ends_in() {
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\nbusy";
    let policy = RetryPolicy::default().with_backoff(Backoff::new(LONG, LONG));
    let config = SafeguardsConfig::default().with_retry(Some(policy));
    let safeguards = Safeguards::new(config).unwrap();
    let whole = TransportConfig::default().with_total_timeout(Duration::from_secs(2));
    let transport = one_place(whole, End::Dropped).with_safeguards(safeguards.clone());
    let server = Server::by_hand().await;
    let call = async { transport.get(server.url("/")).await?.into_body().bytes(10).await };
    let (read, ()) = patiently(Box::pin(async {
        tokio::join!(call, async {
            let mut peer = server.accept().await;
            peer.request().await.unwrap();
            peer.write(BUSY).await;
        })
    }))
    .await;
    assert_eq!(read.unwrap(), "busy", "its connection was not given away meanwhile");
    assert_eq!(safeguards.snapshot()[0].retry.unwrap().retried, 0);
    at_rest(&transport).await;
}

/// The pool is closed in the pause, and cut: the attempt after it is refused.
#[tokio::test]
async fn at_a_pause_that_is_cut() {
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    let policy = RetryPolicy::default().with_backoff(Backoff::new(100 * LONG, 100 * LONG));
    let config = SafeguardsConfig::default().with_retry(Some(policy));
    let safeguards = Safeguards::new(config).unwrap();
    let patient = TransportConfig::default().with_total_timeout(500 * LONG);
    let transport = one_place(patient, End::Dropped).with_safeguards(safeguards.clone());
    let server = Server::by_hand().await;
    let task = tokio::spawn(get(transport.clone(), server.url("/")));
    let mut peer = server.accept().await;
    peer.request().await.unwrap();
    peer.write(BUSY).await;
    until(|| counts(&transport).idle == 1).await;
    let report = patiently(transport.close(Duration::from_millis(1))).await;
    assert_eq!((report.requests, report.hosts.len(), report.unresponsive), (1, 0, 0));
    let error = patiently(task).await.unwrap().unwrap_err();
    let TransportError::GaveUp(gave_up) = &error else { panic!("{error:?}") };
    let last = gave_up.last();
    assert!(matches!(last, AttemptError::Inner(TransportError::Closed)), "{error:?}");
    assert_eq!(at_rest(&transport).await.open(), 0);
    peer.closed().await;
}

/// Both attempts are with the server, which answers neither.
#[tokio::test]
async fn at_two_attempts_side_by_side() {
    for end in ENDS {
        let (hangs, hanging) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (told, counted) = (Arc::clone(&hangs), Arc::clone(&hanging));
        let server = Server::running(move |mut peer: Peer| {
            let (hangs, hanging) = (Arc::clone(&told), Arc::clone(&counted));
            async move {
                while peer.request().await.is_some() {
                    if hangs.load(Ordering::SeqCst) == 1 {
                        hanging.fetch_add(1, Ordering::SeqCst);
                        peer.closed().await;
                        hanging.fetch_sub(1, Ordering::SeqCst);
                        return;
                    }
                    peer.write(OK).await;
                }
            }
        })
        .await;
        let two = TransportConfig::default().with_open_per_host(2).with_open_overall(2);
        let two = match end {
            End::TimedOut => two.with_total_timeout(Duration::from_secs(3)),
            End::Dropped | End::Panicked => two,
        };
        let transport = crate::server::transport(two.with_drain_bytes(0))
            .with_safeguards(hedging(HedgeConfig::default()));
        for _ in 0..40 {
            get(transport.clone(), server.url("/")).await.unwrap();
        }
        hangs.store(1, Ordering::SeqCst);
        let call = get(transport.clone(), server.url("/"));
        let gate = until(|| hanging.load(Ordering::SeqCst) == 2);
        assert_eq!(ends_at(call, end, gate).await, in_time(end, Phase::Header), "{end:?}");
        until(|| hanging.load(Ordering::SeqCst) == 0).await;
        assert_eq!(at_rest(&transport).await.open(), 0, "{end:?}: both are closed");
    }
}
