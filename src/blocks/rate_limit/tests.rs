#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::num::NonZeroUsize;
use std::time::Duration;

use proptest::prelude::*;

use super::core::Gcra;
use super::*;
use crate::ground::enforcement::Enforcement;
use crate::ground::outcome::{Classify, RetryClass};
use crate::ground::refused::Scope;
use crate::ground::time::{self, Instant};

mod changing;
mod leases;
mod oracle;
mod overflow;
mod rooms;
mod tiered;
mod waiting;

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const NS: Duration = Duration::from_nanos(1);
const DAY: Duration = Duration::from_secs(86_400);

fn limiter(quota: Quota) -> (RateLimiter, Instant) {
    let now = time::now();
    (RateLimiter::new(quota).unwrap(), now)
}

fn earliest(refused: Result<(), TryAcquireError>) -> Instant {
    refused.unwrap_err().earliest().expect("too early, not never")
}

/// Who waits here himself is not told what callers elsewhere are, which is spread over the time in
/// which the whole bucket fills.
#[test]
fn who_waits_a_refusal_out_is_told_the_exact_wait() {
    let (limiter, now) = limiter(Quota::per_minute(600));
    let refused = std::iter::repeat_with(|| limiter.try_acquire_at(1, now)).find(Result::is_err);
    let refused = refused.and_then(Result::err).unwrap();
    let wait = refused.earliest().unwrap().saturating_duration_since(now);
    assert!((99 * MS..=101 * MS).contains(&wait), "{wait:?}");
    assert_eq!(refused.verdict().retry(), RetryClass::RetryAfter(wait));
    assert!(refused.to_string().contains(&format!("{wait:?}")), "{refused}");
}

/// A bucket in exact numbers: the level in `1 / rate` token nanoseconds.
struct Exact {
    quota: Quota,
    level: i128,
    at: Instant,
}

impl Exact {
    fn new(quota: Quota, now: Instant) -> Self {
        Self { quota, level: i128::from(quota.burst) * quota.period.as_nanos() as i128, at: now }
    }

    fn full(&self) -> i128 {
        i128::from(self.quota.burst) * self.quota.period.as_nanos() as i128
    }

    /// What it holds at `now`, or held at the last time asked.
    fn advance(&mut self, now: Instant) -> i128 {
        let gone = now.saturating_duration_since(self.at).as_nanos() as i128;
        self.at = self.at.max(now);
        self.level = (self.level + gone * i128::from(self.quota.rate)).min(self.full());
        self.level
    }

    fn take(&mut self, cost: u32) {
        self.level -= i128::from(cost) * self.quota.period.as_nanos() as i128;
    }
}

