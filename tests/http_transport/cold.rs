//! D5: 10,000 callers come at once, and nothing is there yet: no answer, no connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use headworks::Transport;
use headworks::http_transport::TransportConfig;
use headworks::pipeline::{
    Intent, IntentPipeline, PhaseConfig, PhaseContext, PhaseError, PipelineConfig, phase_fn,
};
use tokio::task::JoinSet;

use crate::server::{OK, Peer, Server, at_rest, counts, patiently, transport};

const CALLERS: usize = 10_000;
const CAP: usize = 50;

/// Answers everybody, and counts connections and requests.
async fn counting() -> (Server, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (dials, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (dialled, asked) = (Arc::clone(&dials), Arc::clone(&requests));
    let server = Server::running(move |mut peer: Peer| {
        dialled.fetch_add(1, Ordering::SeqCst);
        let asked = Arc::clone(&asked);
        async move {
            while peer.request().await.is_some() {
                asked.fetch_add(1, Ordering::SeqCst);
                peer.write(OK).await;
            }
        }
    })
    .await;
    (server, dials, requests)
}

async fn get(transport: &Transport, url: &str) -> Bytes {
    transport.get(url).await.unwrap().into_body().bytes(10).await.unwrap()
}

/// Each asks for itself. How many connections the server saw.
async fn herd(transport: &Transport, server: &Server, callers: usize) {
    let mut all = JoinSet::new();
    for _ in 0..callers {
        let (transport, url) = (transport.clone(), server.url("/"));
        all.spawn(async move { assert_eq!(get(&transport, &url).await, "ok") });
    }
    assert_eq!(patiently(all.join_all()).await.len(), callers);
}

fn capped(cap: usize) -> Transport {
    let config = TransportConfig::default().with_open_per_host(cap).with_idle_per_host(cap);
    let patient = config.with_pool_wait_timeout(crate::server::PATIENCE);
    transport(patient.with_waiting_per_host(2 * CALLERS))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_herd_dials_no_more_than_the_cap_and_the_next_one_nothing() {
    let (server, dials, requests) = counting().await;
    let transport = capped(CAP);
    herd(&transport, &server, CALLERS).await;
    let first = dials.load(Ordering::SeqCst);
    assert!(first <= CAP, "{first} dials");
    herd(&transport, &server, CALLERS).await;
    assert_eq!(dials.load(Ordering::SeqCst), first, "they were all there");
    assert_eq!(requests.load(Ordering::SeqCst), 2 * CALLERS);
    at_rest(&transport).await;
}

/// A twentieth of the herd, each with a connection of its own, since nobody is answered before all
/// are there.
#[tokio::test]
async fn control_a_herd_without_a_cap_dials_as_often_as_it_is_large() {
    const HERD: usize = CALLERS / 20;
    let server = Server::answering_together(HERD).await;
    let transport = capped(HERD);
    herd(&transport, &server, HERD).await;
    assert_eq!(counts(&transport).opened as usize, HERD);
}

/// All want the same object. How many requests the server saw.
async fn one_object(joins: bool, callers: usize) -> (usize, usize) {
    let (server, dials, requests) = counting().await;
    let (transport, url) = (capped(CAP), server.url("/"));
    let fetch = phase_fn(move |_: &(), _: &PhaseContext| {
        let (transport, url) = (transport.clone(), url.clone());
        async move { Ok::<_, PhaseError>(get(&transport, &url).await) }
    });
    let config = PipelineConfig::default().with_queue_capacity(2 * callers);
    let pipeline = IntentPipeline::builder::<()>(config)
        .phase("fetch", PhaseConfig::remote(), fetch)
        .build()
        .unwrap();
    let want = |n: usize| {
        // Who may not join is about something else.
        let key = if joins { "a/object".to_owned() } else { format!("a/object-{n}") };
        pipeline.try_submit(Intent::new(key, ()).generation(1).content(1)).unwrap()
    };
    let tickets: Vec<_> = (0..callers).map(want).collect();
    for ticket in tickets {
        assert_eq!(*patiently(ticket).await.unwrap().output, "ok");
    }
    let report = pipeline.shutdown(crate::server::PATIENCE).await;
    assert_eq!(report.ledger.completed as usize, callers);
    (requests.load(Ordering::SeqCst), dials.load(Ordering::SeqCst))
}

#[tokio::test]
async fn ten_thousand_who_want_the_same_object_cost_one_request() {
    assert_eq!(one_object(true, CALLERS).await, (1, 1));
}

#[tokio::test]
async fn control_those_who_may_not_join_cost_one_request_each() {
    let (requests, dials) = one_object(false, 500).await;
    assert_eq!(requests, 500);
    assert!((2..=CAP).contains(&dials), "{dials}");
}
