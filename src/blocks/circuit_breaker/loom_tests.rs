//! The word in front of the lock, by every interleaving.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::num::NonZeroU32;
use std::time::Duration;

use loom::thread;

use super::*;
use crate::ground::outcome::Outcome::{Failure, Success};
use crate::ground::rng::Rng;
use crate::ground::time;

fn breaker(failures: u32) -> (CircuitBreaker, std::time::Instant) {
    let now = time::now();
    let config = CircuitBreakerConfig::default()
        .with_window(Window::Off)
        .with_consecutive_failures(NonZeroU32::new(failures))
        .with_probes(NonZeroU32::MIN)
        .with_ramp_step(None);
    (CircuitBreaker::new_at(config, Rng::seeded(1), now).unwrap(), now)
}

/// A trip races with a success admitted before it: either the success comes first and breaks the
/// row, or it is late and changes nothing. After a trip nobody is admitted any more.
#[test]
fn loom_a_trip_and_a_late_success() {
    loom::model(|| {
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
        assert_eq!(breaker.state_at(now), State::Open);
    });
}

/// Two ask when an opening ends, and there is one probe.
#[test]
fn loom_one_probe_for_two() {
    loom::model(|| {
        let (breaker, now) = breaker(1);
        breaker.try_acquire_at(now).unwrap().report_at(Failure, now);
        let later = now + Duration::from_secs(60);
        let other = breaker.clone();
        let asking = thread::spawn(move || other.try_acquire_at(later).ok());
        let mine = breaker.try_acquire_at(later).ok();
        let theirs = asking.join().unwrap();
        assert!(mine.is_some() != theirs.is_some());
        mine.or(theirs).unwrap().report_at(Success, later);
        assert!(breaker.try_acquire_at(later).is_ok());
    });
}
