//! D12: a server that resets 30 % of its answers mid-body, and ends idle connections at random.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use headworks::Transport;
use headworks::http_transport::{TransportConfig, TransportError};
use http::{Method, Request};
use tokio::task::JoinSet;

use crate::server::{OK, Peer, Server, at_rest, counts, patiently, transport};

/// How often each request came, by its path.
type Seen = Arc<Mutex<HashMap<String, u32>>>;

/// Whether something happens that has so many chances in a hundred, by a number (SplitMix64).
fn happens(seed: u64, n: u64, percent: u64) -> bool {
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % 100 < percent
}

async fn server(resets: u64, closes: u64) -> (Server, Seen) {
    let seen = Seen::default();
    let (book, turn) = (Arc::clone(&seen), Arc::new(Mutex::new(0_u64)));
    let server = Server::running(move |mut peer: Peer| {
        let (seen, turn) = (Arc::clone(&book), Arc::clone(&turn));
        async move {
            while let Some(request) = peer.request().await {
                let path = request.split(' ').nth(1).unwrap().to_owned();
                *seen.lock().unwrap().entry(path).or_default() += 1;
                let n = {
                    let mut turn = turn.lock().unwrap();
                    *turn += 1;
                    *turn
                };
                if happens(1, n, resets) {
                    peer.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
                    return peer.reset();
                }
                peer.write(OK).await;
                if happens(2, n, closes) {
                    return;
                }
            }
        }
    })
    .await;
    (server, seen)
}

/// 20 callers, 40 requests each; every second one a `POST`. The errors of either kind.
async fn storm(transport: &Transport, server: &Server, cap: usize) -> [Vec<TransportError>; 2] {
    let mut callers = JoinSet::new();
    for caller in 0..20 {
        let (transport, base) = (transport.clone(), server.url(""));
        callers.spawn(async move {
            let mut errors = [Vec::new(), Vec::new()];
            for n in 0..40 {
                let posts = n % 2;
                let method = [Method::GET, Method::POST][posts].clone();
                let request = Request::builder().method(method).uri(format!("{base}/{caller}/{n}"));
                let answer = transport.send(request.body("work").unwrap()).await;
                let read = match answer {
                    Ok(answer) => answer.into_body().bytes(10).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = read {
                    errors[posts].push(error);
                }
                assert!(counts(&transport).open() <= cap, "{:?}", counts(&transport));
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

/// Of the paths with an odd last number, the `POST`s, how often each came at most.
fn most_often(seen: &Seen, posts: u32) -> u32 {
    let seen = seen.lock().unwrap();
    let of_kind = seen.iter().filter(|(path, _)| {
        let last: u32 = path.rsplit('/').next().unwrap().parse().unwrap();
        last % 2 == posts
    });
    of_kind.map(|(_, times)| *times).max().unwrap()
}

#[tokio::test]
async fn what_may_happen_once_is_never_sent_twice() {
    let (server, seen) = server(30, 20).await;
    let transport = transport(TransportConfig::default().with_open_per_host(8));
    let [gets, posts] = storm(&transport, &server, 8).await;
    assert_eq!(most_often(&seen, 1), 1, "a POST that came twice");
    assert!(posts.len() > 50, "{} of 400: the server did its part", posts.len());
    for error in gets.iter().chain(&posts) {
        // A reset may overtake what was sent before it.
        let broken = matches!(error, TransportError::ClosedEarly(_) | TransportError::Send(_));
        assert!(broken && error.is_retryable(), "{error:?}");
    }
    assert_eq!(at_rest(&transport).await.waiting, 0);
}

#[tokio::test]
async fn of_idle_connections_that_end_idempotent_callers_see_nothing() {
    let (server, seen) = server(0, 30).await;
    let transport = transport(TransportConfig::default().with_open_per_host(8));
    let [gets, posts] = storm(&transport, &server, 8).await;
    assert_eq!(gets.len(), 0, "{gets:?}");
    assert_eq!(most_often(&seen, 1), 1, "a POST that came twice");
    // The control: who may not be sent again meets the same connections without that protection.
    // None of them need fail, for most ends are noticed before the connection is used.
    for error in &posts {
        assert!(matches!(error, TransportError::Send(_)), "{error:?}");
    }
    let closed = at_rest(&transport).await.closed;
    assert!(closed.total() > 100, "{closed:?}");
}
