#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::ground::outcome::{Classify, Verdict};
use crate::ground::rng::Rng;
use crate::ground::time::{self, Instant};

#[cfg(feature = "tower")]
mod layer;
mod running;

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn n(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn budget(ratio: f64, floor: u32) -> (RetryBudget, Instant) {
    let now = time::now();
    let config = RetryBudgetConfig::default().with_ratio(ratio).with_floor_per_second(floor);
    (RetryBudget::new_at(config, now).unwrap(), now)
}

#[test]
fn the_floor_refills_by_time_and_can_not_be_saved_up() {
    let (budget, now) = budget(0.0, 3);
    let spend = |now| (0..10).filter(|_| budget.try_withdraw_at(now).is_ok()).count();
    assert_eq!(spend(now), 3);
    assert_eq!(spend(now + 334 * MS), 1);
    assert_eq!(spend(now + 100 * S), 3);
    assert_eq!(spend(now), 0, "an older clock gets nothing more");
}

#[test]
fn a_fifth_of_the_successes_may_be_retried_up_to_the_cap() {
    let (budget, now) = budget(0.2, 0);
    let spend = |most: usize| (0..most).filter(|_| budget.try_withdraw_at(now).is_ok()).count();
    (0..50).for_each(|_| budget.success());
    assert_eq!(spend(1_000), 10);
    (0..100_000).for_each(|_| budget.success());
    assert_eq!(spend(1_000), 100, "a long good time is no licence");
    assert_eq!(budget.snapshot(), budget.clone().snapshot(), "clones are the same");
    assert_eq!(budget.snapshot().withdrawn, 110);
}

#[test]
fn impossible_configurations_are_named() {
    let policy = RetryPolicy::default;
    let cases = [
        (policy().with_attempt_timeout(Some(Duration::ZERO)), "retry.attempt_timeout"),
        (policy().with_total_timeout(Some(Duration::ZERO)), "retry.total_timeout"),
        (policy().with_retry_after_most(Duration::MAX), "retry.retry_after_most"),
        (policy().with_refusals_wait_most(Duration::MAX), "retry.refusals_wait_most"),
        (policy().with_backoff(Backoff::new(S, MS)), "retry.backoff.first"),
        (policy().with_backoff(Backoff::new(S, Duration::MAX)), "retry.backoff.most"),
        (policy().with_backoff(Backoff::new(S, S).with_factor(0.9)), "retry.backoff.factor"),
    ];
    for (policy, field) in cases {
        let error = Retry::new(policy, budget(0.2, 3).0).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field} is ")), "{error}");
    }
    let bad = RetryBudgetConfig::default().with_ratio(f64::NAN);
    assert!(RetryBudget::new(bad).unwrap_err().to_string().starts_with("retry.budget.ratio is "));
}

#[cfg(all(feature = "json", feature = "serde"))]
#[test]
fn a_configuration_loads_by_the_names_of_its_fields() {
    let policy: RetryPolicy = serde_json::from_str("{}").unwrap();
    assert_eq!(policy, RetryPolicy::default());
    let budget: RetryBudgetConfig = serde_json::from_str(r#"{"ratio": 0.5}"#).unwrap();
    assert_eq!(budget, RetryBudgetConfig::default().with_ratio(0.5));
    serde_json::from_str::<RetryPolicy>(r#"{"attempts": 3}"#).unwrap_err();
}

/// What a budget may do, by exact arithmetic: a bucket of a second's worth that refills by the
/// nanosecond, and millionths of a retry.
struct Exact {
    earned: u64,
    most: u64,
    savings: u64,
    each_ns: u64,
    all_ns: u64,
    level_ns: u64,
    at_ns: u64,
}

impl Exact {
    const ONE: u64 = 1_000_000;

    fn new(millionths: u64, floor: u64, most: u64) -> Self {
        let each_ns = 1_000_000_000_u64.div_ceil(floor.max(1));
        let all_ns = if floor == 0 { 0 } else { each_ns * floor };
        let most = most * Self::ONE;
        Self { earned: millionths, most, savings: 0, each_ns, all_ns, level_ns: all_ns, at_ns: 0 }
    }

    fn success(&mut self) {
        self.savings = self.most.min(self.savings + self.earned);
    }

    fn withdraw(&mut self, now_ns: u64) -> bool {
        self.level_ns = self.all_ns.min(self.level_ns + (now_ns - self.at_ns));
        self.at_ns = now_ns;
        if self.level_ns >= self.each_ns {
            self.level_ns -= self.each_ns;
        } else if self.savings >= Self::ONE {
            self.savings -= Self::ONE;
        } else {
            return false;
        }
        true
    }
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(256))]

    /// Every answer is that of exact arithmetic, and over every stretch of every history the bound
    /// of the room holds.
    #[test]
    fn retries_never_exceed_their_share(
        millionths in prop_oneof![Just(200_000_u64), 0..3_000_000_u64],
        floor in 0_u64..20,
        most in 0_u64..5,
        ops in prop::collection::vec((0_u64..300_000_000, 0_u8..3), 1..200),
    ) {
        let start = time::now();
        let config = RetryBudgetConfig::default().with_ratio(millionths as f64 / 1e6);
        let config = config.with_floor_per_second(floor as u32).with_most(most as u32);
        let budget = RetryBudget::new_at(config, start).unwrap();
        let mut exact = Exact::new(millionths, floor, most);
        // At each step: the time, what was saved before, successes and retries so far.
        let mut history = Vec::with_capacity(ops.len());
        let (mut at_ns, mut successes, mut retries) = (0, 0_u64, 0_u64);
        for (step_ns, what) in ops {
            at_ns += step_ns;
            history.push((at_ns, exact.savings, successes, retries));
            if what == 0 {
                budget.success();
                exact.success();
                successes += 1;
            } else {
                let is_paid = budget.try_withdraw_at(start + Duration::from_nanos(at_ns)).is_ok();
                prop_assert_eq!(is_paid, exact.withdraw(at_ns));
                retries += u64::from(is_paid);
            }
            prop_assert_eq!(budget.snapshot().saved, exact.savings / Exact::ONE);
            for &(from_ns, saved, successes_before, retries_before) in &history {
                let by_success = u128::from(saved + exact.earned * (successes - successes_before));
                // floor × (t + 1 s), in millionths of a retry; × 10⁹ on both sides.
                let by_time = u128::from(floor * Exact::ONE) * u128::from(at_ns - from_ns + 1_000_000_000);
                let spent = u128::from((retries - retries_before) * Exact::ONE) * 1_000_000_000;
                prop_assert!(spent <= by_success * 1_000_000_000 + by_time);
            }
        }
    }
}
