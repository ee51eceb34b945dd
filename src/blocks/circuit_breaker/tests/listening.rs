//! Events, and waiting until it is closed.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use super::*;

fn poll<F: Future>(future: std::pin::Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

fn trip(breaker: &CircuitBreaker) {
    let now = time::now();
    calls(breaker, Failure, 10, now);
}

/// Comes back into the breaker at every wake-up, and may panic then.
struct Nosy {
    breaker: CircuitBreaker,
    woken: AtomicUsize,
    panics: bool,
}

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Relaxed);
        let _ = (self.breaker.state(), self.breaker.try_acquire(), self.breaker.snapshot());
        assert!(!self.panics, "part of the test");
    }
}

fn nosy(breaker: &CircuitBreaker, panics: bool) -> (Arc<Nosy>, Waker) {
    let nosy = Arc::new(Nosy { breaker: breaker.clone(), woken: AtomicUsize::new(0), panics });
    (Arc::clone(&nosy), Waker::from(nosy))
}

#[test]
fn changes_come_in_their_order_with_their_causes() {
    let (breaker, now) = made(plain());
    let mut events = breaker.events().unwrap();
    calls(&breaker, Failure, 10, now);
    assert!(breaker.try_acquire_at(now).is_err());
    calls(&breaker, Success, 5, now + 30 * S);
    breaker.force_open();
    breaker.release();
    let mut changes = std::iter::from_fn(|| events.try_recv());
    let told: Vec<_> = changes.by_ref().map(|c| (c.from, c.to, c.cause)).collect();
    assert_eq!(
        told,
        [
            (State::Closed, State::Open, Cause::Failures),
            (State::Open, State::HalfOpen, Cause::OpeningOver),
            (State::HalfOpen, State::Closed, Cause::ProbesSucceeded),
            (State::Closed, State::Open, Cause::Forced),
            (State::Open, State::HalfOpen, Cause::Forced),
        ]
    );
    assert_eq!(events.missed(), 0);
}

#[test]
fn who_falls_behind_misses_the_oldest_and_knows_it() {
    let breaker = CircuitBreaker::new(plain()).unwrap();
    let mut events = breaker.events().unwrap();
    for _ in 0..50 {
        breaker.force_open();
        breaker.force_closed();
    }
    let received = std::iter::from_fn(|| events.try_recv()).count();
    assert_eq!((received, events.missed()), (64, 36));
}

#[test]
fn a_receiver_is_woken_once_and_receives() {
    let breaker = CircuitBreaker::new(plain()).unwrap();
    let mut events = breaker.events().unwrap();
    let (nosy, waker) = nosy(&breaker, false);
    {
        let mut recv = pin!(events.recv());
        assert!(poll(recv.as_mut(), &waker).is_pending());
        assert!(poll(recv.as_mut(), &waker).is_pending());
        trip(&breaker);
        breaker.force_closed();
        assert_eq!(nosy.woken.load(Relaxed), 1);
        let Poll::Ready(change) = poll(recv, &waker) else { panic!("it was told") };
        assert_eq!(change.to, State::Open);
    }
    assert_eq!(events.try_recv().map(|change| change.to), Some(State::Closed));
}

#[test]
fn a_listener_that_panics_or_comes_back_harms_nobody() {
    let breaker = CircuitBreaker::new(plain()).unwrap();
    let mut first = breaker.events().unwrap();
    let mut second = breaker.events().unwrap();
    let (bad, bad_waker) = nosy(&breaker, true);
    let (good, good_waker) = nosy(&breaker, false);
    assert!(poll(pin!(first.recv()), &bad_waker).is_pending());
    assert!(poll(pin!(second.recv()), &good_waker).is_pending());
    trip(&breaker);
    assert_eq!((bad.woken.load(Relaxed), good.woken.load(Relaxed)), (1, 1));
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(first.try_recv(), second.try_recv());

    let (mut one, mut other) =
        (pin!(breaker.wait_until_closed()), pin!(breaker.wait_until_closed()));
    assert!(poll(one.as_mut(), &bad_waker).is_pending());
    assert!(poll(other.as_mut(), &good_waker).is_pending());
    breaker.force_closed();
    assert_eq!((bad.woken.load(Relaxed), good.woken.load(Relaxed)), (2, 2));
    assert_eq!(poll(other, &good_waker), Poll::Ready(Ok(())));
}

#[test]
fn who_waits_is_told_of_a_circuit_that_closed_only_for_a_moment() {
    let breaker = CircuitBreaker::new(plain()).unwrap();
    assert_eq!(poll(pin!(breaker.wait_until_closed()), Waker::noop()), Poll::Ready(Ok(())));
    breaker.force_open();
    let (nosy, waker) = nosy(&breaker, false);
    let mut wait = pin!(breaker.wait_until_closed());
    assert!(poll(wait.as_mut(), &waker).is_pending());
    breaker.force_closed();
    breaker.force_open();
    assert_eq!(nosy.woken.load(Relaxed), 1);
    assert_eq!(poll(wait, &waker), Poll::Ready(Ok(())));
}

#[test]
fn those_who_wait_are_bounded_and_leave_no_trace() {
    let breaker = CircuitBreaker::new(plain()).unwrap();
    breaker.force_open();
    let mut waits: Vec<_> = (0..16_385).map(|_| Box::pin(breaker.wait_until_closed())).collect();
    let mut polls = waits.iter_mut().map(|wait| poll(wait.as_mut(), Waker::noop()));
    assert_eq!(polls.by_ref().filter(Poll::is_pending).count(), 16_384);
    drop(waits.split_off(1));
    assert!(poll(pin!(breaker.wait_until_closed()), Waker::noop()).is_pending(), "places are free");
    breaker.force_closed();
    assert_eq!(poll(waits.remove(0).as_mut(), Waker::noop()), Poll::Ready(Ok(())));
}

#[test]
fn receivers_are_bounded() {
    let breaker = CircuitBreaker::new(plain()).unwrap();
    let mut all: Vec<_> = (0..1_024).map(|_| breaker.events().unwrap()).collect();
    assert_eq!(breaker.events().unwrap_err(), TooManyWaiting);
    all.pop();
    assert!(breaker.events().is_ok());
}