fn quotas() -> impl Strategy<Value = Quota> {
    let any_rate = (1_u32..=10_000_000, 1_u32..=2_000)
        .prop_map(|(rate, burst)| Quota::per_second(rate).with_burst(burst));
    let slow =
        (1_u32..=100, 1_u32..=50).prop_map(|(rate, burst)| Quota::new(rate, DAY).with_burst(burst));
    prop_oneof![any_rate, slow]
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(256))]

    /// In every window: an exact bucket that is charged what was admitted never goes below zero.
    /// And a refusal is right up to the rounding of a unit per token.
    #[test]
    fn admits_no_more_and_hardly_less_than_an_exact_bucket(
        quota in quotas(),
        steps in prop::collection::vec((0_u32..4, 0.0..3.0_f64, any::<bool>()), 1..300),
    ) {
        let (limiter, start) = limiter(quota);
        // The exact one counts from here.
        limiter.try_acquire_at(0, start).unwrap();
        let mut exact = Exact::new(quota, start);
        let each = quota.period / quota.rate;
        let mut now = start;
        for (cost, tokens, back) in steps {
            let step = each.mul_f64(tokens);
            now = if back { now.checked_sub(step / 8).unwrap_or(now) } else { now + step };
            let cost = cost.min(quota.burst);
            let level = exact.advance(now);
            match limiter.try_acquire_at(cost, now) {
                Ok(()) => {
                    exact.take(cost);
                    prop_assert!(exact.level >= 0, "over-burst");
                }
                Err(refused) => {
                    let want = i128::from(cost) * quota.period.as_nanos() as i128;
                    // Each token may be rounded up by a unit; a thousandth is more than that.
                    let lost = exact.full() / 1_000 + i128::from(quota.rate);
                    prop_assert!(now < exact.at || level < want + lost, "refused too much");
                    prop_assert!(refused.earliest().unwrap() > now);
                }
            }
        }
    }

    #[test]
    fn earliest_is_exact_to_the_nanosecond(
        quota in quotas(), first in 1_u32..5_000, cost in 1_u32..5_000, ms in 0_u64..10_000,
    ) {
        let (limiter, start) = limiter(quota);
        let now = start + Duration::from_millis(ms);
        limiter.try_acquire_at(first.min(quota.burst), now).unwrap();
        let cost = cost.min(quota.burst);
        if let Err(refused) = limiter.try_acquire_at(cost, now) {
            let at = refused.earliest().unwrap();
            prop_assert!(limiter.try_acquire_at(cost, at - NS).is_err());
            prop_assert!(limiter.try_acquire_at(cost, at).is_ok());
        }
    }

    #[test]
    fn a_refund_gives_back_what_was_taken_and_never_more_than_the_burst(
        quota in quotas(), took in 1_u32..2_000, back in 1_u32..4_000,
    ) {
        let (limiter, now) = limiter(quota);
        let took = took.min(quota.burst);
        limiter.try_acquire_at(took, now).unwrap();
        limiter.refund_at(back, now);
        let left = quota.burst - took.saturating_sub(back);
        if left > 0 {
            prop_assert!(limiter.try_acquire_at(left, now).is_ok());
        }
        prop_assert!(limiter.try_acquire_at(1, now).is_err());
    }
}

#[test]
fn burst_then_rate() {
    let (limiter, now) = limiter(Quota::per_second(10).with_burst(5));
    let admitted = |at| (0..100).filter(|_| limiter.try_acquire_at(1, at).is_ok()).count();
    assert_eq!(admitted(now), 5);
    assert_eq!(admitted(now + 99 * MS), 0);
    assert_eq!(admitted(now + 100 * MS), 1);
    assert_eq!(admitted(now + 10 * S), 5, "no more than the burst after any rest");
}

#[test]
fn saturated_it_admits_the_whole_rate() {
    for rate in [1, 3, 7, 999, 1_001, 333_333, 3_000_000, 9_999_999, 10_000_000] {
        let quota = Quota::per_second(rate).with_burst(10);
        let (limiter, start) = limiter(quota);
        let (mut now, mut admitted) = (start, 0_u64);
        while admitted < 50_000 {
            match limiter.try_acquire_at(1, now) {
                Ok(()) => admitted += 1,
                Err(refused) => now = refused.earliest().unwrap(),
            }
        }
        let expected = now.saturating_duration_since(start).as_secs_f64() * f64::from(rate) + 10.0;
        let share = admitted as f64 / expected;
        // A caller who comes at whole nanoseconds loses up to one per token of 100 ns.
        let floor = if rate > 1_000_000 { 0.99 } else { 0.999 };
        assert!((floor..=1.0).contains(&share), "{rate}/s: {share}");
    }
}

#[test]
fn a_stall_a_jump_and_an_older_clock_neither_over_burst_nor_lock_out() {
    for quota in [Quota::per_second(100).with_burst(5), Quota::per_second(1_000_000).with_burst(5)]
    {
        let (limiter, start) = limiter(quota);
        let admitted = |at| (0..100).filter(|_| limiter.try_acquire_at(1, at).is_ok()).count();
        assert_eq!(admitted(start + 5 * S), 5);
        assert_eq!(admitted(start), 0, "an older clock gets nothing more");
        assert_eq!(admitted(start + 4 * S), 0);
        assert_eq!(admitted(start + 10 * S), 5, "after a jump: one burst");
        assert_eq!(admitted(start.checked_sub(S).unwrap_or(start)), 0);
        assert_eq!(admitted(start + 11 * S), 5);
    }
}

