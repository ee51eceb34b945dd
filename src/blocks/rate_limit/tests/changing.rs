//! Quotas that change while they are used, of all and of single keys.

use std::sync::atomic::{AtomicBool, Ordering};

use super::waiting::Sim;
use super::*;
use crate::ground::priority::Priority::{High, Low, Normal};

#[test]
fn a_change_gives_no_token_and_takes_none_but_what_is_above_the_burst() {
    let (limiter, now) = limiter(Quota::per_second(10).with_burst(10));
    limiter.set_quota_at(Quota::per_second(100).with_burst(100), now).unwrap();
    assert!(limiter.try_acquire_at(11, now).is_err(), "idle or not, a greater burst must fill");
    assert!(limiter.try_acquire_at(10, now).is_ok());
    let soon = now + 100 * MS;
    assert!(limiter.try_acquire_at(11, soon).is_err());
    assert!(limiter.try_acquire_at(5, soon).is_ok(), "by the new rate");

    limiter.set_quota_at(Quota::new(4, DAY), soon).unwrap();
    assert!(limiter.try_acquire_at(5, soon).is_err());
    assert!(limiter.try_acquire_at(4, soon).is_ok(), "one of five was above the new burst");
    assert_eq!(earliest(limiter.try_acquire_at(1, soon)), soon + DAY / 4);

    limiter.set_quota_at(Quota::per_second(4), soon).unwrap();
    assert_eq!(earliest(limiter.try_acquire_at(1, soon)), soon + S / 4);
    for wrong in [Quota::per_second(0), Quota::per_second(1).with_burst(0)] {
        assert!(limiter.set_quota_at(wrong, soon).is_err());
    }
    assert_eq!(earliest(limiter.try_acquire_at(4, soon)), soon + S, "and nothing has changed");
}

#[test]
fn a_part_of_a_token_survives() {
    let (limiter, now) = limiter(Quota::new(1, DAY));
    limiter.try_acquire_at(1, now).unwrap();
    let half = now + DAY / 2;
    limiter.set_quota_at(Quota::per_second(1), half).unwrap();
    assert_eq!(earliest(limiter.try_acquire_at(1, half)), half + S / 2);
}

/// Any quota that its own arithmetic tells exactly: a token is so many whole nanoseconds.
fn round_quotas() -> impl Strategy<Value = Quota> {
    let rates = prop::sample::select(vec![1_u32, 2, 10, 125, 1_000, 50_000, 1_000_000, 10_000_000]);
    let fast =
        (rates, 1_u32..300).prop_map(|(rate, burst)| Quota::per_second(rate).with_burst(burst));
    let slow = (1_u32..300).prop_map(|burst| Quota::new(24, DAY).with_burst(burst));
    prop_oneof![fast, slow]
}

/// So many parts of a token that every round quota gains whole ones in a nanosecond.
const PARTS: i128 = 86_400_000_000_000;

/// A bucket in exact numbers whose quota changes.
struct Changing {
    quota: Quota,
    level: i128,
    at: Instant,
}

impl Changing {
    fn advance(&mut self, now: Instant) {
        let gone = (now - self.at).as_nanos() as i128;
        let gain = PARTS * i128::from(self.quota.rate) / self.quota.period.as_nanos() as i128;
        self.at = now;
        self.level = (self.level + gone * gain).min(self.full());
    }

    fn full(&self) -> i128 {
        i128::from(self.quota.burst) * PARTS
    }

