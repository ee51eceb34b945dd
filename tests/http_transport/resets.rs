//! D12: a server that resets 30 % of its answers mid-body, and ends idle connections at random; and
//! the same with the protection switched off. (Its `GOAWAY`s are in `h2_frames`.)

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use headworks::Transport;
use headworks::http_transport::{TransportBody, TransportConfig, TransportError};
use http::{Method, Request};
use tokio::task::JoinSet;

use crate::server::{OK, Peer, Server, at_rest, counts, patiently, transport};

/// Whether something happens that has so many chances in a hundred, by a number (SplitMix64).
fn happens(seed: u64, n: u64, percent: u64) -> bool {
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % 100 < percent
}

/// What the server does, in so many of a hundred cases.
#[derive(Clone, Copy, Default)]
struct Faults {
    /// It resets in the middle of an answer.
    resets: u64,
    /// It ends the connection after an answer.
    closes: u64,
    /// It ends a connection that has carried a request before when the next one comes, which it
    /// does not look at: what a client meets whose request crosses with the end of an idle
    /// connection.
    crossings: u64,
}

/// What it saw.
#[derive(Default)]
struct Book {
    /// How often it has begun with each request, by its path.
    begun: HashMap<String, u32>,
    /// Requests that crossed with an end: `GET`s, and `POST`s.
    crossed: [u32; 2],
    turn: u64,
}

async fn server(faults: Faults) -> (Server, Arc<Mutex<Book>>) {
    let book = Arc::new(Mutex::new(Book::default()));
    let kept = Arc::clone(&book);
    let server = Server::running(move |mut peer: Peer| {
        let book = Arc::clone(&kept);
        async move {
            let mut is_first = true;
            while let Some(request) = peer.request().await {
                let n = {
                    let mut book = book.lock().unwrap();
                    book.turn += 1;
                    let n = book.turn;
                    if !is_first && happens(3, n, faults.crossings) {
                        book.crossed[usize::from(request.starts_with("POST"))] += 1;
                        return;
                    }
                    let path = request.split(' ').nth(1).unwrap().to_owned();
                    *book.begun.entry(path).or_default() += 1;
                    n
                };
                is_first = false;
                if happens(1, n, faults.resets) {
                    peer.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
                    return peer.reset();
                }
                peer.write(OK).await;
                if happens(2, n, faults.closes) {
                    return;
                }
            }
        }
    })
    .await;
    (server, book)
}

/// How a caller treats an error.
#[derive(Clone, Copy, PartialEq)]
enum Caller {
    /// As the transport leaves it.
    Plain,
    /// Sends again whatever failed: the control of a client that repeats too much.
    Stubborn,
    /// Sends nothing that could be sent again (its bodies are streams): the control of one that
    /// repeats nothing.
    Once,
}

/// 20 callers, 40 requests each; every second one a `POST`. The errors of either kind.
async fn storm(transport: &Transport, server: &Server, caller: Caller) -> [Vec<TransportError>; 2] {
    let cap = transport.snapshot().max_connections;
    let mut callers = JoinSet::new();
    for number in 0..20 {
        let (transport, base) = (transport.clone(), server.url(""));
        callers.spawn(async move {
            let mut errors = [Vec::new(), Vec::new()];
            for n in 0..40 {
                let posts = n % 2;
                let method = [Method::GET, Method::POST][posts].clone();
                let uri = format!("{base}/{number}/{n}");
                let mut read = ask(&transport, &method, &uri, caller).await;
                if read.is_err() && caller == Caller::Stubborn {
                    read = ask(&transport, &method, &uri, caller).await;
                }
                errors[posts].extend(read.err());
                let open = counts(&transport).open();
                assert!(open <= cap, "{open} of {cap}");
            }
            errors
        });
    }
    let mut all = [Vec::new(), Vec::new()];
    while let Some(errors) = patiently(callers.join_next()).await {
        for (all, errors) in all.iter_mut().zip(errors.unwrap()) {
            all.extend(errors);
        }
    }
    all
}

