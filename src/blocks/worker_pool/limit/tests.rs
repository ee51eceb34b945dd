//! The two deciders, by explicit times.

use std::time::Duration;

use super::autoscaler::{Autoscaler, Load};
use super::rule::Vegas;
use super::tuner::Tuner;
use super::window::Sample;
use crate::blocks::worker_pool::Autoscale;
use crate::ground::time::Instant;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn start() -> Instant {
    crate::ground::time::now()
}

fn load(limit: u32, busy: u32, waiting: usize) -> Load {
    Load { limit, busy, waiting }
}

/// Somebody began to wait just now, and the watch knows.
fn waiting(limit: u32, now: Instant) -> Autoscaler {
    let mut scaler = Autoscaler::new(Autoscale::between(2, 64));
    assert_eq!(scaler.due(limit.min(2), now), None, "nothing is to be decided yet");
    assert!(scaler.waits(limit));
    assert!(!scaler.waits(limit), "no news");
    assert_eq!(scaler.due(limit.min(2), now), Some(now + MS * 100));
    scaler
}

#[test]
fn it_grows_by_what_waits_where_nothing_starts_and_by_the_rate_where_much_does() {
    // (started in 100 ms, waiting) -> seats instead of 2
    for (started, waits, seats) in [
        (0, 20, 22),
        (0, 1, 3),
        (0, 500, 64),
        (20, 20, 2),
        (20, 21, 7),
        (10, 30, 14),
        (40, 1_000, 64),
    ] {
        let now = start();
        let mut scaler = waiting(2, now);
        (0..started).for_each(|_| scaler.started(2));
        let early = scaler.decide(load(2, 2, waits), now + MS * 99);
        assert_eq!(early, 2, "the target has not passed");
        let limit = scaler.decide(load(2, 2, waits), now + MS * 100);
        assert_eq!(limit, seats, "{started} started, {waits} wait");
    }
}

#[test]
fn a_worker_that_finds_nothing_ends_the_wait() {
    let now = start();
    let mut scaler = waiting(2, now);
    scaler.found_nothing();
    assert_eq!(scaler.decide(load(2, 2, 50), now + SECOND), 2);
    assert!(scaler.waits(2), "news again");
}

#[test]
fn a_second_change_waits_for_the_cool_down() {
    let now = start();
    let mut scaler = waiting(2, now);
    let limit = scaler.decide(load(2, 2, 10), now + MS * 100);
    assert_eq!(limit, 12);
    scaler.waits(limit);
    let due = scaler.due(limit, now + MS * 150);
    assert_eq!(due, Some(now + MS * 1_100));
    assert_eq!(scaler.decide(load(limit, 12, 40), now + MS * 1_099), 12);
    assert_eq!(scaler.decide(load(limit, 12, 40), now + MS * 1_100), 52);
}

#[test]
fn what_was_not_used_for_the_idle_time_goes_but_for_one_in_eight() {
    let now = start();
    let mut scaler = waiting(2, now);
    let limit = scaler.decide(load(2, 2, 48), now + MS * 100);
    assert_eq!(limit, 50);
    let grown = now + MS * 100;
    scaler.started(50);
    // In use at least once: it stays for this time.
    let due = scaler.due(limit, grown).unwrap();
    assert_eq!(due, grown + SECOND * 300);
    assert_eq!(scaler.decide(load(limit, 3, 0), due), 50);
    scaler.started(16);
    let due = scaler.due(limit, due).unwrap();
    assert_eq!(scaler.decide(load(limit, 3, 0), due), 18);
    let due = scaler.due(18, due).unwrap();
    assert_eq!(scaler.decide(load(18, 0, 0), due), 4, "three were in use when it last looked");
}

#[test]
fn a_time_before_the_last_one_harms_nobody() {
    let now = start() + SECOND;
    let mut scaler = waiting(2, now);
    assert_eq!(scaler.decide(load(2, 2, 10), now - SECOND), 2);
    let mut tuner = Tuner::new(1, 100, Vegas::default(), now);
    let sample = Sample { took: SECOND * 5, is_dropped: false, in_flight: 1 };
    for _ in 0..200 {
        assert!((1..=100).contains(&tuner.sample(sample, now - SECOND)));
    }
}

/// Calls that all take as long, at a limit that is always used up.
fn calls(tuner: &mut Tuner<Vegas>, now: &mut Instant, n: u32, took: impl Fn(u32) -> Duration) {
    for _ in 0..n {
        let limit = tuner.limit();
        *now += took(limit) / limit;
        tuner.sample(Sample { took: took(limit), is_dropped: false, in_flight: limit }, *now);
    }
}

#[test]
fn while_throughput_follows_the_limit_it_grows_to_its_maximum_and_no_further() {
    let mut now = start();
    let mut tuner = Tuner::new(1, 300, Vegas::default(), now);
    calls(&mut tuner, &mut now, 20_000, |_| MS * 100);
    assert_eq!(tuner.limit(), 300);
}

#[test]
fn it_stays_near_the_knee() {
    let mut now = start();
    let mut tuner = Tuner::new(1, 1_000, Vegas::default(), now);
    let knee = |limit: u32| MS * 100 * limit.max(40) / 40;
    calls(&mut tuner, &mut now, 20_000, knee);
    for _ in 0..100 {
        calls(&mut tuner, &mut now, 100, knee);
        assert!((36..=48).contains(&tuner.limit()), "{}", tuner.limit());
    }
}

#[test]
fn a_limit_that_nobody_uses_up_stays_what_it_is() {
    let mut now = start();
    let mut tuner = Tuner::new(10, 1_000, Vegas::default(), now);
    for _ in 0..10_000 {
        now += MS;
        tuner.sample(Sample { took: MS * 5, is_dropped: false, in_flight: 5 }, now);
        assert_eq!(tuner.limit(), 10);
    }
}

#[test]
fn of_what_is_dropped_half_its_share_goes() {
    let mut now = start();
    let mut tuner = Tuner::new(1, 64, Vegas::default(), now);
    calls(&mut tuner, &mut now, 20_000, |_| MS * 100);
    assert_eq!(tuner.limit(), 64);
    let mut ended = 0;
    while tuner.limit() == 64 {
        ended += 1;
        assert!(ended < 1_000);
        now += MS * 2;
        let sample = Sample { took: MS * 100, is_dropped: ended % 4 == 0, in_flight: 64 };
        tuner.sample(sample, now);
    }
    // Less an eighth, for a quarter.
    assert!((55..=57).contains(&tuner.limit()), "{}", tuner.limit());
}

#[test]
fn after_a_change_with_a_cool_down_for_ever_nothing_is_due() {
    let now = start();
    let config = Autoscale::between(2, 64).with_cool_down(Duration::MAX);
    let mut scaler = Autoscaler::new(config);
    assert!(scaler.waits(2));
    let due = scaler.due(2, now).unwrap();
    let limit = scaler.decide(load(2, 2, 20), due);
    assert!(limit > 2);
    scaler.waits(limit);
    assert_eq!(scaler.due(limit, due + MS), None);
}