    fn change(&mut self, quota: Quota) {
        self.quota = quota;
        self.level = self.level.min(self.full());
    }
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(256))]

    /// Whatever it is changed to and when: never more than an exact bucket that is changed alike,
    /// and less by no more than the rounding of each change.
    #[test]
    fn changed_at_any_time_it_keeps_to_an_exact_bucket(
        first in round_quotas(),
        steps in prop::collection::vec(
            (0_u32..40, 0_u64..3_000_000_000, prop::option::weighted(0.2, round_quotas())),
            1..200,
        ),
    ) {
        let (limiter, start) = limiter(first);
        let config = TieredQuota::default()
            .with_global(Quota::per_second(10_000_000).with_burst(u32::MAX))
            .with_per_key(first);
        let tiered = TieredRateLimiter::<u32>::new(config).unwrap();
        // A key that was never used would be new at the first change.
        tiered.try_acquire_at(&7, 1, start).unwrap();
        limiter.try_acquire_at(1, start).unwrap();
        let mut exact = Changing { quota: first, level: 0, at: start };
        exact.level = exact.full() - PARTS;
        let (mut now, mut changes) = (start, 0);
        for (cost, gap, quota) in steps {
            now += Duration::from_nanos(gap >> (gap % 30));
            exact.advance(now);
            if let Some(quota) = quota {
                limiter.set_quota_at(quota, now).unwrap();
                match changes % 3 {
                    0 => tiered.set_key_quota_at(7, quota, now).unwrap(),
                    _ => {
                        // The key is in between by a quota that it never uses.
                        tiered.set_per_key_quota_at(quota, now).unwrap();
                        tiered.clear_key_quota_at(&7, now);
                    }
                }
                exact.change(quota);
                changes += 1;
            }
            let cost = cost.min(exact.quota.burst);
            let want = i128::from(cost) * PARTS;
            // A change costs up to a nanosecond of each of the two rates.
            let lost = i128::from(changes) * PARTS / 2_500;
            let taken = limiter.try_acquire_at(cost, now);
            let keyed = tiered.try_acquire_at(&7, cost, now);
            prop_assert!(exact.level >= want || taken.is_err() && keyed.is_err(), "too much");
            prop_assert!(exact.level < want + lost || taken.is_ok(), "too little");
            prop_assert_eq!(taken.is_ok(), keyed.is_ok());
            if taken.is_ok() {
                exact.level -= want;
            }
        }
    }
}

#[test]
fn whoever_takes_meanwhile_takes_no_more_than_there_is() {
    const THREADS: u32 = 3;
    // In coarse units and in fine ones, over and over, while time stands still.
    let quotas = [Quota::new(500, DAY), Quota::per_second(10_000).with_burst(400)];
    for _ in 0..5 {
        let (limiter, now) = limiter(Quota::new(500, DAY));
        let is_over = AtomicBool::new(false);
        let admitted = std::thread::scope(|scope| {
            let taking: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        let mut admitted = 0;
                        while !is_over.load(Ordering::Relaxed) {
                            admitted += u32::from(limiter.try_acquire_at(1, now).is_ok());
                        }
                        admitted
                    })
                })
                .collect();
            for quota in quotas.iter().cycle().take(101) {
                limiter.set_quota_at(*quota, now).unwrap();
                std::thread::yield_now();
            }
            is_over.store(true, Ordering::Relaxed);
            taking.into_iter().map(|taking| taking.join().unwrap()).sum::<u32>()
        });
        assert!(admitted <= 500, "{admitted}");
    }
}

#[test]
fn who_waits_is_told_of_the_new_quota() {
    let (limiter, now) = limiter(Quota::new(5, DAY));
    limiter.try_acquire_at(5, now).unwrap();
    let mut sim = Sim::new(now);
    sim.enter(&limiter, 5, High);
    sim.enter(&limiter, 2, Normal);
    limiter.set_quota_at(Quota::per_second(10).with_burst(4), now).unwrap();
    sim.settle();
    let never = AcquireError::TooLarge { cost: 5, burst: 4 };
    assert_eq!(sim.done, [(0, now, Err(never))], "the other has the turn");
    sim.finish();
    assert_eq!(sim.done[1], (1, now + 200 * MS, Ok(())));
    assert_eq!(limiter.snapshot().waiting, 0);
}

fn tiered_limiter(per_key: Quota, keys: usize) -> (TieredRateLimiter<u32>, Instant) {
    let now = time::now();
    let config = TieredQuota::default()
        .with_global(Quota::per_second(1_000_000).with_burst(1_000_000))
        .with_per_key(per_key)
        .with_max_keys(NonZeroUsize::new(keys).unwrap());
    (TieredRateLimiter::new(config).unwrap(), now)
}

