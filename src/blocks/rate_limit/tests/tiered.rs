//! Two tiers, and the bounded map of keys.

use std::sync::Arc;

use super::*;

fn tiered<K: Eq + std::hash::Hash>(quota: TieredQuota) -> (TieredRateLimiter<K>, Instant) {
    let now = time::now();
    (TieredRateLimiter::new(quota).unwrap(), now)
}

fn quota(global: u32, per_key: u32) -> TieredQuota {
    TieredQuota::default()
        .with_global(Quota::new(global, DAY))
        .with_per_key(Quota::new(per_key, DAY))
}

fn max(keys: usize) -> NonZeroUsize {
    NonZeroUsize::new(keys).unwrap()
}

fn scope(refused: Result<(), TryAcquireError>) -> Option<Scope> {
    match refused {
        Err(TryAcquireError::RateLimited(limited)) => Some(limited.scope()),
        _ => None,
    }
}

fn words(limiter: &TieredRateLimiter<u32>, key: u32) -> (u64, u64) {
    (limiter.bucket.look().0, limiter.keys.lock(&key).word())
}

#[test]
fn a_refused_abuser_drains_nobodys_global_budget() {
    let (limiter, now) = tiered::<String>(quota(100, 10));
    let abuser = (0..100_000).filter(|_| limiter.try_acquire_at("abuser", 1, now).is_ok()).count();
    assert_eq!(abuser, 10);
    for honest in 0..9 {
        let key = format!("honest {honest}");
        assert!((0..10).all(|_| limiter.try_acquire_at(&key, 1, now).is_ok()));
    }
    assert_eq!(scope(limiter.try_acquire_at("late", 1, now)), Some(Scope::Global));
}

#[test]
fn a_refusal_by_either_tier_leaves_the_other_bit_for_bit() {
    let (limiter, now) = tiered::<u32>(quota(15, 10));
    limiter.try_acquire_at(&1, 10, now).unwrap();
    let before = words(&limiter, 1);
    assert_eq!(scope(limiter.try_acquire_at(&1, 1, now)), Some(Scope::Key));
    assert_eq!(words(&limiter, 1), before);

    limiter.try_acquire_at(&2, 3, now).unwrap();
    let before = words(&limiter, 2);
    assert_eq!(scope(limiter.try_acquire_at(&2, 4, now)), Some(Scope::Global));
    assert_eq!(words(&limiter, 2), before);
    let keys = limiter.snapshot().keys;
    assert_eq!(scope(limiter.try_acquire_at(&3, 4, now)), Some(Scope::Global));
    assert_eq!(limiter.snapshot().keys, keys, "nor is a key remembered for a refusal");
}

/// A borrowed key of which no owned one can be made while this says so.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Touchy(u32);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Owned(Touchy);

impl Clone for Owned {
    fn clone(&self) -> Self {
        Self(Touchy(self.0.0))
    }
}

impl std::borrow::Borrow<Touchy> for Owned {
    fn borrow(&self) -> &Touchy {
        &self.0
    }
}

impl ToOwned for Touchy {
    type Owned = Owned;

    fn to_owned(&self) -> Owned {
        assert!(self.0 < 100, "out of keys");
        Owned(Self(self.0))
    }
}

#[test]
fn a_key_that_panics_when_it_is_made_costs_no_token_and_no_place() {
    let (limiter, now) = tiered::<Owned>(quota(3, 1).with_max_keys(max(2)));
    for wrong in 100..110 {
        let tried = std::panic::AssertUnwindSafe(|| limiter.try_acquire_at(&Touchy(wrong), 1, now));
        assert!(std::panic::catch_unwind(tried).is_err());
        assert_eq!(limiter.snapshot().keys, 0);
    }
    for key in 0..3 {
        limiter.try_acquire_at(&Touchy(key), 1, now).unwrap();
    }
    assert_eq!(limiter.snapshot().keys, 2, "the third shares a bucket");
    assert_eq!(scope(limiter.try_acquire_at(&Touchy(100), 1, now)), Some(Scope::Global));
}

#[test]
fn a_known_key_is_never_made_again() {
    let (limiter, now) = tiered::<Owned>(quota(100, 10));
    let per_key = Quota::new(20, DAY);
    limiter.set_key_quota_at(Owned(Touchy(100)), per_key, now).unwrap();
    assert!(limiter.try_acquire_at(&Touchy(100), 20, now).is_ok());
    assert_eq!(scope(limiter.try_acquire_at(&Touchy(100), 1, now)), Some(Scope::Key));
    limiter.refund_at(&Touchy(100), 1, now);
    assert!(limiter.try_acquire_at(&Touchy(100), 1, now).is_ok());
    assert_eq!(limiter.peek(&Touchy(100)).available, 0);
}

