//! What is done beside the lock, by every interleaving: the words in front of it and the stripes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::num::NonZeroU32;
use std::time::Duration;

use loom::thread;

use super::*;
use crate::ground::loom_tests::block_on;
use crate::ground::outcome::Outcome::{Failure, Success};
use crate::ground::rng::Rng;
use crate::ground::time::{self, Instant};

const S: Duration = Duration::from_secs(1);

/// Opens at so many failures in a row; one probe, no ramp, nothing by chance.
fn breaker(failures: u32) -> (CircuitBreaker, Instant) {
    made(untimed(failures))
}

fn untimed(failures: u32) -> CircuitBreakerConfig {
    CircuitBreakerConfig::default()
        .with_window(Window::Off)
        .with_consecutive_failures(NonZeroU32::new(failures))
        .with_in_flight(InFlight::Ignored)
        .with_unreported(Unreported::Ignored)
        .with_open_jitter_ratio(0.0)
        .with_probes(NonZeroU32::MIN)
        .with_ramp_step(None)
}

fn made(config: CircuitBreakerConfig) -> (CircuitBreaker, Instant) {
    let now = time::now();
    (CircuitBreaker::new_at(config, Rng::seeded(1), now).unwrap(), now)
}

fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 10_000;
    builder.check(check);
}

/// A trip races with a success admitted before it: either the success comes first, or it is late
/// and changes nothing. After a trip nobody is admitted any more.
#[test]
fn loom_a_trip_and_a_late_success() {
    model(|| {
        let (breaker, now) = breaker(1);
        let early = breaker.try_acquire_at(now).unwrap();
        let other = breaker.clone();
        let tripping = thread::spawn(move || {
            other.try_acquire_at(now).unwrap().report_at(Failure, now);
            assert!(other.try_acquire_at(now).is_err(), "it sees its own trip");
        });
        early.report_at(Success, now);
        tripping.join().unwrap();
        assert!(breaker.try_acquire_at(now).is_err());
        let seen = breaker.snapshot_at(now);
        assert_eq!((seen.state, seen.succeeded, seen.failed), (State::Open, 1, 1));
    });
}

/// Two ask when an opening ends, and there is one probe.
#[test]
fn loom_one_probe_for_two() {
    model(|| {
        let (breaker, now) = breaker(1);
        breaker.try_acquire_at(now).unwrap().report_at(Failure, now);
        let later = now + 60 * S;
        let other = breaker.clone();
        let asking = thread::spawn(move || other.try_acquire_owned_at(later).ok());
        let mine = breaker.try_acquire_owned_at(later).ok();
        let theirs = asking.join().unwrap();
        assert!(mine.is_some() != theirs.is_some());
        mine.or(theirs).unwrap().report_at(Success, later);
        assert!(breaker.try_acquire_at(later).is_ok());
    });
}

/// A success from before a trip races with the trip, the probe and the closing after it: it is
/// counted once, and never in the window of the new generation.
#[test]
fn loom_a_success_of_an_earlier_generation_counts_in_none_after_it() {
    model(|| {
        let two = NonZeroU32::new(2).unwrap();
        let config = untimed(9).with_window(Window::Calls(two)).with_minimum_calls(two);
        let (breaker, now) = made(config);
        let early = breaker.try_acquire_owned_at(now).unwrap();
        let reporting = thread::spawn(move || early.report_at(Success, now));
        for _ in 0..2 {
            if let Ok(permit) = breaker.try_acquire_at(now) {
                permit.report_at(Failure, now);
            }
        }
        assert_eq!(breaker.state_at(now), State::Open);
        let later = now + 60 * S;
        breaker.try_acquire_at(later).unwrap().report_at(Success, later);
        reporting.join().unwrap();
        // Were the old success in the new window, this would be the second of two.
        breaker.try_acquire_at(later).unwrap().report_at(Failure, later);
        let seen = breaker.snapshot_at(later);
        assert_eq!((seen.state, seen.succeeded), (State::Closed, 2));
    });
}