#[test]
fn who_waits_for_a_key_or_for_all_is_told_of_the_new_quota() {
    let slow = Quota::new(1, DAY);
    let config = TieredQuota::default().with_global(slow).with_per_key(slow);
    let now = time::now();
    let limiter = TieredRateLimiter::<u32>::new(config).unwrap();
    limiter.try_acquire_at(&1, 1, now).unwrap();
    let mut sim = Sim::new(now);
    for key in [&1, &2, &3, &4] {
        sim.enter_key(&limiter, key, 1, Normal);
    }
    limiter.set_global_quota_at(Quota::per_second(10).with_burst(1), now).unwrap();
    sim.settle();
    (0..10).for_each(|_| sim.advance(100 * MS));
    assert_eq!(sim.order(), [1, 2, 3], "their keys let them, the first one's does not");
    limiter.set_key_quota_at(1, Quota::new(1, S), now + S).unwrap();
    sim.settle();
    sim.finish();
    assert_eq!((sim.done[3].0, sim.done[3].2), (0, Ok(())));
    let early = now + 2 * S - sim.done[3].1;
    assert!(early < 12 * Duration::from_micros(1), "what came in the first second: {early:?}");

    limiter.try_acquire_at(&5, 1, sim.now + S).unwrap();
    sim.enter_key(&limiter, &5, 1, Normal);
    limiter.set_per_key_quota_at(Quota::per_second(1), sim.now).unwrap();
    sim.settle();
    sim.finish();
    assert!(sim.now - now < 5 * S);
}

#[test]
fn a_key_may_have_a_quota_of_its_own() {
    let (limiter, now) = tiered_limiter(Quota::per_second(10), 100_000);
    limiter.set_key_quota_at(1, Quota::per_second(1_000), now).unwrap();
    assert!(limiter.try_acquire_at(&1, 1_000, now).is_ok(), "a new one has its burst");
    assert_eq!(
        limiter.try_acquire_at(&2, 11, now),
        Err(TryAcquireError::TooLarge { cost: 11, burst: 10 })
    );

    limiter.try_acquire_at(&3, 10, now).unwrap();
    limiter.set_key_quota_at(3, Quota::per_second(1_000), now).unwrap();
    assert!(limiter.try_acquire_at(&3, 1, now).is_err(), "a spent one stays spent");
    assert!(limiter.try_acquire_at(&3, 500, now + S / 2).is_ok());
    limiter.clear_key_quota_at(&3, now + S / 2);
    assert!(limiter.try_acquire_at(&3, 1, now + S / 2).is_err());
    assert!(limiter.try_acquire_at(&3, 1, now + S / 2 + 100 * MS).is_ok());
    limiter.clear_key_quota_at(&4, now);
    assert!(limiter.set_key_quota_at(4, Quota::per_second(0), now).is_err());
}

#[test]
fn a_quota_for_every_key_reaches_every_key_and_spares_those_with_their_own() {
    let (limiter, now) = tiered_limiter(Quota::new(2, DAY), 100_000);
    for key in 0..20_000 {
        limiter.try_acquire_at(&key, 1 + key % 2, now).unwrap();
    }
    limiter.set_key_quota_at(0, Quota::new(5, DAY), now).unwrap();
    limiter.set_per_key_quota_at(Quota::per_second(4).with_burst(3), now).unwrap();
    for key in 1..20_000 {
        assert!(limiter.try_acquire_at(&key, 2, now).is_err());
        let one_more = limiter.try_acquire_at(&key, 1, now);
        assert_eq!(one_more.is_ok(), key % 2 == 0, "{key} has what it had: {one_more:?}");
    }
    assert!(limiter.try_acquire_at(&20_000, 3, now).is_ok(), "new, by the new quota");
    assert!((1..20_000).all(|key| limiter.try_acquire_at(&key, 3, now + S).is_ok()));
    assert!(limiter.try_acquire_at(&0, 2, now + S).is_err());
    assert_eq!(earliest(limiter.try_acquire_at(&0, 2, now + S)), now + DAY / 5);
}

#[test]
fn a_key_with_a_quota_of_its_own_is_not_forgotten_and_counts() {
    let (limiter, now) = tiered_limiter(Quota::per_second(10), 8);
    for key in 0..8 {
        limiter.set_key_quota_at(key, Quota::per_second(100), now).unwrap();
    }
    let error = limiter.set_key_quota_at(8, Quota::per_second(100), now).unwrap_err().to_string();
    assert!(error.starts_with("rate_limit.max_keys is 8, but must be more"), "{error}");
    let later = now + DAY;
    for key in 100..1_000 {
        let _ = limiter.try_acquire_at(&key, 1, later);
    }
    assert_eq!(limiter.snapshot().keys, 8);
    assert!((0..8).all(|key| limiter.try_acquire_at(&key, 100, later).is_ok()));
    limiter.clear_key_quota_at(&3, later);
    limiter.set_key_quota_at(5, Quota::per_second(50), later).unwrap();
    let much_later = later + DAY;
    for key in 100..1_000 {
        let _ = limiter.try_acquire_at(&key, 1, much_later);
    }
    assert!(limiter.try_acquire_at(&3, 11, much_later).is_err(), "one of the others again");
    assert!(limiter.try_acquire_at(&5, 50, much_later).is_ok());
}

