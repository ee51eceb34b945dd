//! D10 and D11 over the transport: requests that panic wherever they can, and a hundred thousand that
//! wait and are dropped; each with the same load on something that does not protect itself. The short
//! run of D11 has a fifth of them.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use headworks::Transport;
use headworks::http_transport::{TransportBody, TransportConfig, TransportError};
use http::Request;
use http_body::Frame;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::server::{OK, PATIENCE, Peer, Server, at_rest, counts, patiently, transport};

const CAP: usize = 8;
const CALLERS: usize = 2_000;
const BOMB: &str = "a bomb of D10";

/// Where one in a hundred panics, of each kind. The rest do not.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    Never,
    /// As its body is asked for: on the connection's own task.
    InTheBody,
    /// As its body is dropped there.
    InTheBodysDrop,
    /// With the answer in hand.
    WithTheAnswer,
}

fn when(n: usize) -> When {
    match n % 100 {
        7 => When::InTheBody,
        41 => When::InTheBodysDrop,
        83 => When::WithTheAnswer,
        _ => When::Never,
    }
}

/// A body of two pieces.
struct Bomb {
    when: When,
    pieces: usize,
}

impl http_body::Body for Bomb {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.when == When::InTheBody && self.pieces == 1 {
            resume_unwind(Box::new(BOMB));
        }
        let Some(left) = self.pieces.checked_sub(1) else { return Poll::Ready(None) };
        self.pieces = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"work")))))
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.when == When::InTheBodysDrop && !std::thread::panicking() {
            resume_unwind(Box::new(BOMB));
        }
    }
}

async fn call(transport: Transport, url: String, when: When) -> Result<(), TransportError> {
    let body = TransportBody::stream(Bomb { when, pieces: 2 });
    let answer = transport.send(Request::post(url).body(body).unwrap()).await?;
    let body = answer.into_body();
    if when == When::WithTheAnswer {
        resume_unwind(Box::new(BOMB));
    }
    assert_eq!(body.bytes(10).await?, "ok");
    Ok(())
}

/// D10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_costs_nobody_else_anything() {
    let server = Server::answering().await;
    let config = TransportConfig::default().with_open_per_host(CAP).with_open_overall(CAP);
    let patient = config.with_pool_wait_timeout(PATIENCE).with_waiting_per_host(2 * CALLERS);
    let transport = transport(patient);
    let mut callers = JoinSet::new();
    for n in 0..CALLERS {
        let calling = call(transport.clone(), server.url("/"), when(n));
        callers.spawn(async move {
            let ended = tokio::spawn(calling).await;
            match (when(n), ended) {
                (When::Never, Ok(Ok(()))) => {}
                // The connection's task has ended, with or without an answer by then.
                (When::InTheBody, Ok(Err(_))) => {}
                (When::InTheBodysDrop, Ok(_)) => {}
                (When::WithTheAnswer, Err(panicked)) => {
                    assert_eq!(panicked.into_panic().downcast_ref(), Some(&BOMB), "its own");
                }
                other => panic!("{n}: {other:?}"),
            }
        });
        assert!(counts(&transport).open() <= CAP);
    }
    assert_eq!(patiently(callers.join_all()).await.len(), CALLERS);
    let rest = at_rest(&transport).await;
    assert!(rest.open() <= CAP && rest.idle == rest.open(), "{rest:?}");
    assert!(rest.closed.total() >= 2 * CALLERS as u64 / 100, "the bombs went off: {rest:?}");
    // Every place is there: so many at once are answered together.
    let together = Server::answering_together(CAP).await;
    let mut all = JoinSet::new();
    for _ in 0..CAP {
        all.spawn(call(transport.clone(), together.url("/"), When::Never));
    }
    assert!(patiently(all.join_all()).await.iter().all(Result::is_ok));
}

/// The control: places that are given back at the end of the code, as it is often written, and not
/// by what holds them.
#[tokio::test]
async fn control_places_given_back_by_hand_are_lost_one_by_one() {
    let places = Arc::new(Semaphore::new(CAP));
    for n in 0..CALLERS {
        let Ok(place) = places.try_acquire() else { break };
        place.forget();
        let by_hand = Arc::clone(&places);
        let _ = tokio::spawn(async move {
            if when(n) != When::Never {
                resume_unwind(Box::new(BOMB));
            }
            by_hand.add_permits(1);
        })
        .await;
    }
    assert_eq!(places.available_permits(), 0, "the rest find nothing");
}

/// How many wait.
fn herd() -> usize {
    if std::env::var_os("HEADWORKS_SEEDS").is_some() { 100_000 } else { 20_000 }
}

/// In an order that nobody would choose, the same every time (SplitMix64).
fn shuffle<T>(all: &mut [T]) {
    for at in (1..all.len()).rev() {
        let mut z = (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        all.swap(at, (z % (at as u64 + 1)) as usize);
    }
}

/// A host with one place, and who has it; and one that many will wait for.
async fn crowded(waiting: usize) -> (Server, Transport) {
    let server = Server::running(|mut peer: Peer| async move {
        while peer.request().await.is_some() && peer.write(OK).await {}
    })
    .await;
    let config = TransportConfig::default().with_open_per_host(1).with_open_overall(1);
    let config = config.with_waiting_per_host(2 * waiting).with_pool_wait_timeout(10 * PATIENCE);
    (server, transport(config.with_total_timeout(10 * PATIENCE)))
}

async fn ask(transport: Transport, url: String) -> Result<Bytes, TransportError> {
    transport.get(url).await?.into_body().bytes(10).await
}

/// D11.
#[tokio::test]
async fn a_storm_of_cancels_frees_every_place_in_line_at_once() {
    let waiting = herd();
    let (server, transport) = crowded(waiting).await;
    let holder = transport.get(server.url("/")).await.unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut line: Vec<_> =
        (0..waiting).map(|_| Box::pin(ask(transport.clone(), server.url("/")))).collect();
    assert!(line.iter_mut().all(|one| one.as_mut().poll(&mut cx).is_pending()));
    assert_eq!(counts(&transport).waiting, waiting);
    shuffle(&mut line);
    let kept = waiting / 100;
    while line.len() > kept {
        line.pop();
        if line.len().is_multiple_of(500) {
            assert_eq!(counts(&transport).waiting, line.len(), "at once");
        }
    }
    assert_eq!(holder.into_body().bytes(10).await.unwrap(), "ok");
    let mut all = JoinSet::new();
    for one in line {
        all.spawn(one);
    }
    let answers = patiently(all.join_all()).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(body) if body == "ok")));
    let rest = at_rest(&transport).await;
    assert_eq!((rest.opened, rest.reused, rest.idle), (1, kept as u64, 1));
}

/// The control: requests in tasks of their own, whose handles are dropped, keep their places.
#[tokio::test]
async fn control_detached_requests_keep_their_places() {
    let waiting = herd() / 10;
    let (server, transport) = crowded(waiting).await;
    let _holder = transport.get(server.url("/")).await.unwrap();
    let mut handles: Vec<_> =
        (0..waiting).map(|_| tokio::spawn(ask(transport.clone(), server.url("/")))).collect();
    crate::server::until(|| counts(&transport).waiting == waiting).await;
    shuffle(&mut handles);
    handles.truncate(waiting / 100);
    tokio::task::yield_now().await;
    assert_eq!(counts(&transport).waiting, waiting);
}
