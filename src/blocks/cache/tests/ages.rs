//! The core, by tables and explicit `now`.

use std::time::Duration;

use super::super::core::{Age, Rules};
use super::*;
use crate::ground::rng::Rng;
use crate::ground::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn rules(config: CacheConfig) -> Rules {
    Rules::of(&config.with_jitter_ratio(0.0))
}

fn config(ttl: u32, stale: u32) -> CacheConfig {
    CacheConfig::default().with_ttl(Some(ttl * SECOND)).with_stale_for(stale * SECOND)
}

#[test]
fn fresh_then_stale_then_gone_each_from_its_instant_on() {
    let (rules, born) = (rules(config(10, 5)), Instant::now());
    let times = rules.value(born, None, &mut Rng::seeded(1));
    let age = |after: Duration| rules.age(&times, born, born + after);
    let ns = Duration::from_nanos(1);
    let table = [
        (Duration::ZERO, Age::Fresh),
        (10 * SECOND - ns, Age::Fresh),
        (10 * SECOND, Age::Stale),
        (15 * SECOND - ns, Age::Stale),
        (15 * SECOND, Age::Gone),
        (Duration::MAX, Age::Gone),
    ];
    for (after, expected) in table {
        assert_eq!(age(after), expected, "{after:?}");
    }
    assert_eq!(rules.age(&times, born, born - 100 * SECOND), Age::Fresh, "a clock that went back");
}

#[test]
fn idling_ends_it_whatever_is_left_of_its_ttl() {
    let (rules, born) = (rules(config(10, 0).with_idle(Some(3 * SECOND))), Instant::now());
    let times = rules.value(born, None, &mut Rng::seeded(1));
    assert_eq!(rules.age(&times, born, born + 2 * SECOND), Age::Fresh);
    assert_eq!(rules.age(&times, born, born + 3 * SECOND), Age::Gone);
    assert_eq!(rules.age(&times, born + 2 * SECOND, born + 4 * SECOND), Age::Fresh);
    assert_eq!(rules.age(&times, born + 9 * SECOND, born + 10 * SECOND), Age::Gone);
}

#[test]
fn without_a_ttl_it_stays_and_what_the_second_tier_says_still_holds() {
    let (rules, born) = (rules(CacheConfig::default().with_ttl(None)), Instant::now());
    let mut rng = Rng::seeded(1);
    let for_ever = rules.value(born, None, &mut rng);
    assert!(rules.is_timeless(&for_ever));
    assert_eq!(rules.age(&for_ever, born, born + Duration::MAX), Age::Fresh);
    let told = rules.value(born, Some(SECOND), &mut rng);
    assert_eq!(rules.age(&told, born, born + SECOND), Age::Gone);
}

#[test]
fn an_error_is_told_no_longer_than_a_value_and_is_never_stale() {
    let (rules, born) = (rules(config(10, 5)), Instant::now());
    for (worth, until) in [(2 * SECOND, 2), (3600 * SECOND, 10)] {
        let times = rules.error(born, worth);
        let last = born + until * SECOND - Duration::from_nanos(1);
        assert_eq!(rules.age(&times, born, last), Age::Fresh);
        assert_eq!(rules.age(&times, born, born + until * SECOND), Age::Gone);
    }
}

#[test]
fn jitter_shortens_by_its_share_at_most_and_spreads() {
    let (rules, born) = (Rules::of(&config(100, 0).with_jitter_ratio(0.2)), Instant::now());
    let mut rng = Rng::seeded(7);
    let lives: Vec<_> =
        (0..1_000).map(|_| rules.value(born, None, &mut rng).fresh_until.unwrap() - born).collect();
    assert!(lives.iter().all(|life| (80 * SECOND..=100 * SECOND).contains(life)));
    let early = lives.iter().filter(|life| **life < 90 * SECOND).count();
    assert!((400..600).contains(&early), "{early}");
}

#[test]
fn what_can_not_be_is_refused_by_name() {
    let config = CacheConfig::default;
    let table = [
        (config().with_capacity(0), "cache.capacity"),
        (config().with_capacity(u64::MAX), "cache.capacity"),
        (config().with_expected_entries(0), "cache.expected_entries"),
        (config().with_shards(0), "cache.shards"),
        (config().with_ttl(Some(Duration::ZERO)), "cache.ttl"),
        (config().with_idle(Some(Duration::ZERO)), "cache.idle"),
        (config().with_jitter_ratio(f64::NAN), "cache.jitter_ratio"),
        (config().with_jitter_ratio(1.1), "cache.jitter_ratio"),
        (config().with_revalidations(1 << 17), "cache.revalidations"),
    ];
    for (config, named) in table {
        let error = Cache::<u32, u32>::new(config).unwrap_err().to_string();
        assert!(error.starts_with(named), "{error}");
    }
}
