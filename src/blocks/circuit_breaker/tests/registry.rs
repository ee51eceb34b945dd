//! A breaker for each key.

use super::*;

fn registry(max: usize) -> BreakerRegistry<u32> {
    let config = BreakerRegistryConfig::default()
        .with_breaker(plain())
        .with_max_keys(std::num::NonZeroUsize::new(max).unwrap())
        .with_idle_after(60 * S);
    BreakerRegistry::new(config).unwrap()
}

#[test]
fn each_key_has_its_own_and_the_same_again() {
    let breakers = registry(10);
    let now = time::now();
    calls(&breakers.get_at(&1, now), Failure, 10, now);
    assert_eq!(breakers.get_at(&1, now).state_at(now), State::Open);
    assert_eq!(breakers.get_at(&2, now).state_at(now), State::Closed);
    let mut seen: Vec<_> = breakers.snapshot().into_iter().map(|(k, s)| (k, s.state)).collect();
    seen.sort_by_key(|(key, _)| *key);
    assert_eq!(seen, [(1, State::Open), (2, State::Closed)]);
}

#[test]
fn keys_beyond_the_bound_share_and_go_unwatched_by_nobody() {
    let breakers = registry(10);
    let now = time::now();
    let all: Vec<_> = (0..10_000).map(|key| breakers.get_at(&key, now)).collect();
    assert_eq!(breakers.len(), 10);
    calls(&all[9_999], Failure, 10, now);
    assert_eq!(breakers.get_at(&9_999, now).state_at(now), State::Open, "the same one again");
    let open = (10..10_000).filter(|key| breakers.get_at(key, now).state_at(now) == State::Open);
    let open = open.count();
    assert!((50..=400).contains(&open), "one of 64 is open: {open}");
    assert!((0..10).all(|key| breakers.get_at(&key, now).state_at(now) == State::Closed));
}

#[test]
fn who_is_idle_makes_place_and_who_is_held_stays() {
    let breakers = registry(100);
    let start = time::now();
    let held = breakers.get_at(&0, start);
    (1..100).for_each(|key| drop(breakers.get_at(&key, start)));
    let now = start + 60 * S;
    (1_000..1_099).for_each(|key| drop(breakers.get_at(&key, now)));
    let keys: Vec<_> = breakers.snapshot().into_iter().map(|(key, _)| key).collect();
    assert!(keys.len() <= 100 && keys.contains(&0) && keys.contains(&1_098));
    calls(&held, Failure, 10, now);
    assert_eq!(breakers.get_at(&0, now).state_at(now), State::Open);
    assert_eq!(breakers.forgotten(), 99);
}

#[test]
fn an_open_circuit_is_not_forgotten_while_a_closed_one_can_be() {
    let breakers = registry(10);
    let start = time::now();
    calls(&breakers.get_at(&0, start), Failure, 10, start);
    (1..10).for_each(|key| drop(breakers.get_at(&key, start)));
    let now = start + 3_600 * S;
    (100..109).for_each(|key| drop(breakers.get_at(&key, now)));
    assert_eq!((breakers.forgotten(), breakers.len()), (9, 10));
    assert_eq!(breakers.get_at(&0, now).state_at(now), State::HalfOpen, "to be tried first");
}

#[test]
fn of_open_circuits_only_the_one_that_nobody_asked_for_the_longest_makes_place() {
    let breakers = registry(10);
    let start = time::now();
    for key in 0..10 {
        calls(&breakers.get_at(&key, start + key * S), Failure, 10, start + key * S);
    }
    let now = start + 3_600 * S;
    let came = (100..120).position(|key| {
        drop(breakers.get_at(&key, now));
        breakers.forgotten() == 1
    });
    assert!(came.is_some_and(|came| came <= 6), "within two laps: {came:?}");
    let mut keys: Vec<_> = breakers.snapshot().into_iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    assert!((1..10).all(|key| keys.contains(&key)) && !keys.contains(&0), "{keys:?}");
}

#[test]
fn what_somebody_forced_is_never_forgotten() {
    let breakers = registry(2);
    let start = time::now();
    breakers.get_at(&0, start).force_open();
    breakers.get_at(&1, start).force_closed();
    let now = start + 3_600 * S;
    (100..200).for_each(|key| drop(breakers.get_at(&key, now)));
    assert_eq!((breakers.forgotten(), breakers.len()), (0, 2));
    assert_eq!(breakers.get_at(&0, now).state_at(now), State::Open);
}

#[test]
fn an_impossible_breaker_is_named() {
    let config = BreakerRegistryConfig::default()
        .with_breaker(CircuitBreakerConfig::default().with_failure_ratio(2.0));
    let error = BreakerRegistry::<u32>::new(config).unwrap_err().to_string();
    assert!(error.starts_with("circuit_breaker.failure_ratio is 2"), "{error}");
}
