//! Circuit breakers, retries and hedges before each host.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use headworks::Transport;
use headworks::circuit_breaker::{BreakerRegistry, BreakerRegistryConfig, State};
use headworks::http_transport::{
    CloseReason, Preset, Safeguards, SafeguardsConfig, TransportBody, TransportError,
};
use headworks::retry::{Backoff, GaveUp, HedgeConfig, Idempotency, RetryBudgetConfig, RetryPolicy};
use headworks::{Classify, Outcome};
use http::{Method, Request};
use http_body_util::Full;
use tokio::sync::Notify;

use crate::server::{OK, Peer, Server, at_rest, counts, patiently, transport, until};

const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";

/// Answers one after the other, the last one for ever; and how many there were.
async fn says(answers: &'static [&'static str]) -> (Server, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let server = Server::running(move |mut peer: Peer| {
        let asked = Arc::clone(&counted);
        async move {
            while peer.request().await.is_some() {
                let n = asked.fetch_add(1, Ordering::SeqCst);
                let answer = answers[n.min(answers.len() - 1)];
                if answer.is_empty() {
                    return peer.reset();
                }
                peer.write(answer).await;
            }
        }
    })
    .await;
    (server, asked)
}

/// Three attempts, at once.
fn policy() -> RetryPolicy {
    RetryPolicy::default().with_backoff(Backoff::new(Duration::ZERO, Duration::ZERO))
}

fn retrying() -> Transport {
    let config = SafeguardsConfig::default().with_retry(Some(policy()));
    transport(Preset::Default).with_safeguards(Safeguards::new(config).unwrap())
}

/// Hedges from the twentieth request on, as often as it likes.
pub(crate) fn hedging(hedge: HedgeConfig) -> Safeguards {
    let hedge = hedge.with_minimum_samples(NonZeroU32::new(20).unwrap()).with_extra_ratio(1.0);
    Safeguards::new(SafeguardsConfig::default().with_hedge(Some(hedge))).unwrap()
}

fn post(server: &Server) -> http::request::Builder {
    Request::builder().method(Method::POST).uri(server.url("/"))
}

#[tokio::test]
async fn an_answer_that_asks_for_it_and_a_broken_connection_are_tried_again() {
    let (server, asked) = says(&[BUSY, "", OK]).await;
    let transport = retrying();
    let answer = patiently(transport.get(server.url("/"))).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.into_body().bytes(10).await.unwrap(), "ok");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    at_rest(&transport).await;
}

#[tokio::test]
async fn the_last_answer_is_returned_as_it_is_and_the_last_error_with_its_reason() {
    let (server, asked) = says(&[BUSY]).await;
    let transport = retrying();
    let answer = patiently(transport.get(server.url("/"))).await.unwrap();
    assert_eq!(answer.status(), 503);
    drop(answer);
    assert_eq!(asked.load(Ordering::SeqCst), 3);

    let (server, asked) = says(&[""]).await;
    let error = patiently(transport.get(server.url("/"))).await.unwrap_err();
    let TransportError::GaveUp(gave_up) = &error else { panic!("{error:?}") };
    assert_eq!((gave_up.why(), gave_up.attempts()), (GaveUp::Attempts, 3));
    assert!(!error.is_retryable(), "retries don't multiply");
    assert_eq!(error.outcome(), Outcome::Failure);
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    at_rest(&transport).await;
}

