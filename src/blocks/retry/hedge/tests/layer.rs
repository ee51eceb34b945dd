//! The layer: which requests are sent twice, and to whom.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use http::{Method, Request, Response};
use tower::{Layer, Service, ServiceExt};

use super::*;
use crate::retry::Repeat;

type Sent = Result<Response<u8>, Verdict>;

/// The first request hangs, the others are answered; panics if called before it was ready.
struct Backend {
    seen: Arc<Mutex<Vec<u8>>>,
    is_ready: bool,
}

impl Clone for Backend {
    /// A clone has to be made ready by itself.
    fn clone(&self) -> Self {
        Self { seen: Arc::clone(&self.seen), is_ready: false }
    }
}

impl<B> Service<B> for Backend {
    type Response = Response<u8>;
    type Error = Verdict;
    type Future = Pin<Box<dyn Future<Output = Sent> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Verdict>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: B) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called before it was ready");
        let mut seen = self.seen.lock().unwrap();
        seen.push(0);
        let (number, alive) = (seen.len() as u8, Arc::clone(&self.seen));
        Box::pin(async move {
            let _alive = alive;
            if number == 1 { pending().await } else { Ok(Response::new(number)) }
        })
    }
}

type Judge = fn(&Sent) -> Verdict;

/// The service, and what reaches the one inside.
async fn service() -> (Hedged<Backend, Judge>, Arc<Mutex<Vec<u8>>>) {
    let seen = Arc::default();
    let backend = Backend { seen: Arc::clone(&seen), is_ready: false };
    let hedge = taught(budget(9)).await;
    (HedgeLayer::new(hedge, Verdict::of_response as Judge).layer(backend), seen)
}

fn request(method: Method) -> Request<u8> {
    let mut request = Request::new(0);
    *request.method_mut() = method;
    request
}

#[tokio::test]
async fn a_late_request_is_sent_to_a_clone_that_is_made_ready_first() {
    let (service, seen) = service().await;
    let answer = service.oneshot(request(Method::GET)).await.unwrap();
    assert_eq!((answer.into_body(), seen.lock().unwrap().len()), (2, 2));
    assert_eq!(Arc::strong_count(&seen), 1, "the loser is gone");
}

/// A request whose body is gone once it was sent.
struct Stream;

impl Repeat for Stream {
    fn copy(&self) -> Option<Self> {
        None
    }

    fn idempotency(&self) -> Idempotency {
        Idempotency::Idempotent
    }
}

#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn what_must_not_be_done_twice_or_can_not_be_copied_is_sent_once() {
    let (post, seen) = service().await;
    let answer = tokio::time::timeout(1_000 * MS, post.oneshot(request(Method::POST)));
    assert!(answer.await.is_err());
    assert_eq!(seen.lock().unwrap().len(), 1);
    let (stream, seen) = service().await;
    assert!(tokio::time::timeout(1_000 * MS, stream.oneshot(Stream)).await.is_err());
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn dropped_after_one_poll_the_call_ends() {
    let (mut service, seen) = service().await;
    let before = Arc::strong_count(&seen);
    let ready = ServiceExt::<Request<u8>>::ready(&mut service).await.unwrap();
    let mut call = ready.call(request(Method::GET));
    let _ = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(Arc::strong_count(&seen) > before);
    drop((call, service));
    assert_eq!(Arc::strong_count(&seen), 1);
}
