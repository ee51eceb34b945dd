//! The pool before any tower service.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use headworks::worker_pool::{Prioritized, ServiceError, WorkerPoolLayer};
use headworks::{Priority, Reason, WorkerPool};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::{busy, ends_exactly, poll_once, pool};

/// The class is the request's.
fn class(request: &(Priority, u32)) -> Priority {
    request.0
}

#[tokio::test]
async fn requests_are_served_in_the_order_of_their_classes() {
    let pool = pool(1, 10);
    let served = Arc::new(Mutex::new(Vec::new()));
    let inner = service_fn({
        let served = Arc::clone(&served);
        move |(_, n): (Priority, u32)| {
            served.lock().unwrap().push(n);
            async move { Ok::<_, Infallible>(n) }
        }
    });
    let mut service =
        ServiceBuilder::new().layer(WorkerPoolLayer::new(pool.clone(), class)).service(inner);
    let (gate, held) = busy(&pool, 1).await;
    let mut calls = Vec::new();
    for (n, class) in Priority::ALL.into_iter().enumerate() {
        let mut call = Box::pin(service.ready().await.unwrap().call((class, n as u32)));
        assert!(poll_once(call.as_mut()).is_pending());
        calls.push(tokio::spawn(call));
    }
    assert_eq!(pool.snapshot().queued(), 4);
    assert!(served.lock().unwrap().is_empty(), "not called before its turn");
    gate.open(1);
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap(), n as u32);
    }
    assert_eq!(*served.lock().unwrap(), [3, 2, 1, 0]);
    drop(held);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn a_refusal_has_its_reason_and_the_service_has_not_seen_it() {
    let pool = pool(1, 1);
    let called = Arc::new(AtomicUsize::new(0));
    let inner = service_fn({
        let called = Arc::clone(&called);
        move |_: (Priority, u32)| {
            called.fetch_add(1, Ordering::SeqCst);
            async { Err::<(), _>("inside") }
        }
    });
    let service = WorkerPoolLayer::new(pool.clone(), class).layer(inner);
    let request = (Priority::Normal, 0);
    let failed = service.clone().oneshot(request).await.unwrap_err();
    assert!(matches!(failed, ServiceError::Inner("inside")));
    let (gate, held) = busy(&pool, 1).await;
    let waits = pool.try_submit(async {}).unwrap();
    match service.clone().oneshot(request).await.unwrap_err() {
        ServiceError::Refused { reason, .. } => assert_eq!(reason, Reason::QueueFull),
        other => panic!("{other:?}"),
    }
    pool.close();
    match service.oneshot(request).await.unwrap_err() {
        no @ ServiceError::Refused { reason: Reason::Closed, .. } => {
            assert_eq!(no.retry_after(), None);
            assert_eq!(no.to_string(), "refused: closed");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(called.load(Ordering::SeqCst), 1);
    gate.open(1);
    drop((held, waits));
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_gives_its_place_and_its_seat_back() {
    let pool = pool(1, 10);
    let inner = service_fn(|_: (Priority, u32)| std::future::pending::<Result<(), Infallible>>());
    let mut service = WorkerPoolLayer::new(pool.clone(), class).layer(inner);
    let request = (Priority::Normal, 0);
    let mut runs = Box::pin(service.ready().await.unwrap().call(request));
    let mut waits = Box::pin(service.ready().await.unwrap().call(request));
    assert!(poll_once(runs.as_mut()).is_pending());
    assert!(poll_once(waits.as_mut()).is_pending());
    let taken = |pool: &WorkerPool| (pool.snapshot().busy, pool.snapshot().queued());
    assert_eq!(taken(&pool), (1, 1));
    drop(waits);
    assert_eq!(taken(&pool), (1, 0));
    drop(runs);
    assert_eq!(taken(&pool), (0, 0));
    ends_exactly(&pool).await;
}

/// Ready once it was asked, as services are that reserve something then: a clone is not.
struct Reserving {
    is_ready: bool,
}

impl Clone for Reserving {
    fn clone(&self) -> Self {
        Self { is_ready: false }
    }
}

impl Service<(Priority, u32)> for Reserving {
    type Response = ();
    type Error = Infallible;
    type Future = std::future::Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: (Priority, u32)) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called where it was made ready");
        std::future::ready(Ok(()))
    }
}

#[tokio::test]
async fn the_service_that_was_made_ready_is_the_one_that_is_called() {
    let pool = pool(1, 10);
    let inner = Reserving { is_ready: false };
    let mut service: Prioritized<_, _> = WorkerPoolLayer::new(pool.clone(), class).layer(inner);
    for n in 0..3 {
        let call = pin!(service.ready().await.unwrap().call((Priority::Normal, n)));
        call.await.unwrap();
    }
    assert!(!service.get_ref().is_ready);
    ends_exactly(&pool).await;
}
