//! What is kept, and what goes.

use std::time::Duration;

use super::*;
use crate::ground::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_is_set_is_there_until_its_time() {
    let cache = cache(CacheConfig::default().with_ttl(Some(SECOND)).with_jitter_ratio(0.0));
    let now = Instant::now();
    cache.set_at(1, 10, now);
    assert_eq!(cache.get_at(&1, now + SECOND - Duration::from_nanos(1)), Some(10));
    assert_eq!(cache.get_at(&1, now + SECOND), None);
    let seen = cache.snapshot();
    assert_eq!((seen.hits, seen.misses, seen.expired, seen.entries), (1, 1, 1, 0));
    assert_eq!(seen.hit_ratio(), Some(0.5));
}

#[test]
fn who_is_looked_at_lives_and_who_idles_goes() {
    let idle = Some(10 * SECOND);
    let cache = cache(CacheConfig::default().with_ttl(None).with_idle(idle));
    let now = Instant::now();
    cache.set_many_at([(1, 10), (2, 20)], now);
    (1..=10).for_each(|n| assert_eq!(cache.get_at(&1, now + n * 9 * SECOND), Some(10)));
    assert_eq!(cache.get_at(&2, now + 10 * SECOND), None);
}

#[test]
fn many_are_given_in_their_order() {
    let cache = cache(CacheConfig::default());
    cache.set_many([(1, 10), (3, 30)]);
    assert_eq!(cache.get_many(&[3, 2, 1]), [Some(30), None, Some(10)]);
}

#[test]
fn the_weight_is_kept_and_what_is_pushed_out_is_counted() {
    let config = CacheConfig::default().with_capacity(1_000).with_expected_entries(100);
    let cache: Cache<u32, Vec<u8>> = Cache::builder(config.with_shards(1))
        .weigher(|_, value: &Vec<u8>| value.len() as u64)
        .build()
        .unwrap();
    for key in 0..100 {
        cache.set(key, vec![0; 50]);
        assert!(cache.snapshot().weight <= 1_000);
    }
    let seen = cache.snapshot();
    assert_eq!((seen.entries as u64 + seen.evicted, seen.weight), (100, 50 * seen.entries as u64));
    cache.set(200, vec![0; 990]);
    assert_eq!(cache.get(&200), None, "heavier than 0.97 of its part");
}

#[test]
fn the_one_that_is_replaced_is_no_eviction() {
    let cache = cache(CacheConfig::default());
    cache.set(1, 10);
    cache.set(1, 11);
    assert_eq!((cache.get(&1), cache.snapshot().evicted), (Some(11), 0));
    assert!(cache.remove(&1) && !cache.remove(&1));
    cache.set(1, 12);
    cache.clear();
    assert_eq!((cache.get(&1), cache.snapshot().entries), (None, 0));
}

#[test]
fn an_error_is_remembered_for_as_long_as_it_is_worth() {
    let worth = |error: &LoadError| error.downcast_ref::<NoSuchThing>().map(|_| SECOND);
    let cache: Cache<u32, u32> =
        Cache::builder(CacheConfig::default()).negative(worth).build().unwrap();
    let fail = || async { Err::<u32, _>(NoSuchThing) };
    let error = at_once(cache.get_or_load(&1, fail)).unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&NoSuchThing));
    let unasked = || -> std::future::Ready<Result<u32, NoSuchThing>> { panic!("it is remembered") };
    assert!(at_once(cache.get_or_load(&1, unasked)).is_err());
    assert_eq!(cache.get_at(&1, Instant::now()), None);
    assert_eq!((cache.snapshot().negative_hits, cache.snapshot().failed), (2, 1));
    assert_eq!(cache.get_at(&1, Instant::now() + 2 * SECOND), None);
    assert_eq!(at_once(cache.get_or_load(&1, || ok(5))).unwrap(), 5);
    // Of another kind: not worth it.
    let other = || async { Err::<u32, _>(std::io::Error::other("busy")) };
    assert!(at_once(cache.get_or_load(&2, other)).is_err());
    assert_eq!(at_once(cache.get_or_load(&2, || ok(6))).unwrap(), 6);
}

/// A value's own code runs, and may use the cache, under none of its locks.
#[test]
fn values_that_use_the_cache_when_they_are_dropped_or_cloned_hang_nothing() {
    struct Nosy(u32, Cache<u32, Nosy>);
    impl Clone for Nosy {
        fn clone(&self) -> Self {
            self.1.remove(&99);
            Self(self.0, self.1.clone())
        }
    }
    impl Drop for Nosy {
        fn drop(&mut self) {
            (0..8).for_each(|key| drop(self.1.table.peek(&key)));
            self.1.remove(&99);
        }
    }
    let config = CacheConfig::default().with_capacity(4).with_expected_entries(4);
    let cache: Cache<u32, Nosy> = Cache::new(config).unwrap();
    for n in 0..20 {
        cache.set(n % 8, Nosy(n, cache.clone()));
        cache.get(&(n % 8));
        let made = Nosy(n, cache.clone());
        let load = || async { Ok::<_, NoSuchThing>(made) };
        let _ = at_once(cache.get_or_load(&(n % 5), load));
    }
    cache.clear();
    assert_eq!(cache.snapshot().entries, 0);
}
