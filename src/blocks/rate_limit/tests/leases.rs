//! Tokens taken ahead by stripes of threads.

use std::sync::atomic::{AtomicU64, Ordering};

use super::waiting::Sim;
use super::*;
use crate::ground::priority::Priority::Normal;

fn leased(quota: Quota) -> (RateLimiter, Instant) {
    let now = time::now();
    let config = RateLimiterConfig::from(quota).with_tokens(Tokens::Leased);
    (RateLimiter::new(config).unwrap(), now)
}

#[test]
fn small_bursts_are_not_leased_from() {
    let config = |burst| {
        let quota = Quota::per_second(10).with_burst(burst);
        RateLimiter::new(RateLimiterConfig::from(quota).with_tokens(Tokens::Leased))
    };
    let error = config(127).unwrap_err().to_string();
    assert!(
        error.starts_with("rate_limit.quota.burst is 127, but must be at least 128"),
        "{error}"
    );
    let limiter = config(128).unwrap();
    assert_eq!(limiter.peek().burst, 96);
    assert!(limiter.set_quota(Quota::per_second(10).with_burst(100)).is_err());
    assert!(limiter.try_acquire(97).is_err() && limiter.try_acquire(96).is_ok());
}

#[test]
fn at_one_instant_threads_take_all_that_is_there_and_no_more() {
    for (burst, there) in [(128, 96), (1_000, 752), (100_000, 99_488)] {
        let (limiter, now) = leased(Quota::new(burst, DAY));
        let take = |n| (0..n).filter(|_| limiter.try_acquire_at(1, now).is_ok()).count();
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| take(30_000))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken + take(1_000), there, "none is left in a lease");
        assert_eq!(limiter.peek().available, 0);
    }
}

#[test]
fn under_threads_no_more_than_burst_and_rate_and_hardly_less() {
    let quota = Quota::per_second(100_000).with_burst(500);
    let (limiter, start) = leased(quota);
    let clock = AtomicU64::new(0);
    let ask = || {
        let mut admitted = 0_u64;
        loop {
            let us = clock.fetch_add(1, Ordering::Relaxed);
            if us >= 300_000 {
                return admitted;
            }
            let now = start + Duration::from_micros(us);
            admitted += u64::from(limiter.try_acquire_at(1, now).is_ok());
        }
    };
    let admitted: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    // 300 ms at 100,000/s beside the burst.
    assert!((30_000..=30_500).contains(&admitted), "{admitted}");
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(256))]

    /// In every window, whichever stripes ask and however the quota changes: an exact bucket of the
    /// whole burst that is charged what was admitted never goes below zero; and nobody is refused
    /// while there is something in a lease.
    #[test]
    fn leased_or_not_no_more_than_an_exact_bucket(
        steps in prop::collection::vec((0_usize..5, 0_u32..12, 0_u64..3_000, 0_u8..40), 1..400),
    ) {
        let quota = |rate: u8| Quota::per_second(1_000 + 100 * u32::from(rate))
            .with_burst(128 + 17 * u32::from(rate));
        let (limiter, start) = leased(quota(10));
        let leases = limiter.leases.as_ref().unwrap();
        let mut exact = Exact::new(quota(10), start);
        let mut now = start;
        for (stripe, cost, us, op) in steps {
            now += Duration::from_micros(us);
            exact.advance(now);
            match op {
                0..4 => {
                    limiter.set_quota_at(quota(op), now).unwrap();
                    prop_assert_eq!(leases.held(), 0);
                    // A second holds as many parts whatever the rate.
                    exact.quota = quota(op);
                    exact.level = exact.level.min(exact.full());
                }
                4 => limiter.refund_at(0, now),
                _ => {}
            }
            match limiter.take_leased(leases, stripe, cost, now) {
                Ok(()) => {
                    exact.take(cost);
                    prop_assert!(exact.level >= 0, "over-burst");
                }
                Err(_) => prop_assert_eq!(leases.held(), 0),
            }
            let lease = u32::from(limiter.bucket.lease().1);
            prop_assert!(leases.held() <= 8 * lease);
        }
    }
}

#[test]
fn who_waits_gets_what_lies_in_leases() {
    let (limiter, now) = leased(Quota::new(128, DAY));
    let leases = limiter.leases.as_ref().unwrap();
    for stripe in 0..8 {
        limiter.take_leased(leases, stripe, 1, now).unwrap();
    }
    assert_eq!((leases.held(), limiter.peek().available), (8 * 4, 96 - 8));
    let mut sim = Sim::new(now);
    sim.enter(&limiter, 88, Normal);
    assert_eq!(sim.order(), [0], "nothing was lost by leasing");
    sim.enter(&limiter, 1, Normal);
    assert_eq!(sim.timers(), 1);
    assert!(limiter.try_acquire_at(1, now).is_err());
    sim.finish();
    assert_eq!(sim.now, now + DAY / 128);
}

#[test]
fn a_change_recalls_what_is_leased_and_what_is_still_coming() {
    let (limiter, now) = leased(Quota::new(128, DAY));
    let leases = limiter.leases.as_ref().unwrap();
    limiter.take_leased(leases, 3, 1, now).unwrap();
    let (tag, lease) = limiter.bucket.lease();
    let room = leases.reserve(5, tag, u32::from(lease));
    assert_eq!((room, leases.reserve(5, tag, u32::from(lease))), (4, 0), "one at a time");
    let came = limiter.bucket.take_more(now, 1, room, tag).unwrap();
    limiter.set_quota_at(Quota::new(1_000, DAY), now).unwrap();
    assert_eq!(leases.held(), 0);
    assert_eq!(leases.fill(5, tag, room, came), 4, "homeless");
    limiter.bucket.give_back(now, 4);
    assert!(matches!(limiter.bucket.take_more(now, 1, 31, tag), Ok(0)), "none by the former quota");
    assert!(limiter.try_acquire_at(94, now).is_err());
    assert!(limiter.try_acquire_at(93, now).is_ok(), "96 but for three");
}

#[test]
fn what_comes_four_changes_late_finds_no_room() {
    let leases = crate::rate_limit::leases::Leases::default();
    let room = leases.reserve(0, 0, 8);
    assert_eq!((room, leases.recall_for(4)), (8, 0));
    assert_eq!(leases.reserve(0, 4, 8), 8, "the same place of the bucket, and another quota");
    assert_eq!(leases.fill(0, 0, room, room), 8, "all of it goes back");
    assert_eq!(leases.fill(0, 4, 8, 8), 0);
    assert_eq!(leases.held(), 8);
}

#[test]
fn who_holds_a_lock_takes_no_lease_and_so_wakes_nobody() {
    let (limiter, now) = leased(Quota::new(128, DAY));
    let leases = limiter.leases.as_ref().unwrap();
    limiter.try_acquire_unleased_at(1, now).unwrap();
    assert_eq!((leases.held(), limiter.peek().available), (0, 95));
    limiter.try_acquire_at(1, now).unwrap();
    assert_eq!(leases.held(), 4);
    limiter.try_acquire_unleased_at(94, now).unwrap();
    assert_eq!(leases.held(), 0, "what lies in leases is there for it");
    assert!(limiter.try_acquire_unleased_at(1, now).is_err());
}