#[test]
fn a_word_in_fine_units_may_wrap() {
    let (limiter, start) = limiter(Quota::per_second(1_000_000).with_burst(100));
    let wraps = Duration::from_nanos(1 << 56);
    for at in [wraps - 20 * Duration::from_micros(1), wraps, 2 * wraps - NS, 3 * wraps + DAY] {
        let now = start + at;
        assert!(limiter.try_acquire_at(100, now - 400 * DAY).is_ok());
        assert!(limiter.try_acquire_at(100, now).is_ok());
        assert!(limiter.try_acquire_at(1, now).is_err());
        let at = earliest(limiter.try_acquire_at(30, now));
        assert_eq!(at, now + Duration::from_micros(30));
        assert!(limiter.try_acquire_at(30, at - NS).is_err());
        assert!(limiter.try_acquire_at(30, at).is_ok());
    }
}

#[test]
fn one_a_day_to_ten_million_a_second_and_nothing_else() {
    let day = limiter(Quota::new(1, DAY)).0;
    let now = time::now();
    day.try_acquire_at(1, now).unwrap();
    assert_eq!(earliest(day.try_acquire_at(1, now)), now + DAY);
    assert!(RateLimiter::new(Quota::per_second(10_000_000).with_burst(u32::MAX)).is_ok());
    let cases = [
        (Quota::per_second(0), "rate_limit.quota.rate is 0"),
        (Quota::per_second(10_000_001), "rate_limit.quota.rate is 10000001"),
        (Quota::new(1, DAY + NS), "rate_limit.quota.rate is 1"),
        (Quota::new(1, Duration::ZERO), "rate_limit.quota.rate is 1"),
        (Quota::new(u32::MAX, Duration::MAX), "rate_limit.quota.rate is 4294967295"),
        (Quota::per_second(5).with_burst(0), "rate_limit.quota.burst is 0"),
        (Quota::new(1, DAY).with_burst(10_951), "rate_limit.quota.burst is 10951"),
    ];
    for (quota, says) in cases {
        let error = RateLimiter::new(quota).unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
    }
}

#[test]
fn a_cost_above_the_burst_is_never_not_later() {
    let (limiter, now) = limiter(Quota::per_second(10));
    let never = limiter.try_acquire_at(11, now).unwrap_err();
    assert_eq!(never, TryAcquireError::TooLarge { cost: 11, burst: 10 });
    assert_eq!((never.earliest(), never.retry_after()), (None, None));
    assert!(limiter.try_acquire_at(10, now).is_ok(), "and took nothing");
    assert!(limiter.try_acquire_at(0, now).is_ok(), "nothing is always there");
}

#[test]
fn a_wave_that_was_refused_together_comes_back_spread() {
    let (limiter, now) = limiter(Quota::per_second(100));
    limiter.try_acquire_at(100, now).unwrap();
    let mut second = [0_u32; 12];
    for _ in 0..10_000 {
        let refused = limiter.try_acquire_at(1, now).unwrap_err();
        let wait = refused.retry_after().unwrap();
        assert_eq!(refused.retry_after(), Some(wait), "the same at every call");
        assert!(wait >= refused.earliest().unwrap() - now);
        second[(wait.as_secs_f64() * 10.0) as usize] += 1;
    }
    assert!(second.iter().all(|&tenth| tenth <= 2_000), "peak ≤ 2 × mean: {second:?}");
}

#[test]
fn peek_tells_what_is_left() {
    let limiter = RateLimiter::new(Quota::new(10, DAY)).unwrap();
    assert_eq!((limiter.peek().available, limiter.peek().burst), (10, 10));
    limiter.try_acquire(4).unwrap();
    assert_eq!(limiter.peek().available, 6);
    assert!(limiter.peek().full_at > time::now());
}

