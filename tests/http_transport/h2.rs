//! HTTP/2 against servers that speak it well: streams, their limits, and connections that go.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::h2::Reason;
use ::h2::server::SendResponse;
use bytes::Bytes;
use headworks::Transport;
use headworks::http_transport::{
    CloseReason, PoolCounts, Protocol, TransportBody, TransportConfig, TransportError,
};
use http::{Method, Request, Response};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use crate::server::{Served, Server, at_rest, counts, patiently, transport, until};

pub(crate) fn config() -> TransportConfig {
    TransportConfig::default().with_protocol(Protocol::Http2)
}

type Incoming = Request<::h2::RecvStream>;

/// Serves every request of every connection with `each`, `most` at a time.
pub(crate) fn serving<F>(
    most: u32,
    each: impl Fn(Incoming, SendResponse<Bytes>) -> F + Send + Sync + 'static,
) -> impl Future<Output = Server>
where
    F: Future<Output = ()> + Send + 'static,
{
    serving_as(most, Arc::new(move |request, respond| Box::pin(each(request, respond))))
}

type Each = dyn Fn(Incoming, SendResponse<Bytes>) -> Served + Send + Sync;

/// In one shape for all tests, as [`Server::running`] does.
async fn serving_as(most: u32, each: Arc<Each>) -> Server {
    Server::running(move |peer| {
        let each = Arc::clone(&each);
        async move {
            let mut builder = ::h2::server::Builder::new();
            let begun = builder.max_concurrent_streams(most).handshake(peer.stream).await;
            let Ok(mut connection) = begun else { return };
            let mut streams = JoinSet::new();
            while let Some(Ok((request, respond))) = connection.accept().await {
                streams.spawn(each(request, respond));
                while streams.try_join_next().is_some() {}
            }
        }
    })
    .await
}

fn say(mut respond: SendResponse<Bytes>, text: &'static str) {
    if let Ok(mut body) = respond.send_response(Response::new(()), false) {
        let _ = body.send_data(Bytes::from_static(text.as_bytes()), true);
    }
}

async fn ok() -> Server {
    serving(1_000, |_, respond| async move { say(respond, "ok") }).await
}

async fn get(transport: &Transport, url: String) -> Result<Bytes, TransportError> {
    patiently(async { transport.get(url).await?.into_body().bytes(1 << 20).await }).await
}

