//! `Expect: 100-continue` (RFC 9110, section 10.1.1): the head first, the body when the server says
//! so, or has not said anything for a while.
//!
//! hyper writes the head of a request while its body has nothing to give, and tells of a 100; h2
//! does both as well. So the body is held back by itself, and neither knows of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{EXPECT, HeaderValue};
use http::{Request, StatusCode};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::request_body::TransportBody;
use crate::ground::primitives::Mutex;
use crate::ground::time::{later, now, timer_at};

/// Who takes it decides: the server's word and the end of the wait send the body, an answer without
/// either keeps it.
type Key = Arc<Mutex<Option<oneshot::Sender<()>>>>;

/// Holds a request's body back. The other end of its [`Gate`].
#[derive(Clone, Debug)]
pub(super) struct Expectation(Key);

impl Expectation {
    /// Whether a request is to be answered by a 100 first: its headers say so, or its body is of more
    /// bytes than this, or of a length that nobody knows.
    pub(super) fn is_one(request: &Request<TransportBody>, above: Option<usize>) -> bool {
        let is_asked = || request.headers().get(EXPECT).is_some_and(is_100_continue);
        let is_large = |above| request.body().is_larger_than(above);
        !request.body().is_none() && (above.is_some_and(is_large) || is_asked())
    }

    /// Holds the body of `request` back.
    pub(super) fn of(request: &mut Request<TransportBody>, wait: Duration) -> Self {
        request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
        let (sender, told) = oneshot::channel();
        let key: Key = Arc::new(Mutex::new(Some(sender)));
        let expectation = Self(Arc::clone(&key));
        request.body_mut().hold_back(Gate { key, told, wait, timer: None });
        let of_h1 = expectation.clone();
        hyper::ext::on_informational(request, move |answer| of_h1.told(answer.status()));
        expectation
    }

    /// The server said something before its answer.
    pub(super) fn told(&self, status: StatusCode) {
        if status == StatusCode::CONTINUE
            && let Some(sender) = self.take()
        {
            // Nobody there: the request was given up.
            let _ = sender.send(());
        }
    }

    /// There is an answer: the body is not sent any more. `false`: it is being sent.
    pub(super) fn keeps_the_body(&self) -> bool {
        self.take().is_some()
    }

    fn take(&self) -> Option<oneshot::Sender<()>> {
        self.0.lock().take()
    }
}

/// A request without a body must not ask for it to be waited for (RFC 9110, section 10.1.1): a server
/// that does as it is told says "go on" to somebody who has nothing to go on with.
pub(super) fn forget_if_nothing_to_send(request: &mut Request<TransportBody>) {
    if request.body().is_none() && request.headers().get(EXPECT).is_some_and(is_100_continue) {
        request.headers_mut().remove(EXPECT);
    }
}

/// `Expect` has no other meaning (RFC 9110).
fn is_100_continue(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

/// What a body waits for.
#[derive(Debug)]
pub(super) struct Gate {
    key: Key,
    told: oneshot::Receiver<()>,
    wait: Duration,
    /// Since the head was written.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Gate {
    /// Ready when the body may be sent; never, when it is not wanted.
    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.told.is_terminated() {
            return Poll::Pending;
        }
        if let Poll::Ready(told) = Pin::new(&mut self.told).poll(cx) {
            return if told.is_ok() { Poll::Ready(()) } else { Poll::Pending };
        }
        let Self { timer, wait, .. } = self;
        let timer = timer.get_or_insert_with(|| {
            let began = now();
            let until = later(began, *wait).unwrap_or(began);
            Box::pin(tokio::time::sleep_until(timer_at(until)))
        });
        std::task::ready!(timer.as_mut().poll(cx));
        // Beside the lock: it wakes, if only this very task.
        let sender = self.key.lock().take();
        match sender {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        }
    }
}