#[test]
fn a_debt_in_a_shared_bucket_comes_along_to_a_quota_of_its_own() {
    let (limiter, now) = tiered_limiter(Quota::per_second(1).with_burst(10), 1);
    limiter.try_acquire_at(&1, 1, now).unwrap();
    limiter.try_acquire_at(&2, 10, now).unwrap();
    let later = now + 2 * S;
    limiter.set_key_quota_at(2, Quota::per_second(10), later).unwrap();
    assert!(limiter.try_acquire_at(&2, 3, later).is_err());
    assert!(limiter.try_acquire_at(&2, 2, later).is_ok());
}

#[test]
fn who_may_not_wait_so_long_is_told_at_once_or_when_it_has() {
    let (limiter, now) = limiter(Quota::per_second(10).with_burst(5));
    limiter.try_acquire_at(5, now).unwrap();
    let mut sim = Sim::new(now);
    let expired = |id, at| (id, at, Err(AcquireError::Expired));
    sim.enter_until(&limiter, 5, Low, now + 499 * MS);
    assert_eq!(sim.done, [expired(0, now)], "even alone it would take 500 ms");
    assert_eq!(sim.timers(), 0);

    sim.enter_until(&limiter, 5, Normal, now + 500 * MS);
    sim.enter_until(&limiter, 1, Normal, now + 500 * MS);
    sim.enter(&limiter, 1, Normal);
    sim.finish();
    let served = |id, ms: u32| (id, now + ms * MS, Ok(()));
    assert_eq!(sim.done[1..], [served(1, 500), expired(2, now + 500 * MS), served(3, 600)]);
    assert_eq!(limiter.snapshot().waiting, 0);
}

#[test]
fn the_head_that_has_waited_too_long_hands_over() {
    let now = time::now();
    let quota = Quota::per_second(10).with_burst(5);
    let config = TieredQuota::default().with_global(quota).with_per_key(quota);
    let limiter = TieredRateLimiter::<u32>::new(config).unwrap();
    limiter.try_acquire_at(&1, 5, now).unwrap();
    let mut sim = Sim::new(now);
    sim.enter_key_until(&limiter, &2, 5, High, now + 450 * MS);
    assert_eq!(sim.done, [(0, now, Err(AcquireError::Expired))], "of all, not of its key");
    sim.enter_key_until(&limiter, &2, 4, High, now + 450 * MS);
    sim.enter_key(&limiter, &3, 5, Low);
    // Somebody before it, as far as it knows.
    limiter.bucket.take(now + 400 * MS, 4).unwrap();
    sim.finish();
    assert_eq!(sim.done[1], (1, now + 450 * MS, Err(AcquireError::Expired)));
    assert_eq!(sim.done[2], (2, now + 900 * MS, Ok(())));
    assert_eq!(limiter.snapshot().waiting, 0);
}

#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn the_longest_wait_is_that_of_the_configuration_or_of_the_call() {
    let quota = Quota::per_second(1).with_burst(3);
    let config = RateLimiterConfig::from(quota).with_max_wait(2 * S);
    let limiter = RateLimiter::new(config).unwrap();
    limiter.acquire(3, Normal).await.unwrap();
    let start = time::now();
    assert_eq!(limiter.acquire(3, Normal).await, Err(AcquireError::Expired));
    assert_eq!(time::now(), start);
    let (first, second) = tokio::join!(limiter.acquire(2, Normal), limiter.acquire(1, Normal));
    assert_eq!((first, second), (Ok(()), Err(AcquireError::Expired)));
    assert_eq!(time::now(), start + 2 * S);
    limiter.acquire_within(3, Normal, 3 * S).await.unwrap();

    let config = TieredQuota::default().with_per_key(quota).with_max_wait(S);
    let tiered = TieredRateLimiter::<String>::new(config).unwrap();
    tiered.acquire("a", 3, Normal).await.unwrap();
    assert_eq!(tiered.acquire("a", 2, Normal).await, Err(AcquireError::Expired));
    tiered.acquire_within("a", 2, Normal, 2 * S).await.unwrap();
    assert_eq!(time::now(), start + 7 * S);
}
