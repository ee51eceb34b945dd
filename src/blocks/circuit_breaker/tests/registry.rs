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
fn an_impossible_breaker_is_named() {
    let config = BreakerRegistryConfig::default()
        .with_breaker(CircuitBreakerConfig::default().with_failure_ratio(2.0));
    let error = BreakerRegistry::<u32>::new(config).unwrap_err().to_string();
    assert!(error.starts_with("circuit_breaker.failure_ratio is 2"), "{error}");
}