async fn ask(
    transport: &Transport,
    method: &Method,
    uri: &str,
    caller: Caller,
) -> Result<(), TransportError> {
    let body = Bytes::from_static(b"work");
    let body = match caller {
        Caller::Plain | Caller::Stubborn => TransportBody::from(body),
        Caller::Once => TransportBody::stream(http_body_util::Full::new(body)),
    };
    let request = Request::builder().method(method).uri(uri).body(body).unwrap();
    let answer = transport.send(request).await?;
    answer.into_body().bytes(10).await.map(drop)
}

fn capped(most: usize) -> Transport {
    let config = TransportConfig::default().with_open_per_host(most).with_open_overall(most);
    transport(config.with_idle_per_host(most))
}

/// How often the server began with a `POST` at most. (Their paths end in an odd number.)
fn posts_begun(book: &Mutex<Book>) -> u32 {
    let book = book.lock().unwrap();
    let is_post = |path: &str| path.rsplit('/').next().unwrap().parse::<u32>().unwrap() % 2 == 1;
    book.begun.iter().filter(|(path, _)| is_post(path)).map(|(_, times)| *times).max().unwrap()
}

const MID_BODY: Faults = Faults { resets: 30, closes: 20, crossings: 20 };

#[tokio::test]
async fn what_may_happen_once_is_never_sent_twice() {
    let (server, book) = server(MID_BODY).await;
    let transport = capped(8);
    let [gets, posts] = storm(&transport, &server, Caller::Plain).await;
    assert_eq!(posts_begun(&book), 1, "a POST that came twice");
    assert!(posts.len() > 50, "{} of 400: the server did its part", posts.len());
    for error in gets.iter().chain(&posts) {
        // A reset may overtake what was sent before it.
        let broken = matches!(error, TransportError::ClosedEarly(_) | TransportError::Send(_));
        assert!(broken && error.is_retryable(), "{error:?}");
    }
    assert_eq!(at_rest(&transport).await.waiting, 0);
}

/// The control: whoever repeats what failed sends a `POST` twice to the same server.
#[tokio::test]
async fn a_client_that_repeats_everything_sends_twice() {
    let (server, book) = server(MID_BODY).await;
    storm(&capped(8), &server, Caller::Stubborn).await;
    assert!(posts_begun(&book) > 1);
}

/// So many connections that nobody is handed one while it waits for a fresh one.
const ENOUGH: usize = 40;
const IDLE_ENDS: Faults = Faults { resets: 0, closes: 30, crossings: 30 };

#[tokio::test]
async fn of_idle_connections_that_end_idempotent_callers_see_nothing() {
    let (server, book) = server(IDLE_ENDS).await;
    let transport = capped(ENOUGH);
    let [gets, posts] = storm(&transport, &server, Caller::Plain).await;
    let crossed = book.lock().unwrap().crossed;
    assert!(crossed[0] > 20, "{crossed:?}: stale connections were met");
    assert_eq!(gets.len(), 0, "{gets:?}");
    assert_eq!(posts_begun(&book), 1, "a POST that came twice");
    // Who may not be sent again is told of each, and of what was closed when it came.
    assert!(posts.len() >= crossed[1] as usize, "{} of {crossed:?}", posts.len());
    for error in &posts {
        assert!(matches!(error, TransportError::Send(_)), "{error:?}");
    }
    assert!(at_rest(&transport).await.closed.total() > 100);
}

/// The control: the same idempotent requests in a form that can't be sent again.
#[tokio::test]
async fn without_a_second_attempt_idempotent_callers_see_idle_connections_end() {
    let (server, book) = server(IDLE_ENDS).await;
    let [gets, _] = storm(&capped(ENOUGH), &server, Caller::Once).await;
    let crossed = book.lock().unwrap().crossed;
    assert!(crossed[0] > 20 && gets.len() >= crossed[0] as usize, "{crossed:?}, {}", gets.len());
}
