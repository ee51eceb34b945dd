//! What is known to be wrong with other breakers, each as a claim that ours keeps. Those of crates
//! are run against the crates in `benches/versus` too (`circuit_breaker/faults`).

use super::*;

/// tower-resilience 0.13: its count window never slides.
#[test]
fn after_a_hundred_thousand_successes_half_a_window_of_failures_opens_it() {
    for config in [plain().with_window(Window::Calls(n(100))), plain().with_window(Window::Time(S))]
    {
        let (breaker, now) = made(config);
        calls(&breaker, Success, 100_000, now);
        let now = now + 2 * S;
        let failures = (1..).find(|_| {
            calls(&breaker, Failure, 1, now);
            breaker.state_at(now) == State::Open
        });
        assert!(failures <= Some(50), "{failures:?}");
    }
}

/// tower-resilience 0.13: a late result from before the trip decides half-open.
#[test]
fn a_result_from_before_the_trip_does_not_decide_half_open() {
    for late in [Success, Failure] {
        let (breaker, now) = made(plain().with_probes(n(1)));
        let early = breaker.try_acquire_at(now).unwrap();
        calls(&breaker, Failure, 10, now);
        let now = now + 30 * S;
        let probe = breaker.try_acquire_at(now).unwrap();
        early.report_at(late, now);
        assert_eq!(breaker.state_at(now), State::HalfOpen);
        probe.report_at(Success, now);
        assert_eq!(breaker.state_at(now), State::Closed);
    }
}

/// tower-resilience 0.13, resilience4j #903, #935, #544: stuck half-open by a probe that hangs, is
/// ignored, or is dropped.
#[test]
fn nothing_leaves_it_half_open_for_ever() {
    let (breaker, now) = opened(plain().with_open_factor(1.0).with_call_timeout(5 * S));
    let mut now = now + 30 * S;
    let hung: Vec<_> = (0..5).map(|_| breaker.try_acquire_at(now).unwrap()).collect();
    now += 5 * S;
    assert_eq!(breaker.state_at(now), State::Open, "five that hang are five that failed");
    now += 30 * S;
    for round in 0..100 {
        let probe = breaker.try_acquire_at(now).unwrap();
        if round % 2 == 0 {
            probe.abandon_at(now);
        } else {
            probe.report_at(Ignored, now);
        }
    }
    calls(&breaker, Success, 5, now);
    assert_eq!(breaker.state_at(now), State::Closed);
    drop(hung);
}

/// failsafe, recloser: half-open admits everybody.
#[test]
fn half_open_admits_as_many_as_there_are_probes() {
    let (breaker, now) = opened(plain());
    let now = now + 30 * S;
    let admitted: Vec<_> = (0..10_000).filter_map(|_| breaker.try_acquire_at(now).ok()).collect();
    assert_eq!(admitted.len(), 5);
}

/// circuitbreaker-rs: probes are never refilled.
#[test]
fn every_half_open_has_all_its_probes() {
    let (breaker, mut now) = opened(plain().with_open_factor(1.0));
    for _ in 0..50 {
        now += 30 * S;
        calls(&breaker, Success, 2, now);
        calls(&breaker, Failure, 3, now);
        assert_eq!(breaker.state_at(now), State::Open);
    }
    now += 30 * S;
    calls(&breaker, Success, 5, now);
    assert_eq!(breaker.state_at(now), State::Closed);
}

/// All of them: a cancelled call is not recorded, so behind an outer timeout a backend that hangs
/// never trips them.
#[test]
fn calls_dropped_by_an_outer_timeout_open_it() {
    let (breaker, now) = made(plain().with_slow_after(Some(2 * S)));
    for i in 0..10 {
        let call = breaker.try_acquire_at(now + i * MS).unwrap();
        call.abandon_at(now + i * MS + 2 * S);
    }
    assert_eq!(breaker.state_at(now + 3 * S), State::Open);
}

/// gobreaker #91: blind to calls in flight, 30,000 are sent before it trips.
#[test]
fn a_backend_that_hangs_is_not_sent_thirty_thousand() {
    let (breaker, start) = made(plain().with_slow_after(Some(S)));
    let sent: Vec<_> =
        (0..30_000).filter_map(|call| breaker.try_acquire_at(start + call * MS).ok()).collect();
    assert!(sent.len() <= 1_200, "{}", sent.len());
}

/// Hystrix: keys never expire.
#[test]
fn keys_that_nobody_uses_are_forgotten() {
    let breakers = BreakerRegistry::new(BreakerRegistryConfig::default()).unwrap();
    let start = time::now();
    for key in 0..5_000_u32 {
        drop(breakers.get_at(&key, start + key * S));
    }
    assert!(breakers.len() <= 1_000, "ten minutes of one a second, and what is not yet looked at");
    assert_eq!(breakers.len() as u64 + breakers.forgotten(), 5_000);
}

/// The original: failures never decay; a half-open limit of five let all through.
#[test]
fn one_in_a_hundred_fails_and_it_stays_closed() {
    let (breaker, start) = made(plain());
    for call in 0..100_000_u32 {
        let how = if call % 100 == 0 { Failure } else { Success };
        calls(&breaker, how, 1, start + call * MS);
    }
    let seen = breaker.snapshot_at(start + 100 * S);
    assert_eq!((seen.trips, seen.succeeded, seen.failed), (0, 99_000, 1_000));
}
