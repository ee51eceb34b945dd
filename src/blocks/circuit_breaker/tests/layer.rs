//! A breaker before a service.

use std::convert::Infallible;
use std::future::{Pending, Ready, pending, ready};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tower_layer::Layer;
use tower_service::Service;

use super::*;
use crate::Verdict;

/// May be called only where it was made ready, once for each time; a clone is not ready.
#[derive(Debug, Default)]
struct Strict {
    is_ready: bool,
    calls: u32,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<bool> for Strict {
    type Response = ();
    type Error = &'static str;
    type Future = Ready<Result<(), &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, succeeds: bool) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called where it was not made ready");
        self.calls += 1;
        ready(if succeeds { Ok(()) } else { Err("no") })
    }
}

fn judge(answer: &Result<(), &'static str>) -> Outcome {
    if answer.is_ok() { Success } else { Failure }
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn answer<S: Service<bool>>(service: &mut S, request: bool) -> Result<S::Response, S::Error>
where
    S::Error: std::fmt::Debug,
{
    assert!(matches!(service.poll_ready(&mut cx()), Poll::Ready(Ok(()))));
    match Box::pin(service.call(request)).as_mut().poll(&mut cx()) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it answers at once"),
    }
}

#[tokio::test]
async fn a_refused_request_does_not_reach_the_service_which_stays_ready() {
    let breaker = CircuitBreaker::new(plain()).unwrap();
    let mut service = CircuitBreakerLayer::new(breaker.clone(), judge).layer(Strict::default());
    for _ in 0..10 {
        assert_eq!(answer(&mut service, false), Err(CallError::Inner("no")));
    }
    assert_eq!(breaker.state(), State::Open);
    assert!(matches!(answer(&mut service, true), Err(CallError::Open(_))));
    assert_eq!(service.get_ref().calls, 10);
    assert!(service.get_ref().is_ready);
    breaker.force_closed();
    assert_eq!(answer(&mut service, true), Ok(()));
    assert_eq!(service.into_inner().calls, 11);
}

#[derive(Clone, Debug)]
struct Hangs;

impl Service<bool> for Hangs {
    type Response = ();
    type Error = Infallible;
    type Future = Pending<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: bool) -> Self::Future {
        pending()
    }
}

#[tokio::test]
async fn a_call_dropped_after_one_poll_or_unpolled_is_in_flight_no_more() {
    let breaker = CircuitBreaker::new(plain().with_unreported(Unreported::Failure)).unwrap();
    let judge = |_: &Result<(), Infallible>| Verdict::success();
    let mut service = CircuitBreakerLayer::new(breaker.clone(), judge).layer(Hangs);
    let mut polled = service.call(true);
    assert!(Pin::new(&mut polled).poll(&mut cx()).is_pending());
    let unpolled = service.call(true);
    assert_eq!(breaker.snapshot().in_flight, 2);
    drop((polled, unpolled));
    let seen = breaker.snapshot();
    assert_eq!((seen.in_flight, seen.failed), (0, 2));
}

#[tokio::test]
async fn a_call_that_takes_too_long_has_failed() {
    let breaker = CircuitBreaker::new(plain().with_call_timeout(MS)).unwrap();
    let judge = |_: &Result<(), Infallible>| Verdict::success();
    let mut service = CircuitBreakerLayer::new(breaker.clone(), judge).layer(Hangs);
    assert_eq!(service.call(true).await, Err(CallError::TimedOut));
    assert_eq!(breaker.snapshot().failed, 1);
}