/// `n` callers at once; all are answered.
async fn herd(transport: &Transport, server: &Server, n: usize) {
    let mut callers = JoinSet::new();
    for _ in 0..n {
        let (transport, url) = (transport.clone(), server.url("/"));
        callers.spawn(async move { assert_eq!(get(&transport, url).await.unwrap(), "ok") });
    }
    while let Some(ended) = patiently(callers.join_next()).await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn fifty_cold_callers_share_one_connection() {
    let server = ok().await;
    let transport = transport(config());
    herd(&transport, &server, 50).await;
    herd(&transport, &server, 50).await;
    let counts = at_rest(&transport).await;
    assert_eq!((counts.opened, counts.reused, counts.streams), (1, 99, 0));
    assert_eq!(counts.idle, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_stay_within_the_caps() {
    let server = ok().await;
    let capped = config().with_open_per_host(3).with_waiting_per_host(2_000);
    let transport = transport(capped);
    for _ in 0..2 {
        herd(&transport, &server, 1_000).await;
    }
    let counts = at_rest(&transport).await;
    assert!(counts.opened <= 3, "{counts:?}");
    // Those that were dialled ahead were no request's.
    assert!((2_000..=2_002).contains(&(counts.opened + counts.reused)), "{counts:?}");
}

#[tokio::test]
async fn large_bodies_go_both_ways_through_the_windows() {
    let server = serving(10, |request, mut respond| async move {
        assert_eq!(request.headers()["content-length"], "3000000");
        let mut body = request.into_body();
        let mut back = respond.send_response(Response::new(()), false).unwrap();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            back.send_data(data, false).unwrap();
        }
        back.send_data(Bytes::new(), true).unwrap();
    })
    .await;
    let transport = transport(config());
    let sent = Bytes::from_iter((0..3_000_000_u32).map(|n| (n % 251) as u8));
    let streamed = TransportBody::stream(http_body_util::Full::new(sent.clone()));
    for body in [TransportBody::from(sent.clone()), streamed] {
        let request = Request::post(server.url("/echo")).body(body).unwrap();
        let answer = patiently(transport.send(request)).await.unwrap();
        let back = patiently(answer.into_body().bytes(4_000_000)).await.unwrap();
        assert!(back == sent, "{} bytes came back", back.len());
    }
    assert_eq!(at_rest(&transport).await.opened, 1);
}

#[tokio::test]
async fn the_head_is_what_http_2_allows() {
    let server = serving(10, |request, respond| async move {
        let seen = request.headers();
        for name in ["connection", "keep-alive", "x-hop", "te", "host", "transfer-encoding"] {
            assert!(!seen.contains_key(name), "{name}");
        }
        assert_eq!(request.uri(), "http://named.example/a?b=c");
        assert_eq!((seen["x-end"].as_bytes(), request.method()), (&b"1"[..], &Method::PUT));
        say(respond, "ok");
    })
    .await;
    let transport = transport(config());
    let request = Request::put(server.url("/a?b=c"))
        .header("Host", "named.example")
        .header("Connection", "x-hop, keep-alive")
        .header("Keep-Alive", "timeout=5")
        .header("TE", "gzip")
        .header("X-Hop", "1")
        .header("X-End", "1")
        .body("body");
    let answer = patiently(transport.send(request.unwrap())).await.unwrap();
    assert_eq!(answer.into_body().bytes(10).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_host_header_that_is_no_authority_is_refused() {
    let server = ok().await;
    let transport = transport(config());
    for host in ["user@host", "a b", "a/b", "", "a\tb"] {
        let request = Request::get(server.url("/")).header("Host", host).body(()).unwrap();
        let error = patiently(transport.send(request)).await.unwrap_err();
        assert!(matches!(error, TransportError::InvalidRequest(_)), "{host:?}: {error:?}");
    }
    assert_eq!(get(&transport, server.url("/")).await.unwrap(), "ok");
    assert_eq!(at_rest(&transport).await.opened, 1);
}

/// No more at a time than the server allows, and nobody waits for ever.
#[tokio::test]
async fn the_servers_limit_holds_for_each_connection() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (inside, peak) = (Arc::clone(&now), Arc::clone(&most));
    let server = serving(10, move |_, respond| {
        let (now, most) = (Arc::clone(&inside), Arc::clone(&peak));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            say(respond, "ok");
        }
    })
    .await;
    let transport = transport(config().with_open_per_host(1));
    herd(&transport, &server, 200).await;
    assert!(most.load(Ordering::SeqCst) <= 10, "{most:?}");
    assert_eq!(at_rest(&transport).await.opened, 1);
}

/// A server that answers one request for each permit.
async fn gated(most: u32) -> (Server, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let inner = Arc::clone(&gate);
    let server = serving(most, move |_, respond| {
        let gate = Arc::clone(&inner);
        async move {
            gate.acquire().await.unwrap().forget();
            say(respond, "ok");
        }
    })
    .await;
    (server, gate)
}

fn start(
    callers: &mut JoinSet<Result<Bytes, TransportError>>,
    transport: &Transport,
    server: &Server,
) {
    let (transport, url) = (transport.clone(), server.url("/"));
    callers.spawn(async move { get(&transport, url).await });
}

#[tokio::test]
async fn a_second_connection_is_there_before_streams_run_out() {
    let (server, gate) = gated(8).await;
    let transport = transport(config());
    let mut callers = JoinSet::new();
    for n in 1..=7 {
        start(&mut callers, &transport, &server);
        until(|| counts(&transport).streams == n).await;
        assert_eq!(counts(&transport).opened, 1);
        assert_eq!(counts(&transport).dialling, usize::from(n == 7));
    }
    until(|| counts(&transport).opened == 2).await;
    let PoolCounts { idle, waiting, .. } = counts(&transport);
    assert_eq!((idle, waiting), (1, 0), "nobody had to ask for it");
    gate.add_permits(7);
    while let Some(ended) = patiently(callers.join_next()).await {
        assert_eq!(ended.unwrap().unwrap(), "ok");
    }
    assert_eq!(at_rest(&transport).await.idle, 2);
}

/// What runs ends over the old connection, what comes goes over a new one, and the old one's
/// place is free when it is done.
#[tokio::test]
async fn a_goaway_drains_the_connection() {
    let (leave, gate) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (told, inner) = (Arc::clone(&leave), Arc::clone(&gate));
    let server = Server::running(move |peer| {
        let (told, gate) = (Arc::clone(&told), Arc::clone(&inner));
        async move {
            let mut connection = ::h2::server::handshake(peer.stream).await.unwrap();
            let mut streams = JoinSet::new();
            loop {
                tokio::select! {
                    biased;
                    () = told.notified() => connection.graceful_shutdown(),
                    next = connection.accept() => {
                        let Some(Ok((_, respond))) = next else { return };
                        let gate = Arc::clone(&gate);
                        streams.spawn(async move {
                            gate.acquire().await.unwrap().forget();
                            say(respond, "ok");
                        });
                    }
                }
            }
        }
    })
    .await;
    let transport = transport(config());
    let mut callers = JoinSet::new();
    start(&mut callers, &transport, &server);
    until(|| counts(&transport).streams == 1).await;
    leave.notify_one();
    // A ping goes to and fro before the connection is out of the pool; until then new streams
    // are still the old one's.
    let mut all = 1;
    while counts(&transport).opened == 1 {
        all += 1;
        assert!(all < 1_000, "it never goes");
        start(&mut callers, &transport, &server);
        until(|| counts(&transport).streams == all).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(counts(&transport).open(), 2, "what runs holds the old one open");
    gate.add_permits(all);
    while let Some(ended) = patiently(callers.join_next()).await {
        assert_eq!(ended.unwrap().unwrap(), "ok");
    }
    until(|| counts(&transport).open() == 1).await;
    let counts = at_rest(&transport).await;
    assert_eq!((counts.idle, counts.closed.of(CloseReason::ByPeer)), (1, 1), "{counts:?}");
}

/// It was provably not begun with, so even a POST is sent again; but not for ever.
#[tokio::test]
async fn a_refused_stream_is_sent_again() {
    for (refusals, well) in [(1, true), (2, true), (3, false)] {
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&seen);
        let server = serving(10, move |_, mut respond| {
            let nth = counter.fetch_add(1, Ordering::SeqCst);
            async move {
                if nth < refusals {
                    respond.send_reset(Reason::REFUSED_STREAM);
                } else {
                    say(respond, "ok");
                }
            }
        })
        .await;
        let transport = transport(config());
        let request = Request::post(server.url("/")).body("once").unwrap();
        let result = patiently(transport.send(request)).await;
        assert_eq!(result.is_ok(), well, "{result:?}");
        match result {
            Ok(answer) => drop(answer),
            Err(error) => assert!(matches!(error, TransportError::Send(_)), "{error:?}"),
        }
        assert_eq!(seen.load(Ordering::SeqCst), 3.min(refusals + 1));
        assert_eq!(at_rest(&transport).await.opened, 1, "the connection is none the worse");
    }
}

/// Any other reset is an answer: what was begun with is not sent again.
#[tokio::test]
async fn a_stream_that_is_reset_is_not_sent_again() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let server = serving(10, move |_, mut respond| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move { respond.send_reset(Reason::INTERNAL_ERROR) }
    })
    .await;
    let transport = transport(config());
    let error = get(&transport, server.url("/")).await.unwrap_err();
    assert!(matches!(error, TransportError::Send(_)), "{error:?}");
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    assert_eq!(at_rest(&transport).await.idle, 1);
}