#[test]
fn under_threads_both_tiers_hold_exactly_what_was_admitted() {
    let (limiter, now) = tiered::<u32>(quota(700, 100));
    let limiter = Arc::new(limiter);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let limiter = limiter.clone();
            std::thread::spawn(move || {
                let mut admitted = [0_u32; 10];
                for i in 0..20_000 {
                    let key = i % 10;
                    admitted[key] +=
                        u32::from(limiter.try_acquire_at(&(key as u32), 1, now).is_ok());
                }
                admitted
            })
        })
        .collect();
    let all: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let of = |key: usize| all.iter().map(|admitted| admitted[key]).sum::<u32>();
    assert_eq!((0..10).map(of).sum::<u32>(), 700);
    for key in 0..10 {
        assert!(of(key) <= 100);
        // One more than what is left must be refused: what was refused left no trace, and what
        // was admitted left all of it.
        let held = limiter.keys.lock(&(key as u32));
        let left = held.quota().available(held.word(), held.quota().word(now));
        assert_eq!(left, 100 - of(key));
    }
}

#[test]
fn a_refund_goes_to_both_tiers() {
    let (limiter, now) = tiered::<u32>(quota(10, 5));
    limiter.try_acquire_at(&1, 5, now).unwrap();
    limiter.refund_at(&1, 2, now);
    assert!(limiter.try_acquire_at(&1, 2, now).is_ok());
    assert_eq!(scope(limiter.try_acquire_at(&1, 1, now)), Some(Scope::Key));
    limiter.refund_at(&1, 1_000, now);
    limiter.refund_at(&7, 1_000, now);
    assert!(limiter.try_acquire_at(&1, 5, now).is_ok());
    assert!(limiter.try_acquire_at(&2, 5, now).is_ok());
    assert_eq!(scope(limiter.try_acquire_at(&3, 1, now)), Some(Scope::Global));
}

#[test]
fn the_map_is_bounded_and_further_keys_get_neither_a_free_pass_nor_a_lock_out() {
    let config = quota(1_000_000, 10).with_max_keys(max(100));
    let (limiter, now) = tiered::<u32>(config.with_global(Quota::per_second(10_000_000)));
    for key in 0..100 {
        limiter.try_acquire_at(&key, 1, now).unwrap();
    }
    let mut admitted = 0;
    for key in 100..30_000 {
        admitted += (0..10).filter(|_| limiter.try_acquire_at(&key, 1, now).is_ok()).count();
    }
    assert_eq!(limiter.snapshot().keys, 100);
    assert_eq!(admitted, 10 * 1_024, "29,900 keys share 1,024 buckets, all of them used");
    assert!(limiter.try_acquire_at(&5, 9, now).is_ok(), "known keys don't suffer");

    let later = now + DAY;
    for key in 100..30_000 {
        let admitted = (0..20).filter(|_| limiter.try_acquire_at(&key, 1, later).is_ok()).count();
        assert!(admitted <= 10);
    }
    assert_eq!(limiter.snapshot().keys, 100, "full ones gave their place to new ones");
}

#[test]
fn a_key_that_leaves_a_shared_bucket_takes_its_debt_along() {
    let config = quota(1_000_000, 10).with_max_keys(max(1)).with_global(Quota::per_second(1_000));
    let (limiter, now) = tiered::<u32>(config.with_per_key(Quota::per_second(1).with_burst(10)));
    limiter.try_acquire_at(&1, 1, now).unwrap();
    limiter.try_acquire_at(&2, 10, now).unwrap();
    assert_eq!(scope(limiter.try_acquire_at(&2, 1, now)), Some(Scope::Key));
    let now = now + 2 * S;
    limiter.try_acquire_at(&2, 1, now).unwrap();
    assert_eq!(limiter.snapshot().keys, 1);
    assert_eq!(scope(limiter.try_acquire_at(&2, 2, now)), Some(Scope::Key));
    assert!(limiter.try_acquire_at(&2, 1, now).is_ok());
}

#[test]
fn idle_keys_are_forgotten_as_new_ones_come() {
    let config =
        TieredQuota::default().with_idle_key(10 * S).with_global(Quota::per_second(10_000_000));
    let (limiter, start) = tiered::<u64>(config);
    for key in 0..50_000_u64 {
        let now = start + key as u32 * MS;
        limiter.try_acquire_at(&key, 1, now).unwrap();
    }
    // Ten seconds' worth of keys, and the walk's length behind.
    let keys = limiter.snapshot().keys;
    assert!(keys < 25_000, "{keys}");
    assert!(keys >= 10_000, "none is forgotten early: {keys}");
}

#[test]
fn impossible_configurations_are_named() {
    let base = TieredQuota::default;
    let cases = [
        (base().with_global(Quota::per_second(0)), "rate_limit.global.rate"),
        (base().with_per_key(Quota::per_second(1).with_burst(0)), "rate_limit.per_key.burst"),
        (base().with_max_keys(max(1 << 32)), "rate_limit.max_keys"),
        (base().with_enforcement(Enforcement::Share(1.1)), "rate_limit.enforcement"),
    ];
    for (config, field) in cases {
        let error = TieredRateLimiter::<u32>::new(config).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field} is ")), "{error}");
    }
}

#[test]
fn peek_tells_the_tighter_tier() {
    let limiter = TieredRateLimiter::<String>::new(quota(12, 10)).unwrap();
    assert_eq!(limiter.peek("a").available, 10);
    limiter.try_acquire("b", 10).unwrap();
    assert_eq!(limiter.peek("a").available, 2);
    assert_eq!(limiter.peek("b").available, 0);
}
