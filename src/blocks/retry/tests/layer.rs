//! The layer: which requests are sent again, and to whom.

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use http::{Method, Request, Response};
use tower::{Layer, Service, ServiceExt};

use super::*;

/// Answers with each status in turn, then with 200; panics if called before it was ready.
#[derive(Debug, Default)]
struct Backend {
    left: Arc<Mutex<VecDeque<u16>>>,
    seen: Arc<Mutex<Vec<Method>>>,
    is_ready: bool,
}

impl Clone for Backend {
    /// A clone has to be made ready by itself.
    fn clone(&self) -> Self {
        let (left, seen) = (Arc::clone(&self.left), Arc::clone(&self.seen));
        Self { left, seen, is_ready: false }
    }
}

impl<B> Service<Request<B>> for Backend {
    type Response = Response<()>;
    type Error = Verdict;
    type Future = Ready<Result<Response<()>, Verdict>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Verdict>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called before it was ready");
        self.seen.lock().unwrap().push(request.method().clone());
        let status = self.left.lock().unwrap().pop_front().unwrap_or(200);
        ready(match status {
            0 => Err(Verdict::refused(None)),
            status => Ok(Response::builder().status(status).body(()).unwrap()),
        })
    }
}

type Judge = fn(&Result<Response<()>, Verdict>) -> Verdict;

/// The service, and what reaches the one inside.
fn service(statuses: &[u16]) -> (Retried<Backend, Judge>, Arc<Mutex<Vec<Method>>>) {
    let none = Backoff::new(Duration::ZERO, Duration::ZERO);
    let policy = RetryPolicy::default().with_backoff(none);
    let retry = Retry::new(policy, budget(0.0, 100).0).unwrap();
    let inside = Backend::default();
    inside.left.lock().unwrap().extend(statuses);
    let seen = Arc::clone(&inside.seen);
    (RetryLayer::new(retry, Verdict::of_response as Judge).layer(inside), seen)
}

fn request(method: Method) -> Request<u8> {
    let mut request = Request::new(0);
    *request.method_mut() = method;
    request
}

/// The status that came out, and how many requests went in.
async fn sent(statuses: &[u16], request: Request<u8>) -> (u16, usize) {
    let (service, seen) = service(statuses);
    let answer = service.oneshot(request).await.unwrap();
    let seen = seen.lock().unwrap().len();
    (answer.status().as_u16(), seen)
}

#[tokio::test]
async fn an_idempotent_request_is_sent_until_it_goes_well() {
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
        assert_eq!(sent(&[503, 500], request(method)).await, (200, 3));
    }
    assert_eq!(sent(&[503, 500, 502], request(Method::GET)).await, (502, 3), "the last as it is");
    assert_eq!(sent(&[404], request(Method::GET)).await, (404, 1));
}

#[tokio::test]
async fn a_post_is_sent_once_unless_it_was_not_seen_or_says_otherwise() {
    assert_eq!(sent(&[503], request(Method::POST)).await, (503, 1));
    assert_eq!(sent(&[0, 0], request(Method::POST)).await, (200, 3));
    let mut idempotent = request(Method::POST);
    idempotent.extensions_mut().insert(Idempotency::Idempotent);
    assert_eq!(sent(&[503], idempotent).await, (200, 2));
    let mut once = request(Method::PUT);
    once.extensions_mut().insert(Idempotency::AtMostOnce);
    assert_eq!(sent(&[503], once).await, (503, 1));
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

#[tokio::test]
async fn what_can_not_be_copied_is_sent_once() {
    let calls = Arc::new(Mutex::new(0));
    let inside = tower::service_fn({
        let calls = Arc::clone(&calls);
        move |_: Stream| {
            *calls.lock().unwrap() += 1;
            ready(Err::<(), _>(Verdict::failure()))
        }
    });
    let retry = Retry::new(RetryPolicy::default(), budget(0.0, 100).0).unwrap();
    let judge = |result: &Result<(), Verdict>| Verdict::of(result);
    let failed = RetryLayer::new(retry, judge).layer(inside).oneshot(Stream).await.unwrap_err();
    assert_eq!((failed.attempts(), *calls.lock().unwrap()), (1, 1));
}

#[tokio::test]
async fn dropped_after_one_poll_the_call_ends() {
    let alive = Arc::new(());
    let inside = tower::service_fn({
        let alive = Arc::clone(&alive);
        move |_: Request<u8>| {
            let held = Arc::clone(&alive);
            async move {
                let _held = held;
                std::future::pending::<Result<Response<()>, Verdict>>().await
            }
        }
    });
    let retry = Retry::new(RetryPolicy::default(), budget(0.0, 100).0).unwrap();
    let mut service = RetryLayer::new(retry, Verdict::of_response as Judge).layer(inside);
    let before = Arc::strong_count(&alive);
    let mut call = service.ready().await.unwrap().call(request(Method::GET));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(Arc::strong_count(&alive) > before);
    drop((call, service));
    assert_eq!(Arc::strong_count(&alive), 1);
}