/// A body that is dropped ends its stream, not the connection.
#[tokio::test]
async fn a_dropped_body_costs_no_connection() {
    let resets = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&resets);
    let server = serving(10, move |_, mut respond| {
        let resets = Arc::clone(&counter);
        async move {
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            let _ = body.send_data(Bytes::from_static(b"a beginning"), false);
            let reason = std::future::poll_fn(|cx| body.poll_reset(cx)).await.unwrap();
            assert_eq!(reason, Reason::CANCEL);
            resets.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let transport = transport(config());
    for n in 1..=5 {
        let mut body = patiently(transport.get(server.url("/"))).await.unwrap().into_body();
        assert_eq!(body.chunk().await.unwrap().unwrap(), "a beginning");
        drop(body);
        until(|| resets.load(Ordering::SeqCst) == n).await;
    }
    let counts = at_rest(&transport).await;
    assert_eq!((counts.opened, counts.idle), (1, 1));
}

#[tokio::test]
async fn wherever_a_request_is_dropped_its_stream_comes_back() {
    let server = serving(1_000, |_, mut respond| async move {
        tokio::task::yield_now().await;
        let Ok(mut body) = respond.send_response(Response::new(()), false) else { return };
        for _ in 0..3 {
            tokio::task::yield_now().await;
            let _ = body.send_data(Bytes::from_static(b"o"), false);
        }
        let _ = body.send_data(Bytes::new(), true);
    })
    .await;
    let transport = transport(config().with_streams_per_connection(20).with_open_per_host(2));
    let mut callers = JoinSet::new();
    for n in 0..600_usize {
        let (caller, url) = (transport.clone(), server.url("/"));
        callers.spawn(async move {
            let mut call = pin!(get(&caller, url));
            let turns = async {
                for _ in 0..n % 60 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                answer = &mut call => if let Ok(answer) = answer { assert_eq!(answer, "ooo") },
                () = turns => {}
            }
        });
        if n % 20 == 0 {
            tokio::task::yield_now().await;
        }
        let PoolCounts { streams, .. } = counts(&transport);
        assert!(streams <= 40 && counts(&transport).open() <= 2);
    }
    while let Some(ended) = patiently(callers.join_next()).await {
        ended.unwrap();
    }
    assert_eq!(at_rest(&transport).await.streams, 0);
    assert_eq!(get(&transport, server.url("/")).await.unwrap(), "ooo");
}

/// A dead peer holds up nobody but those who were already there.
#[tokio::test]
async fn a_connection_that_fell_silent_gets_no_more_requests() {
    let (now, silent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let quiet = Arc::clone(&silent);
    let server = Server::running(move |peer| {
        let is_first = now.fetch_add(1, Ordering::SeqCst) == 0;
        let silent = Arc::clone(&quiet);
        async move {
            let mut connection = ::h2::server::handshake(peer.stream).await.unwrap();
            while let Some(Ok((_, respond))) = connection.accept().await {
                if is_first && silent.fetch_add(1, Ordering::SeqCst) > 0 {
                    // Its socket stays open, and nobody reads it any more.
                    std::future::pending::<()>().await;
                }
                say(respond, "ok");
            }
        }
    })
    .await;
    let short = config().with_response_header_timeout(Duration::from_secs(1));
    let transport = transport(short);
    assert_eq!(get(&transport, server.url("/")).await.unwrap(), "ok");
    let error = get(&transport, server.url("/")).await.unwrap_err();
    assert!(matches!(error, TransportError::HeaderTimeout), "{error:?}");
    assert_eq!(get(&transport, server.url("/")).await.unwrap(), "ok");
    assert_eq!(silent.load(Ordering::SeqCst), 2, "the third went elsewhere");
}

/// A silence that was cut short proves nothing: others go on over it.
#[tokio::test]
async fn the_end_of_the_whole_says_nothing_against_the_connection() {
    let server = serving(100, |request, mut respond| async move {
        if request.uri().path() != "/has_no_end" {
            return say(respond, "ok");
        }
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        body.send_data(Bytes::from_static(b"."), false).unwrap();
        std::future::pending().await
    })
    .await;
    let transport = transport(config().with_total_timeout(Duration::from_secs(1)));
    let error = get(&transport, server.url("/has_no_end")).await.unwrap_err();
    assert!(matches!(error, TransportError::TotalTimeout { .. }), "{error:?}");
    assert_eq!(get(&transport, server.url("/")).await.unwrap(), "ok");
    assert_eq!(transport.snapshot().in_all.opened, 1);
}

/// The peer is told, and the caller learns that it was his own body.
#[tokio::test]
async fn a_body_that_fails_after_the_answer_has_begun_ends_the_request() {
    struct Fails(Option<Bytes>, tokio::sync::oneshot::Receiver<()>);
    impl http_body::Body for Fails {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, &'static str>>> {
            if let Some(piece) = self.0.take() {
                return std::task::Poll::Ready(Some(Ok(http_body::Frame::data(piece))));
            }
            let now = std::pin::Pin::new(&mut self.1).poll(cx);
            now.map(|_| Some(Err("broken")))
        }
    }
    let (told, mut hears) = tokio::sync::mpsc::channel(1);
    let server = serving(100, move |request, mut respond| {
        let told = told.clone();
        async move {
            let _body = respond.send_response(Response::new(()), false).unwrap();
            let mut incoming = request.into_body();
            while let Some(Ok(_)) = incoming.data().await {}
            told.send(()).await.unwrap();
        }
    })
    .await;
    let (fails, wait) = tokio::sync::oneshot::channel();
    let body = TransportBody::stream(Fails(Some(Bytes::from_static(b"one")), wait));
    let transport = transport(config());
    let request = Request::post(server.url("/")).body(body).unwrap();
    let answer = patiently(transport.send(request)).await.unwrap();
    fails.send(()).unwrap();
    let error = patiently(answer.into_body().bytes(100)).await.unwrap_err();
    assert!(matches!(error, TransportError::RequestBody(_)), "{error:?}");
    assert_eq!(patiently(hears.recv()).await, Some(()), "the peer does not wait for the rest");
}

/// A server may send a megabyte of each before it is read: of more than four, too.
#[tokio::test]
async fn answers_that_nobody_reads_hold_up_no_other() {
    let server = serving(100, |request, mut respond| async move {
        let (text, large) = (Bytes::from_static(b"ok"), Bytes::from(vec![7; 2 << 20]));
        let body = if request.uri().path() == "/large" { large } else { text };
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        let _ = send.send_data(body, true);
    })
    .await;
    let transport = transport(config());
    let mut unread = Vec::new();
    for _ in 0..12 {
        let answer = patiently(transport.get(server.url("/large"))).await.unwrap();
        unread.push(answer.into_body());
    }
    // Until the server has used up what it was allowed.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(&transport, server.url("/")).await.unwrap(), "ok");
    for body in unread {
        assert_eq!(patiently(body.bytes(4 << 20)).await.unwrap().len(), 2 << 20);
    }
    assert_eq!(at_rest(&transport).await.opened, 1);
}

#[tokio::test]
async fn an_answer_of_another_length_than_it_claims_is_invalid() {
    let server = serving(100, |request, mut respond| async move {
        let status = if request.uri().path() == "/304" { 304 } else { 200 };
        let head = Response::builder().status(status).header("content-length", 5);
        let says = match request.uri().path() {
            "/short" => Some("abc"),
            "/long" => Some("abcdefg"),
            "/exact" => Some("abcde"),
            _ => None,
        };
        let mut send = respond.send_response(head.body(()).unwrap(), says.is_none()).unwrap();
        if let Some(text) = says {
            send.send_data(Bytes::from_static(text.as_bytes()), true).unwrap();
        }
    })
    .await;
    let transport = transport(config());
    for path in ["/short", "/long", "/none"] {
        let error = get(&transport, server.url(path)).await.unwrap_err();
        assert!(matches!(error, TransportError::InvalidAnswer(_)), "{path}: {error:?}");
    }
    assert_eq!(get(&transport, server.url("/exact")).await.unwrap(), "abcde");
    assert_eq!(get(&transport, server.url("/304")).await.unwrap(), "");
    let head = Request::head(server.url("/none")).body(()).unwrap();
    let answer = patiently(transport.send(head)).await.unwrap();
    assert_eq!(answer.headers()["content-length"], "5");
    assert_eq!(at_rest(&transport).await.opened, 1, "a stream's fault is not the connection's");
}

#[tokio::test]
async fn an_answers_header_has_a_limit() {
    let server = serving(100, |request, mut respond| async move {
        let bytes: usize = request.uri().path()[1..].parse().unwrap();
        let mut head = Response::new(());
        for n in 0..bytes / 1_000 {
            // 32 bytes on top of each.
            let (name, value) = (format!("x-{n:06}"), "v".repeat(1_000 - 32 - 8));
            let name: http::HeaderName = name.parse().unwrap();
            head.headers_mut().insert(name, value.parse().unwrap());
        }
        let _ = respond.send_response(head, true);
    })
    .await;
    let transport = transport(config().with_max_header_bytes(10_000));
    assert_eq!(get(&transport, server.url("/10000")).await.unwrap(), "");
    for bytes in [11_000, 39_000] {
        let error = get(&transport, server.url(&format!("/{bytes}"))).await.unwrap_err();
        assert!(matches!(error, TransportError::HeaderTooLarge), "{bytes}: {error:?}");
        assert!(!error.is_retryable());
    }
    // h2 does not say what was wrong with it.
    let error = get(&transport, server.url("/41000")).await.unwrap_err();
    assert!(matches!(error, TransportError::InvalidAnswer(_)), "{error:?}");
    assert_eq!(get(&transport, server.url("/0")).await.unwrap(), "");
    assert_eq!(at_rest(&transport).await.opened, 1, "a stream's fault is not the connection's");
    // And this one ends the connection.
    let error = get(&transport, server.url("/200000")).await.unwrap_err();
    assert!(matches!(error, TransportError::InvalidAnswer(_)), "{error:?}");
    assert_eq!(get(&transport, server.url("/0")).await.unwrap(), "");
    assert_eq!(at_rest(&transport).await.opened, 2);
}

/// Only the first connection is served. The others, dialled ahead of need, end in the greeting.
#[tokio::test]
async fn dials_ahead_that_fail_are_counted_and_not_tried_at_once_again() {
    let (accepted, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (counter, inner) = (Arc::clone(&accepted), Arc::clone(&gate));
    let server = Server::running(move |peer| {
        let is_first = counter.fetch_add(1, Ordering::SeqCst) == 0;
        let gate = Arc::clone(&inner);
        async move {
            if !is_first {
                return;
            }
            let mut builder = ::h2::server::Builder::new();
            let begun = builder.max_concurrent_streams(8).handshake(peer.stream).await;
            let (mut connection, mut streams) = (begun.unwrap(), JoinSet::new());
            while let Some(Ok((request, respond))) = connection.accept().await {
                let gate = Arc::clone(&gate);
                streams.spawn(async move {
                    if request.uri().path() == "/held" {
                        gate.acquire().await.unwrap().forget();
                    }
                    say(respond, "ok");
                });
            }
        }
    })
    .await;
    let transport = transport(config());
    let mut callers = JoinSet::new();
    for _ in 0..6 {
        let (transport, url) = (transport.clone(), server.url("/held"));
        callers.spawn(async move { get(&transport, url).await });
    }
    until(|| counts(&transport).streams == 6).await;
    for _ in 0..200 {
        assert_eq!(get(&transport, server.url("/")).await.unwrap(), "ok");
    }
    until(|| counts(&transport).dialling == 0).await;
    let failed = counts(&transport).failed_ahead;
    // A tenth would come after 51 s of pauses.
    assert!((1..10).contains(&failed), "{failed} of 200");
    assert_eq!(accepted.load(Ordering::SeqCst) as u64, 1 + failed);
    gate.add_permits(6);
    while let Some(ended) = patiently(callers.join_next()).await {
        assert_eq!(ended.unwrap().unwrap(), "ok");
    }
    assert_eq!(at_rest(&transport).await.opened, 1);
}

/// The head says how long the body of a `GET` would be, and its end comes in a frame of its own.
#[tokio::test]
async fn the_answer_to_a_head_has_no_body_whatever_length_it_names() {
    let server = serving(10, |_, mut respond| async move {
        let head = Response::builder().header("content-length", "5000").body(()).unwrap();
        let mut body = respond.send_response(head, false).unwrap();
        tokio::task::yield_now().await;
        body.send_data(Bytes::new(), true).unwrap();
    })
    .await;
    let transport = transport(config());
    let request = Request::head(server.url("/")).body(()).unwrap();
    let answer = patiently(transport.send(request)).await.unwrap();
    assert_eq!(answer.headers()["content-length"], "5000");
    assert_eq!(patiently(answer.into_body().bytes(10)).await.unwrap(), "");
    assert_eq!(at_rest(&transport).await.idle, 1);
}