/// Two calls end while the slot that they began in is retired: each leaves once, wherever it is
/// counted by then.
#[test]
fn loom_calls_in_flight_leave_once_while_their_slot_is_retired() {
    model(|| {
        let config = untimed(9).with_in_flight(InFlight::FailureIfSlow).with_slow_after(Some(S));
        let (breaker, now) = made(config);
        let calls = [Success, Failure].map(|how| (breaker.try_acquire_owned_at(now).unwrap(), how));
        let ending = calls.map(|(call, how)| thread::spawn(move || call.report_at(how, now)));
        let later = now + 2 * S;
        let seen = breaker.snapshot_at(later);
        assert!(seen.overdue <= seen.in_flight && seen.in_flight <= 2, "{seen:?}");
        ending.into_iter().for_each(|one| one.join().unwrap());
        let seen = breaker.snapshot_at(later);
        assert_eq!((seen.in_flight, seen.overdue), (0, 0));
        assert_eq!((seen.succeeded, seen.failed, seen.late), (1, 1, 0));
    });
}

/// A call begins while slots turn: it is counted in one of them.
#[test]
fn loom_a_call_begins_while_the_slot_turns() {
    model(|| {
        let config = untimed(9).with_in_flight(InFlight::FailureIfSlow).with_slow_after(Some(S));
        let (breaker, now) = made(config);
        let other = breaker.clone();
        let beginning = thread::spawn(move || other.try_acquire_owned_at(now).unwrap());
        let later = now + S / 2;
        let _ = breaker.state_at(later);
        let call = beginning.join().unwrap();
        assert_eq!(breaker.snapshot_at(later).in_flight, 1);
        call.report_at(Success, later);
        let seen = breaker.snapshot_at(later);
        assert_eq!((seen.in_flight, seen.succeeded), (0, 1));
    });
}

/// Failures in a row by two threads are all seen, and a success between threads breaks the row.
#[test]
fn loom_two_failures_by_two_threads_open_it() {
    model(|| {
        let (breaker, now) = breaker(2);
        let other = breaker.clone();
        let failing = thread::spawn(move || {
            other.try_acquire_at(now).unwrap().report_at(Failure, now);
        });
        breaker.try_acquire_at(now).unwrap().report_at(Failure, now);
        failing.join().unwrap();
        assert!(breaker.try_acquire_at(now).is_err());
    });
}

/// A success that comes after a failure, in whatever thread, breaks the row.
#[test]
fn loom_a_success_after_a_failure_breaks_the_row() {
    model(|| {
        let (breaker, now) = breaker(2);
        let call = breaker.try_acquire_owned_at(now).unwrap();
        let other = breaker.clone();
        let failing = thread::spawn(move || {
            other.try_acquire_at(now).unwrap().report_at(Failure, now);
        });
        failing.join().unwrap();
        call.report_at(Success, now);
        breaker.try_acquire_at(now).unwrap().report_at(Failure, now);
        assert_eq!(breaker.state_at(now), State::Closed);
    });
}

/// Who waits for it to close is told, whenever it began to wait.
#[test]
fn loom_who_waits_until_it_is_closed_is_told() {
    model(|| {
        let (breaker, _) = breaker(1);
        breaker.force_open();
        let other = breaker.clone();
        let closing = thread::spawn(move || other.force_closed());
        assert_eq!(block_on(breaker.wait_until_closed()), Ok(()));
        closing.join().unwrap();
    });
}

/// Who waits for a change is told of it.
#[test]
fn loom_who_receives_is_told() {
    model(|| {
        let (breaker, _) = breaker(1);
        let mut events = breaker.events().unwrap();
        let other = breaker.clone();
        let opening = thread::spawn(move || other.force_open());
        assert_eq!(block_on(events.recv()).to, State::Open);
        opening.join().unwrap();
    });
}