#[tokio::test]
async fn what_must_not_be_done_twice_is_sent_once_unless_the_caller_says_otherwise() {
    let (server, asked) = says(&[BUSY, OK]).await;
    let transport = retrying();
    let answer = patiently(transport.send(post(&server).body("work").unwrap())).await.unwrap();
    assert_eq!((answer.status().as_u16(), asked.load(Ordering::SeqCst)), (503, 1));
    drop(answer);

    let (server, asked) = says(&[BUSY, OK]).await;
    let request = post(&server).extension(Idempotency::Idempotent).body("work").unwrap();
    let answer = patiently(transport.send(request)).await.unwrap();
    assert_eq!((answer.status().as_u16(), asked.load(Ordering::SeqCst)), (200, 2));
    drop(answer);

    let (server, asked) = says(&[BUSY, OK]).await;
    let request = Request::get(server.url("/")).extension(Idempotency::AtMostOnce);
    let answer = patiently(transport.send(request.body("").unwrap())).await.unwrap();
    assert_eq!((answer.status().as_u16(), asked.load(Ordering::SeqCst)), (503, 1));
    drop(answer);

    let (server, asked) = says(&[""]).await;
    let error = patiently(transport.send(post(&server).body("work").unwrap())).await.unwrap_err();
    assert!(matches!(error, TransportError::Send(_)), "its own error: {error:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    at_rest(&transport).await;
}

#[tokio::test]
async fn a_body_that_streams_is_sent_once() {
    let (server, asked) = says(&[BUSY, OK]).await;
    let transport = retrying();
    let stream = TransportBody::stream(Full::new(Bytes::from_static(b"work")));
    let request = Request::put(server.url("/")).extension(Idempotency::Idempotent);
    let answer = patiently(transport.send(request.body(stream).unwrap())).await.unwrap();
    assert_eq!((answer.status().as_u16(), asked.load(Ordering::SeqCst)), (503, 1));
}

#[tokio::test]
async fn a_server_that_asks_for_a_long_pause_is_left_alone() {
    const LATER: &str = "HTTP/1.1 429 Slow\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n";
    let (server, asked) = says(&[LATER]).await;
    let answer = patiently(retrying().get(server.url("/"))).await.unwrap();
    assert_eq!((answer.status().as_u16(), asked.load(Ordering::SeqCst)), (429, 1));
}

#[tokio::test]
async fn a_spent_budget_of_one_host_is_not_that_of_another() {
    // Each success earns one, and nothing else does.
    let budget = RetryBudgetConfig::default().with_ratio(1.0).with_floor_per_second(0);
    let policy = policy().with_max_attempts(NonZeroU32::new(2).unwrap());
    let config = SafeguardsConfig::default().with_retry(Some(policy)).with_budget(budget);
    let safeguards = Safeguards::new(config).unwrap();
    let transport = transport(Preset::Default).with_safeguards(safeguards.clone());
    let ((server, _), (other, _)) = (says(&[OK, ""]).await, says(&[OK, BUSY, OK]).await);
    for host in [&server, &other] {
        assert_eq!(patiently(transport.get(host.url("/"))).await.unwrap().status(), 200);
    }
    let first = patiently(transport.get(server.url("/"))).await.unwrap_err();
    assert!(matches!(&first, TransportError::GaveUp(it) if it.why() == GaveUp::Attempts));
    let second = patiently(transport.get(server.url("/"))).await.unwrap_err();
    assert!(matches!(&second, TransportError::GaveUp(it) if it.why() == GaveUp::Budget));
    assert_eq!(patiently(transport.get(other.url("/"))).await.unwrap().status(), 200);
    let hosts = safeguards.snapshot();
    let withdrawn = |host: &Server| {
        let url = format!("http://{}", host.address);
        hosts.iter().find(|it| *it.host == *url).unwrap().budget.unwrap().withdrawn
    };
    assert_eq!((withdrawn(&server), withdrawn(&other), hosts.len()), (1, 1, 2));
}

#[tokio::test]
async fn an_open_circuit_refuses_before_anything_is_sent_and_its_host_alone() {
    let breakers = Arc::new(BreakerRegistry::new(BreakerRegistryConfig::default()).unwrap());
    let safeguards = Safeguards::new(SafeguardsConfig::default()).unwrap();
    let transport =
        transport(Preset::Default).with_safeguards(safeguards.with_breakers(Arc::clone(&breakers)));
    let (bad, asked) = says(&[BUSY]).await;
    let error = patiently(async {
        loop {
            match transport.get(bad.url("/")).await {
                Ok(answer) => assert_eq!(answer.status(), 503),
                Err(error) => break error,
            }
        }
    })
    .await;
    let sent = asked.load(Ordering::SeqCst);
    let TransportError::CircuitOpen { host, open } = &error else { panic!("{error:?}") };
    assert_eq!(**host, *format!("http://{}", bad.address));
    assert_eq!(error.retry_after(), open.retry_after());
    assert!(error.verdict().is_refused() && error.is_retryable());
    patiently(transport.get(bad.url("/"))).await.unwrap_err();
    assert_eq!(asked.load(Ordering::SeqCst), sent, "nothing was sent");
    assert_eq!(breakers.get(&Arc::from(&**host)).state(), State::Open);
    let (good, _) = says(&[OK]).await;
    assert_eq!(patiently(transport.get(good.url("/"))).await.unwrap().status(), 200);
    at_rest(&transport).await;
}

#[tokio::test]
async fn of_two_attempts_side_by_side_the_loser_ends_and_its_connection_is_closed() {
    let hangs = Arc::new(Mutex::new(0));
    let (told, released) = (Arc::clone(&hangs), Arc::new(Notify::new()));
    let release = Arc::clone(&released);
    let server = Server::running(move |mut peer: Peer| {
        let (told, released) = (Arc::clone(&told), Arc::clone(&released));
        async move {
            while peer.request().await.is_some() {
                let hangs = std::mem::take(&mut *told.lock().unwrap()) == 1;
                if hangs {
                    // Until the client has closed this one.
                    peer.closed().await;
                    return released.notify_one();
                }
                peer.write(OK).await;
            }
        }
    })
    .await;
    let safeguards = hedging(HedgeConfig::default());
    let transport = transport(Preset::Default).with_safeguards(safeguards.clone());
    let get = || async {
        let answer = patiently(transport.get(server.url("/"))).await.unwrap();
        assert_eq!(answer.into_body().bytes(10).await.unwrap(), "ok");
    };
    for _ in 0..40 {
        get().await;
    }
    *hangs.lock().unwrap() = 1;
    get().await;
    patiently(release.notified()).await;
    let hedge = safeguards.snapshot()[0].hedge.unwrap();
    assert!(hedge.hedged >= 1 && hedge.won >= 1, "{hedge:?}");
    until(|| counts(&transport).closed.of(CloseReason::Abandoned) >= 1).await;
    let rest = at_rest(&transport).await;
    assert!(rest.idle >= 1, "{rest:?}");
}

#[tokio::test]
async fn what_must_not_be_done_twice_is_never_hedged() {
    let (server, asked) = says(&[OK]).await;
    let safeguards = hedging(HedgeConfig::default().with_median_factor(1.0));
    let transport = transport(Preset::Default).with_safeguards(safeguards.clone());
    for _ in 0..100 {
        let request = post(&server).body("work").unwrap();
        patiently(transport.send(request)).await.unwrap().into_body().bytes(10).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 100);
    assert_eq!(safeguards.snapshot()[0].hedge.unwrap().hedged, 0);
}

#[test]
fn a_configuration_that_cannot_work_is_refused_at_once() {
    let hedge = HedgeConfig::default().with_extra_ratio(2.0);
    let config = SafeguardsConfig::default().with_hedge(Some(hedge));
    let error = Safeguards::new(config).unwrap_err().to_string();
    assert!(error.contains("retry.hedge.extra_ratio"), "{error}");
    let policy = RetryPolicy::default().with_attempt_timeout(Some(Duration::ZERO));
    let config = SafeguardsConfig::default().with_retry(Some(policy));
    let error = Safeguards::new(config).unwrap_err().to_string();
    assert!(error.contains("retry.attempt_timeout"), "{error}");
}

#[cfg(feature = "serde")]
#[test]
fn safeguards_load_from_a_format() {
    let config: SafeguardsConfig =
        serde_json::from_str(r#"{"retry": {"max_attempts": 5}, "budget": {"ratio": 0.1}}"#)
            .unwrap();
    assert_eq!(config.retry.as_ref().unwrap().max_attempts.get(), 5);
    assert_eq!((config.hedge, config.budget.ratio), (None, 0.1));
    assert!(serde_json::from_str::<SafeguardsConfig>(r#"{"breakers": 1}"#).is_err());
}
