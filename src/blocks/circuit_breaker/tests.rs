#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;

use super::window::Tally;
use super::*;
use crate::ground::enforcement::Enforcement;
use crate::ground::outcome::Outcome::{self, Failure, Ignored, Success};
use crate::ground::rng::Rng;
use crate::ground::time::{self, Instant};

mod ages;
mod faults;
mod forced;
#[cfg(feature = "tower")]
mod layer;
mod listening;
mod overloaded;
mod registry;

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn n(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

/// No jitter and no ramp, so that the tables are exact; both have tests of their own.
fn plain() -> CircuitBreakerConfig {
    CircuitBreakerConfig::default().with_open_jitter_ratio(0.0).with_ramp_step(None)
}

fn made(config: CircuitBreakerConfig) -> (CircuitBreaker, Instant) {
    let now = time::now();
    (CircuitBreaker::new_at(config, Rng::seeded(7), now).unwrap(), now)
}

impl CircuitBreaker {
    /// As the pipeline looks, and whoever is to be woken is woken at once.
    pub(super) fn peek_at(&self, now: Instant) -> Result<(), CircuitOpen> {
        self.peek_telling(now, crate::ground::quiet::wake_all_quietly)
    }
}

fn calls(breaker: &CircuitBreaker, how: Outcome, times: u32, now: Instant) {
    for _ in 0..times {
        breaker.try_acquire_at(now).unwrap().report_at(how, now);
    }
}

/// A breaker that opened just now.
fn opened(config: CircuitBreakerConfig) -> (CircuitBreaker, Instant) {
    let (breaker, now) = made(config);
    calls(&breaker, Failure, 10, now);
    assert_eq!(breaker.state_at(now), State::Open);
    (breaker, now)
}

#[test]
fn it_opens_at_half_of_at_least_ten() {
    let (breaker, now) = made(plain());
    calls(&breaker, Success, 5, now);
    calls(&breaker, Failure, 4, now);
    assert_eq!(breaker.state_at(now), State::Closed, "nine calls are too few");
    calls(&breaker, Failure, 1, now);
    assert_eq!(breaker.state_at(now), State::Open);
    let refused = breaker.try_acquire_at(now + S).unwrap_err();
    assert_eq!(refused.next_probe_at(), Some(now + 30 * S));
    assert_eq!(refused.retry_after(), Some(29 * S));
    assert_eq!(breaker.peek_at(now + S), Err(refused));
}

#[test]
fn the_tenth_call_decides_even_if_it_succeeds() {
    let (breaker, now) = made(plain());
    calls(&breaker, Failure, 9, now);
    calls(&breaker, Success, 1, now);
    assert_eq!(breaker.state_at(now), State::Open);
}

#[test]
fn one_percent_errors_never_opens_it() {
    for window in [Window::Time(10 * S), Window::Calls(n(100))] {
        let (breaker, start) = made(plain().with_window(window));
        for i in 0..20_000 {
            let how = if i % 100 == 0 { Failure } else { Success };
            calls(&breaker, how, 1, start + i * MS);
        }
        assert_eq!(breaker.snapshot().trips, 0);
    }
}

#[test]
fn a_hundred_thousand_successes_do_not_mask_failures() {
    let (breaker, now) = made(plain().with_window(Window::Calls(n(100))));
    calls(&breaker, Success, 100_000, now);
    calls(&breaker, Failure, 49, now);
    assert_eq!(breaker.state_at(now), State::Closed);
    calls(&breaker, Failure, 1, now);
    assert_eq!(breaker.state_at(now), State::Open);

    let (breaker, now) = made(plain());
    calls(&breaker, Success, 100_000, now);
    calls(&breaker, Failure, 10, now + 10 * S);
    assert_eq!(breaker.state_at(now + 10 * S), State::Open, "the successes have left the window");
}

#[test]
fn failures_long_ago_do_not_add_up() {
    let (breaker, mut now) = made(plain());
    for _ in 0..100 {
        calls(&breaker, Failure, 9, now);
        now += 11 * S;
    }
    assert_eq!(breaker.state_at(now), State::Closed);
}

#[test]
fn failures_in_a_row_open_it_whatever_the_ratio() {
    let config = plain().with_window(Window::Off).with_consecutive_failures(Some(n(3)));
    let (breaker, now) = made(config);
    for _ in 0..10 {
        calls(&breaker, Failure, 2, now);
        calls(&breaker, Success, 1, now);
    }
    assert_eq!(breaker.state_at(now), State::Closed);
    calls(&breaker, Failure, 3, now);
    assert_eq!(breaker.state_at(now), State::Open);
}

#[test]
fn half_open_limit_five_lets_only_five() {
    let (breaker, now) = opened(plain());
    assert!(breaker.try_acquire_at(now + 30 * S - MS).is_err());
    let now = now + 30 * S;
    assert_eq!(breaker.state_at(now), State::HalfOpen);
    let probes: Vec<_> = (0..200).filter_map(|_| breaker.try_acquire_at(now).ok()).collect();
    assert_eq!(probes.len(), 5);
    let refused = breaker.try_acquire_at(now + S).unwrap_err();
    assert_eq!(refused.next_probe_at(), Some(now + 30 * S), "when the oldest probe is given up");
    for probe in probes {
        assert!(breaker.try_acquire_at(now).is_err(), "a result keeps its place");
        probe.report_at(Success, now);
    }
    assert_eq!(breaker.state_at(now), State::Closed);
}

#[test]
fn failed_probes_open_it_again_for_twice_as_long() {
    let (breaker, mut now) = opened(plain());
    for seconds in [30, 60, 120, 240, 300, 300] {
        assert_eq!(breaker.peek_at(now).unwrap_err().retry_after(), Some(seconds * S));
        now += seconds * S;
        calls(&breaker, Success, 2, now);
        calls(&breaker, Failure, 3, now);
        assert_eq!(breaker.state_at(now), State::Open);
    }
    now += 300 * S;
    calls(&breaker, Success, 5, now);
    calls(&breaker, Failure, 10, now);
    let open = breaker.peek_at(now).unwrap_err();
    assert_eq!(open.retry_after(), Some(30 * S), "once it flowed fully it starts over");
}

#[test]
fn openings_are_spread_by_a_fifth() {
    let config = plain().with_open_jitter_ratio(0.2);
    let now = time::now();
    let lengths: Vec<_> = (0..200)
        .map(|seed| {
            let breaker = CircuitBreaker::new_at(config.clone(), Rng::seeded(seed), now).unwrap();
            calls(&breaker, Failure, 10, now);
            breaker.peek_at(now).unwrap_err().retry_after().unwrap()
        })
        .collect();
    assert!(lengths.iter().all(|l| (24 * S..=36 * S).contains(l)));
    assert!(lengths.iter().min() < Some(&(25 * S)) && lengths.iter().max() > Some(&(35 * S)));
}

#[test]
fn late_results_from_before_the_trip_decide_nothing() {
    let (breaker, now) = made(plain());
    let late: Vec<_> = (0..20).map(|_| breaker.try_acquire_at(now).unwrap()).collect();
    calls(&breaker, Failure, 10, now);
    let now = now + 30 * S;
    let probe = breaker.try_acquire_at(now).unwrap();
    for (i, permit) in late.into_iter().enumerate() {
        permit.report_at(if i % 2 == 0 { Success } else { Failure }, now);
    }
    assert_eq!(breaker.state_at(now), State::HalfOpen);
    probe.report_at(Success, now);
    assert_eq!(breaker.state_at(now), State::HalfOpen, "one of five results is in");
    assert_eq!(breaker.snapshot().late, 20);
}

#[test]
fn a_hung_probe_is_given_up_and_does_not_leave_it_half_open() {
    let (breaker, now) = opened(plain().with_probes(n(1)).with_call_timeout(5 * S));
    let now = now + 30 * S;
    let hung = breaker.try_acquire_at(now).unwrap();
    assert!(breaker.try_acquire_at(now + 5 * S - MS).is_err());
    assert_eq!(breaker.state_at(now + 5 * S), State::Open, "its silence is a failure");
    hung.report_at(Success, now + 5 * S);
    assert_eq!(breaker.state_at(now + 5 * S), State::Open, "and its word comes too late");
    assert_eq!(breaker.state_at(now + 65 * S), State::HalfOpen);
}

#[test]
fn probes_of_an_earlier_half_open_still_count_as_under_way() {
    let (breaker, now) = opened(plain().with_open_for(S).with_open_factor(1.0));
    let now = now + S;
    let mut probes: Vec<_> = (0..5).map(|_| breaker.try_acquire_at(now).unwrap()).collect();
    for probe in probes.drain(..3) {
        probe.report_at(Failure, now);
    }
    let now = now + S;
    assert_eq!(breaker.state_at(now), State::HalfOpen);
    let fresh: Vec<_> = (0..9).filter_map(|_| breaker.try_acquire_at(now).ok()).collect();
    assert_eq!(fresh.len(), 3, "two are still out");
    probes.pop().unwrap().report_at(Failure, now);
    assert!(breaker.try_acquire_at(now).is_ok());
}

#[test]
fn probes_are_refilled() {
    let (breaker, now) = opened(plain());
    let now = now + 30 * S;
    for _ in 0..1_000 {
        calls(&breaker, Ignored, 5, now);
        let cancelled = breaker.try_acquire_at(now).unwrap();
        cancelled.abandon_at(now + S);
    }
    calls(&breaker, Success, 5, now);
    assert_eq!(breaker.state_at(now), State::Closed);
}

#[test]
fn cancelled_calls_are_recorded_so_a_hanging_upstream_trips_it() {
    let (breaker, now) = made(plain().with_slow_after(Some(2 * S)));
    for _ in 0..20 {
        breaker.try_acquire_at(now).unwrap().abandon_at(now + S);
    }
    assert_eq!(breaker.state_at(now), State::Closed, "a quick cancel says nothing");
    for _ in 0..10 {
        breaker.try_acquire_at(now).unwrap().abandon_at(now + 2 * S);
    }
    assert_eq!(breaker.state_at(now + 2 * S), State::Open);

    for (unreported, trips) in [(Unreported::Failure, 1), (Unreported::Ignored, 0)] {
        let (breaker, now) = made(plain().with_unreported(unreported));
        for _ in 0..10 {
            breaker.try_acquire_at(now).unwrap().abandon_at(now + 60 * S);
        }
        assert_eq!(breaker.snapshot().trips, trips);
    }
}

#[test]
fn traffic_ramps_up_by_shares() {
    let (breaker, now) = opened(plain().with_ramp_step(Some(S)));
    let start = now + 30 * S;
    calls(&breaker, Success, 5, start);
    for (second, admitted) in [(0, 10), (1, 25), (2, 50), (3, 100)] {
        let now = start + second * S;
        let let_through = (0..100).filter(|_| breaker.try_acquire_at(now).is_ok()).count();
        assert_eq!(let_through, admitted, "in second {second}");
    }
}

#[test]
fn a_lone_caller_who_comes_back_when_told_gets_through_the_ramp() {
    let (breaker, now) = opened(plain().with_ramp_step(Some(S)));
    let (start, mut now) = (now + 30 * S, now + 30 * S);
    calls(&breaker, Success, 5, start);
    let mut admitted = 0;
    while now < start + 3 * S {
        match breaker.try_acquire_at(now) {
            Ok(permit) => {
                permit.report_at(Success, now);
                admitted += 1;
            }
            Err(open) => {
                let next = open.next_probe_at().unwrap();
                assert!(next > now);
                now = next;
            }
        }
    }
    assert!(admitted >= 7, "{admitted}");
}

#[test]
fn a_failure_while_ramping_up_doubles_the_opening() {
    let (breaker, now) = opened(plain().with_ramp_step(Some(S)));
    let now = now + 30 * S;
    calls(&breaker, Success, 5, now);
    let mut tries = 0;
    while breaker.snapshot().trips < 2 {
        if let Ok(permit) = breaker.try_acquire_at(now) {
            permit.report_at(Failure, now);
        }
        tries += 1;
        assert!(tries < 1_000);
    }
    assert_eq!(breaker.peek_at(now).unwrap_err().retry_after(), Some(60 * S));
}

#[test]
fn enforcement_counts_first_and_refuses_later() {
    let (breaker, now) = opened(plain().with_enforcement(Enforcement::Shadow));
    assert_eq!(breaker.peek_at(now), Ok(()));
    calls(&breaker, Success, 100, now);
    let seen = breaker.snapshot();
    assert_eq!((seen.state, seen.would_refuse, seen.refused), (State::Open, 100, 0));
    let now = now + 30 * S;
    calls(&breaker, Success, 5, now);
    assert_eq!(breaker.state_at(now), State::Closed, "a shadow breaker lives on");

    let (breaker, now) = opened(plain().with_enforcement(Enforcement::Share(0.5)));
    let admitted = (0..1_000).filter(|_| breaker.try_acquire_at(now).is_ok()).count();
    assert!((400..600).contains(&admitted), "{admitted}");
}

#[test]
fn a_clock_that_stalls_jumps_or_goes_back_harms_nothing() {
    let (breaker, start) = made(plain());
    let late = start + 1_000 * S;
    calls(&breaker, Success, 5, late);
    calls(&breaker, Failure, 5, start);
    assert_eq!(breaker.state_at(start), State::Open);
    assert!(breaker.try_acquire_at(start).is_err());
    let jumped = start + 100_000 * S;
    let probe = breaker.try_acquire_at(jumped).unwrap();
    assert!(breaker.try_acquire_at(start).is_ok(), "half-open by the newest clock");
    probe.report_at(Success, start);
    assert_eq!(breaker.state_at(start), State::HalfOpen);
}

#[test]
fn impossible_configurations_are_named() {
    let base = CircuitBreakerConfig::default;
    let cases = [
        (base().with_failure_ratio(0.0), "circuit_breaker.failure_ratio"),
        (base().with_failure_ratio(f64::NAN), "circuit_breaker.failure_ratio"),
        (base().with_open_for(Duration::ZERO), "circuit_breaker.open_for"),
        (base().with_open_for(301 * S), "circuit_breaker.open_for"),
        (base().with_open_for_most(Duration::MAX), "circuit_breaker.open_for_most"),
        (base().with_open_factor(0.5), "circuit_breaker.open_factor"),
        (base().with_open_jitter_ratio(1.5), "circuit_breaker.open_jitter_ratio"),
        (base().with_probes(n(1_001)), "circuit_breaker.probes"),
        (base().with_call_timeout(Duration::ZERO), "circuit_breaker.call_timeout"),
        (base().with_ramp_step(Some(Duration::ZERO)), "circuit_breaker.ramp_step"),
        (base().with_window(Window::Time(MS)), "circuit_breaker.window.time"),
        (base().with_window(Window::Calls(n(9))), "circuit_breaker.window.calls"),
        (base().with_window(Window::Off), "circuit_breaker.window"),
        (base().with_enforcement(Enforcement::Share(2.0)), "circuit_breaker.enforcement"),
    ];
    for (config, field) in cases {
        let error = CircuitBreaker::new(config).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field} is ")), "{error}");
    }
}

