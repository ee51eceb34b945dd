//! States that somebody forces.

use super::*;
use crate::{Classify, Verdict};

fn now_of(breaker: &CircuitBreaker) -> CircuitBreakerSnapshot {
    breaker.snapshot()
}

#[test]
fn forced_open_refuses_until_it_is_released_and_then_probes() {
    let breaker = CircuitBreaker::new(plain()).unwrap();
    breaker.force_open();
    let seen = now_of(&breaker);
    assert!(seen.is_forced && seen.state == State::Open);
    assert_eq!((seen.next_probe_at, breaker.next_probe_at()), (None, None));
    let later = time::now() + 86_400 * S;
    let refused = breaker.try_acquire_at(later).unwrap_err();
    assert_eq!((refused.retry_after(), refused.next_probe_at()), (None, None), "nobody knows");
    assert_eq!(refused.to_string(), "the circuit is forced open");
    assert_eq!(refused.verdict(), Verdict::refused(Some(30 * S)), "worth another look then");
    assert_eq!(breaker.peek_at(later), Err(refused));
    assert_eq!(breaker.snapshot().refused, 1);
    breaker.release();
    assert_eq!(breaker.state(), State::HalfOpen);
    let now = time::now();
    calls(&breaker, Success, 5, now);
    assert!(breaker.state() == State::Closed && !breaker.snapshot().is_forced);
}

#[test]
fn forced_closed_lets_all_through_and_counts() {
    let (breaker, now) = opened(plain());
    breaker.force_closed();
    calls(&breaker, Failure, 1_000, now);
    calls(&breaker, Success, 10, now);
    let seen = breaker.snapshot();
    assert_eq!(
        (seen.state, seen.failed, seen.succeeded, seen.trips),
        (State::Closed, 1_010, 10, 1)
    );
    breaker.release();
    let now = time::now();
    calls(&breaker, Failure, 9, now);
    assert_eq!(breaker.state(), State::Closed, "with a clean slate");
    calls(&breaker, Failure, 1, now);
    assert_eq!(breaker.state(), State::Open);
    breaker.release();
    assert_eq!(breaker.state(), State::Open, "nobody had forced it");
}

#[test]
fn what_was_under_way_when_it_was_forced_decides_nothing_after() {
    let (breaker, now) = opened(plain());
    let now = now + 30 * S;
    let probes: Vec<_> = (0..5).map(|_| breaker.try_acquire_at(now).unwrap()).collect();
    breaker.force_open();
    probes.into_iter().for_each(|probe| probe.report_at(Success, now));
    assert_eq!(breaker.state_at(now), State::Open);
    breaker.release();
    assert_eq!(breaker.state_at(now), State::HalfOpen);
    calls(&breaker, Success, 5, now);
    assert_eq!(breaker.state_at(now), State::Closed);
}

#[test]
fn a_forced_opening_that_refuses_by_chance_tells_no_time_either() {
    let (breaker, now) = made(plain().with_enforcement(Enforcement::Share(1.0)));
    breaker.force_open();
    assert_eq!(breaker.try_acquire_at(now).unwrap_err().retry_after(), None);
}

#[test]
fn a_forced_opening_refuses_nothing_where_enforcement_is_a_shadow() {
    let (breaker, now) = made(plain().with_enforcement(Enforcement::Shadow));
    breaker.force_open();
    calls(&breaker, Success, 7, now);
    assert_eq!(breaker.snapshot().would_refuse, 7);
}