#[test]
fn enforcement_counts_first_and_refuses_later() {
    let config = RateLimiterConfig::from(Quota::new(1, DAY));
    let shadow = RateLimiter::new(config.clone().with_enforcement(Enforcement::Shadow)).unwrap();
    assert!((0..10).all(|_| shadow.try_acquire(1).is_ok()));
    assert_eq!((shadow.snapshot().would_refuse, shadow.snapshot().refused), (9, 0));
    assert_eq!(shadow.peek().available, 0, "and charges no debt");

    let half = RateLimiter::new(config.clone().with_enforcement(Enforcement::Share(0.5))).unwrap();
    let admitted = (0..1_001).filter(|_| half.try_acquire(1).is_ok()).count();
    assert!((400..600).contains(&admitted), "{admitted}");
    assert!(RateLimiter::new(config.with_enforcement(Enforcement::Share(-1.0))).is_err());
}

#[test]
fn closing_twice_is_harmless() {
    let (limiter, now) = limiter(Quota::per_second(10));
    limiter.close();
    limiter.close();
    assert_eq!(limiter.try_acquire_at(1, now), Err(TryAcquireError::Closed));
    let tiered = TieredRateLimiter::<String>::new(TieredQuota::default()).unwrap();
    tiered.close();
    tiered.close();
    assert_eq!(tiered.try_acquire("a", 1), Err(TryAcquireError::Closed));
}

#[cfg(all(feature = "json", feature = "serde"))]
#[test]
fn a_configuration_loads_by_the_names_of_its_fields() {
    let config: TieredQuota = serde_json::from_str("{}").unwrap();
    assert_eq!(config, TieredQuota::default());
    let config: RateLimiterConfig = serde_json::from_str("{}").unwrap();
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<RateLimiterConfig>(&json).unwrap(), config);
    serde_json::from_str::<TieredQuota>(r#"{"per_keys": 3}"#).unwrap_err();
}

/// At which a word in fine units wraps.
const WRAP: Duration = Duration::from_nanos(1 << 56);

proptest! {
    #![proptest_config(crate::ground::cases::cases(256))]

    /// Who was never here has a full bucket, also shortly before and after the wrap of the words,
    /// and what was taken there is taken.
    #[test]
    fn a_new_key_has_its_burst_at_any_time(
        wraps in 1..4_u32,
        before_ns in -100_000_000_000_i64..100_000_000_000,
        burst in 1..5_000_u32,
        cost in 0..5_000_u32,
    ) {
        let start = time::now();
        let per_key = Quota::per_second(5_000).with_burst(burst);
        let global = Quota::per_second(1_000_000).with_burst(1_000_000);
        let quota = TieredQuota::default().with_global(global).with_per_key(per_key);
        let limiter = TieredRateLimiter::<u32>::new(quota).unwrap();
        let single = RateLimiter::new(per_key).unwrap();
        let before = Duration::from_nanos(before_ns.unsigned_abs());
        let wrap = start - Duration::from_nanos(start.nanos() % WRAP.as_nanos() as u64) + wraps * WRAP;
        let now = if before_ns > 0 { wrap - before } else { wrap + before };
        let cost = cost % (burst + 1);
        for rest in [cost, burst - cost] {
            prop_assert_eq!(limiter.try_acquire_at(&1, rest, now), Ok(()));
            prop_assert_eq!(single.try_acquire_at(rest, now), Ok(()));
        }
        prop_assert!(limiter.try_acquire_at(&1, 1, now).is_err());
        prop_assert!(single.try_acquire_at(1, now).is_err());
    }
}

#[test]
fn a_used_bucket_never_reads_as_never_used() {
    let gcra = Gcra::new(Quota::per_second(5_000).with_burst(10), ["", ""]).unwrap();
    let two = gcra.take(0, 0, 2, 0).unwrap();
    let before_wrap = two.wrapping_neg();
    let taken = gcra.take(0, before_wrap, 2, 0).unwrap();
    assert_eq!(gcra.available(taken, before_wrap), 7, "2 and the least");
    let given = gcra.give_back(taken + two, before_wrap, 2);
    assert_eq!(gcra.available(given, before_wrap), 7);
}

#[test]
fn units_are_rounded_up() {
    let gcra = Gcra::new(Quota::per_second(3_000_000), ["", ""]).unwrap();
    let at = gcra.take(0, 0, 1, 0).unwrap();
    assert_eq!(at, 85_336, "256 × 333⅓ ns, in fours");
}