#[test]
fn with_nothing_set_it_stays_open() {
    let (breaker, now) = opened(CircuitBreakerConfig::default());
    assert!((0..24).all(|second| breaker.try_acquire_at(now + second * S).is_err()));
}

/// What every peer misses: the caller's own timeout is shorter than the breaker's.
#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn a_hanging_upstream_behind_an_outer_timeout_trips_it() {
    let config = CircuitBreakerConfig::default().with_slow_after(Some(S));
    let breaker = CircuitBreaker::new(config.with_window(Window::Calls(n(10)))).unwrap();
    for _ in 0..10 {
        assert_eq!(breaker.state(), State::Closed);
        let call = breaker.call(std::future::pending::<Result<(), ()>>());
        tokio::time::timeout(S, call).await.unwrap_err();
    }
    assert_eq!(breaker.state(), State::Open);
    assert!(matches!(breaker.call(async { Ok::<_, ()>(()) }).await, Err(CallError::Open(_))));
    tokio::time::sleep(36 * S).await;
    assert_eq!(breaker.call(async { Ok::<_, ()>(()) }).await, Ok(()));
}

#[tokio::test]
async fn a_call_dropped_after_one_poll_gives_its_probe_back() {
    let long_ago = time::now() - S;
    let config = plain().with_open_for(MS).with_probes(n(1));
    let breaker = CircuitBreaker::new_at(config, Rng::seeded(7), long_ago).unwrap();
    calls(&breaker, Failure, 10, long_ago);
    for _ in 0..3 {
        let call = breaker.call(std::future::pending::<Result<(), ()>>());
        let mut call = std::pin::pin!(call);
        assert!(futures_poll(call.as_mut()).is_pending());
        assert!(breaker.try_acquire().is_err());
    }
    assert_eq!(breaker.call(async { Ok::<_, ()>(1) }).await, Ok(1));
    assert_eq!(breaker.state(), State::Closed);
}

fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn a_call_says_how_it_failed() {
    let (breaker, _) = made(plain().with_call_timeout(MS));
    let failed = breaker.call(async { Err::<(), _>("no") }).await;
    assert_eq!(failed, Err(CallError::Inner("no")));
    let hung = breaker.call(std::future::pending::<Result<(), ()>>()).await;
    assert_eq!(hung, Err(CallError::TimedOut));
    let ignored = breaker.call_classified(async { Err::<(), _>(()) }, |_| Ignored).await;
    assert_eq!(ignored, Err(CallError::Inner(())));
    let seen = breaker.snapshot();
    assert_eq!((seen.failed, seen.ignored), (2, 1));
}

#[cfg(all(feature = "json", feature = "serde"))]
#[test]
fn a_configuration_loads_by_the_names_of_its_fields() {
    let config: CircuitBreakerConfig = serde_json::from_str("{}").unwrap();
    assert_eq!(config, CircuitBreakerConfig::default());
    let json = serde_json::to_string(&config.with_window(Window::Calls(n(50)))).unwrap();
    let back: CircuitBreakerConfig = serde_json::from_str(&json).unwrap();
    assert_eq!(back.window, Window::Calls(n(50)));
    serde_json::from_str::<CircuitBreakerConfig>(r#"{"probs": 3}"#).unwrap_err();
}

/// One more call, as the watch of a closed circuit tells its window.
fn record(
    window: &mut super::window::Window,
    ended: &mut Tally,
    failed: bool,
    now: Instant,
) -> Tally {
    window.advance(now, *ended);
    ended.calls += 1;
    ended.failures += u64::from(failed);
    window.record(failed, false, *ended);
    window.tally(*ended)
}

/// The window, told naively: every call with its bucket.
fn naive_time_window(calls: &[(u64, bool)], width: u64) -> Tally {
    let newest = calls.iter().map(|&(at, _)| at / width).max().unwrap();
    let mut running = 0;
    let mut tally = Tally::default();
    for &(at, failed) in calls {
        // A call with an older clock counts in the bucket that was newest then.
        running = running.max(at / width);
        if running + 10 > newest {
            tally.calls += 1;
            tally.failures += u64::from(failed);
        }
    }
    tally
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(256))]

    #[test]
    fn a_time_window_agrees_with_a_list(
        steps in prop::collection::vec((0_u64..400, any::<bool>(), any::<bool>()), 1..200)
    ) {
        let now = time::now();
        let mut window = super::window::Window::new(Window::Time(S), now);
        let (mut at, mut calls, mut ended) = (0_u64, Vec::new(), Tally::default());
        for (step, back, failed) in steps {
            at = if back { at.saturating_sub(step / 4) } else { at + step };
            calls.push((at, failed));
            let got = record(&mut window, &mut ended, failed, now + Duration::from_millis(at));
            prop_assert_eq!(got, naive_time_window(&calls, 100));
        }
    }

    #[test]
    fn a_count_window_agrees_with_a_list(
        size in 1_u32..200, calls in prop::collection::vec(any::<bool>(), 1..600)
    ) {
        let now = time::now();
        let mut window = super::window::Window::new(Window::Calls(n(size)), now);
        let (mut list, mut ended) = (VecDeque::new(), Tally::default());
        for failed in calls {
            list.push_back(failed);
            if list.len() > size as usize {
                list.pop_front();
            }
            let got = record(&mut window, &mut ended, failed, now);
            prop_assert_eq!(got.calls, list.len() as u64);
            prop_assert_eq!(got.failures, list.iter().filter(|&&f| f).count() as u64);
        }
    }

    /// Whatever happens in whatever order: never more than N probes under way, and whoever comes
    /// back when told gets through in the end.
    #[test]
    fn it_is_never_stuck_and_never_probes_more_than_its_number(
        seed in any::<u64>(),
        probes in 1_u32..6,
        ops in prop::collection::vec((0_u8..5, 0_u64..20_000), 1..300),
    ) {
        let start = time::now();
        let config = CircuitBreakerConfig::default().with_probes(n(probes));
        let breaker = CircuitBreaker::new_at(config, Rng::seeded(seed), start).unwrap();
        let (mut now, mut out) = (start, Vec::new());
        for (op, ms) in ops {
            now += Duration::from_millis(ms);
            match op {
                0 | 1 => {
                    let half_open = breaker.state_at(now) == State::HalfOpen;
                    if let Ok(permit) = breaker.try_acquire_at(now) {
                        out.push((permit, half_open, now));
                    }
                }
                _ if out.is_empty() => {}
                _ => {
                    let (permit, _, _) = out.swap_remove(ms as usize % out.len());
                    match op {
                        2 => permit.report_at(Success, now),
                        3 => permit.report_at(Failure, now),
                        _ => permit.abandon_at(now),
                    }
                }
            }
            let young = |since: Instant| now.saturating_duration_since(since) < 30 * S;
            let under_way = out.iter().filter(|(_, probe, since)| *probe && young(*since)).count();
            prop_assert!(under_way <= probes as usize);
        }
        for _ in 0..10_000 {
            match breaker.try_acquire_at(now) {
                Ok(permit) => permit.report_at(Success, now),
                Err(open) => {
                    let next = open.next_probe_at().unwrap();
                    prop_assert!(next > now);
                    now = next;
                }
            }
        }
        prop_assert_eq!(breaker.state_at(now), State::Closed);
    }
}
