//! Keys beyond the bound, whose buckets are shared.

use super::*;

/// One key is remembered; of the bucket that all others share, all is taken; then both are full
/// again.
fn refilled() -> (TieredRateLimiter<u32>, Instant) {
    let quota = TieredQuota::default()
        .with_global(Quota::per_second(1_000_000).with_burst(1_000_000))
        .with_per_key(Quota::per_second(1).with_burst(2))
        .with_max_keys(NonZeroUsize::MIN);
    let (limiter, now) = (TieredRateLimiter::new(quota).unwrap(), time::now());
    // Every shared bucket: a key of each.
    let mut taken = 0;
    for key in 0..20_000 {
        taken += u32::from(limiter.try_acquire_at(&key, 2, now).is_ok());
    }
    assert!(taken > 1_000, "{taken}");
    assert_eq!(limiter.snapshot().keys, 1);
    (limiter, now + 10 * S)
}

const MORE: Quota = Quota::per_second(1).with_burst(10);

#[test]
fn a_shared_bucket_that_is_full_again_counts_as_new_when_all_quotas_change() {
    let (limiter, now) = refilled();
    limiter.set_per_key_quota_at(MORE, now).unwrap();
    let whole = (20_000..20_050).filter(|key| limiter.try_acquire_at(key, 10, now).is_ok());
    assert!(whole.count() >= 45, "but for those that share one");
}

#[test]
fn a_key_that_shared_a_full_bucket_gets_the_whole_burst_of_its_own() {
    let (limiter, now) = refilled();
    limiter.set_key_quota_at(77, MORE, now).unwrap();
    assert!(limiter.try_acquire_at(&77, 10, now).is_ok());
    assert!(limiter.try_acquire_at(&77, 1, now).is_err());
}

#[test]
fn a_key_that_shared_an_empty_bucket_gets_nothing_by_a_quota_of_its_own() {
    let (limiter, now) = refilled();
    // Takes the one place; its bucket is full again a second later.
    limiter.try_acquire_at(&0, 1, now).unwrap();
    limiter.try_acquire_at(&77, 2, now).unwrap();
    let soon = now + S;
    limiter.set_key_quota_at(77, MORE, soon).unwrap();
    assert!(limiter.try_acquire_at(&77, 2, soon).is_err());
    assert!(limiter.try_acquire_at(&77, 1, soon).is_ok(), "what came back meanwhile");
}
