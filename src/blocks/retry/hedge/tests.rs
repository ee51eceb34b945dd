#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::future::{pending, ready};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::core::Core;
use super::latencies::Latencies;
use super::*;
use crate::ground::outcome::Verdict;
use crate::ground::rng::Rng;
use crate::retry::{Idempotency, RetryBudget, RetryBudgetConfig};

#[cfg(feature = "tower")]
mod layer;

const MS: Duration = Duration::from_millis(1);

fn n(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn core() -> Core {
    Core::new(&HedgeConfig::default())
}

#[test]
fn a_quantile_is_that_of_the_last_calls() {
    let mut latencies = Latencies::new(1_000);
    assert_eq!(
        (latencies.quantile(0.5), latencies.recent_median()),
        (Duration::ZERO, Duration::ZERO)
    );
    (1..=1_000).for_each(|ms| latencies.record(ms * MS));
    for (ratio, ms) in [(0.5, 500), (0.98, 980), (1.0, 1_000)] {
        let said = latencies.quantile(ratio);
        assert!(said >= ms * MS && said <= ms * MS * 9 / 8 + MS, "{ratio}: {said:?}");
    }
    let median = latencies.recent_median();
    assert_eq!(median, 969 * MS, "of the last 64");
    (0..2_001).for_each(|_| latencies.record(MS));
    assert!(latencies.quantile(1.0) <= MS * 9 / 8, "two windows later all else is forgotten");
}

#[test]
fn too_few_calls_are_no_measure() {
    let mut core = core();
    (0..99).for_each(|_| core.in_time(MS));
    assert_eq!(core.delay(), None);
    core.in_time(MS);
    assert_eq!(core.delay(), Some(3 * MS), "three medians");
}

#[test]
fn a_long_tail_is_measured_and_a_short_one_is_not_hedged() {
    let mut long = core();
    // 5 % take 10 times as long: the quantile lies among them.
    (0..1_000).for_each(|i| long.in_time(if i % 20 == 0 { 10 * MS } else { MS }));
    assert!((10 * MS..12 * MS).contains(&long.delay().unwrap()));
    let mut short = core();
    let mut rng = Rng::seeded(3);
    (0..1_000).for_each(|_| short.in_time(rng.around(10 * MS, 0.5)));
    assert!(short.delay().unwrap() > 15 * MS, "all of them are ordinary");
}

#[test]
fn hedges_are_earned_by_calls_in_time_and_hardly_saved() {
    let mut core = core();
    assert!(!core.may_hedge());
    (0..33).for_each(|_| core.in_time(MS));
    assert!(!core.may_hedge(), "33 × 0.03 is less than one");
    (0..10_000).for_each(|_| core.in_time(MS));
    for _ in 0..3 {
        assert!(core.may_hedge());
        core.hedged();
    }
    assert!(!core.may_hedge());
    (0..10_000).for_each(|_| core.late(100 * MS));
    assert!(!core.may_hedge(), "a late call earns nothing");
    assert!(core.delay().unwrap() > 299 * MS, "what is usual has changed");
}

#[test]
fn impossible_configurations_are_named() {
    let config = HedgeConfig::default;
    let budget = RetryBudget::new(RetryBudgetConfig::default()).unwrap();
    for (config, field) in [
        (config().with_quantile_ratio(1.0), "retry.hedge.quantile_ratio"),
        (config().with_median_factor(f64::NAN), "retry.hedge.median_factor"),
        (config().with_extra_ratio(1.1), "retry.hedge.extra_ratio"),
        (config().with_minimum_samples(n(19)), "retry.hedge.minimum_samples"),
        (config().with_window_calls(n(99)), "retry.hedge.window_calls"),
    ] {
        let error = Hedge::new(config, budget.clone()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field} is ")), "{error}");
    }
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(256))]

    /// Invariant 1, over any history.
    #[test]
    fn extra_load_is_bounded(
        extra in 0.0..0.2_f64,
        ops in prop::collection::vec((0_u64..1_000_000_000, 0_u8..3), 1..2_000),
    ) {
        let mut core = Core::new(&HedgeConfig::default().with_extra_ratio(extra));
        let earned = (extra * 1e6).round() as u64;
        let (mut in_time, mut hedges) = (0_u64, 0_u64);
        for (ns, what) in ops {
            let took = Duration::from_nanos(ns);
            match what {
                0 => core.late(took),
                1 => { core.in_time(took); in_time += 1; }
                _ if core.may_hedge() => { core.hedged(); hedges += 1; }
                _ => {}
            }
            prop_assert!(hedges * 1_000_000 <= earned * in_time);
        }
    }
}

type Answer = Result<u32, Verdict>;

fn judge(result: &Answer) -> Verdict {
    result.map_or_else(|verdict| verdict, |_| Verdict::success())
}

fn budget(floor: u32) -> RetryBudget {
    let config = RetryBudgetConfig::default().with_ratio(0.0).with_floor_per_second(floor);
    RetryBudget::new(config).unwrap()
}

/// A hedge that has seen calls of about no time, so the next is late at once.
async fn taught(budget: RetryBudget) -> Hedge {
    let hedge = Hedge::new(HedgeConfig::default(), budget).unwrap();
    for _ in 0..200 {
        assert_eq!(hedge.run(Idempotency::Idempotent, judge, |_| ready(Ok(0))).await, Ok(0));
    }
    assert!(hedge.snapshot().delay.unwrap() < MS);
    hedge
}

#[tokio::test]
async fn the_second_attempt_wins_and_the_first_is_dropped() {
    let hedge = taught(budget(3)).await;
    let alive = Arc::new(());
    let answer = hedge.run(Idempotency::Idempotent, judge, |attempt| {
        let held = Arc::clone(&alive);
        async move {
            let _held = held;
            if attempt == 1 { pending().await } else { Ok(attempt) }
        }
    });
    assert_eq!(answer.await, Ok(2));
    assert_eq!(Arc::strong_count(&alive), 1, "the loser is gone");
    let seen = hedge.snapshot();
    assert_eq!((seen.hedged, seen.won, seen.denied), (1, 1, 0));
}

#[tokio::test]
async fn a_failure_of_one_waits_for_the_other_and_a_final_word_does_not() {
    let hedge = taught(budget(9)).await;
    // What the first says once the second has ended, and what comes out.
    let both = |first: Answer, second: Answer| {
        let (done, second_is_done) = tokio::sync::watch::channel(false);
        let (hedge, done) = (&hedge, Arc::new(done));
        async move {
            hedge
                .run(Idempotency::Idempotent, judge, |attempt| {
                    let (mut wait, done) = (second_is_done.clone(), Arc::clone(&done));
                    async move {
                        if attempt == 2 {
                            done.send_replace(true);
                            return second;
                        }
                        wait.wait_for(|done| *done).await.unwrap();
                        first
                    }
                })
                .await
        }
    };
    let (failed, wrong) = (Err(Verdict::failure()), Err(Verdict::permanent()));
    assert_eq!(both(Ok(1), failed).await, Ok(1));
    assert_eq!(both(failed, Err(Verdict::overloaded(None))).await, failed, "the later one");
    assert_eq!(both(Ok(1), wrong).await, wrong, "it would go so again");
    assert_eq!(hedge.snapshot().hedged, 3);
}

#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn without_budget_or_idempotency_there_is_one_attempt() {
    let slow = |attempt| async move {
        tokio::time::sleep(2 * MS).await;
        Ok(attempt)
    };
    let poor = taught(budget(0)).await;
    assert_eq!(poor.run(Idempotency::Idempotent, judge, slow).await, Ok(1));
    assert_eq!((poor.snapshot().hedged, poor.snapshot().denied), (0, 1));
    let rich = taught(budget(9)).await;
    assert_eq!(rich.run(Idempotency::AtMostOnce, judge, slow).await, Ok(1));
    assert_eq!((rich.snapshot().hedged, rich.snapshot().denied), (0, 0));
}

#[tokio::test]
async fn inside_of_a_retry_only_the_retry_earns() {
    let config = RetryBudgetConfig::default().with_ratio(1.0).with_floor_per_second(0);
    let budget = RetryBudget::new(config).unwrap();
    let retry = crate::Retry::new(crate::retry::RetryPolicy::default(), budget.clone()).unwrap();
    let hedge = retry.hedge(HedgeConfig::default()).unwrap();
    let attempt = |_| hedge.run(Idempotency::Idempotent, judge, |_| ready(Ok(0)));
    retry.run(Idempotency::Idempotent, judge, attempt).await.unwrap();
    assert_eq!(budget.snapshot().saved, 1);
}

#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn dropped_it_drops_both_attempts() {
    use std::future::Future;
    use std::task::{Context, Waker};

    let hedge = taught(budget(3)).await;
    let alive = Arc::new(());
    let mut call = Box::pin(hedge.run(Idempotency::Idempotent, judge, |_| {
        let held = Arc::clone(&alive);
        async move {
            let _held = held;
            pending::<Answer>().await
        }
    }));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut cx).is_pending());
    assert_eq!(Arc::strong_count(&alive), 2, "one attempt so far");
    tokio::time::sleep(2 * MS).await;
    assert!(call.as_mut().poll(&mut cx).is_pending());
    assert_eq!(Arc::strong_count(&alive), 3, "two");
    drop(call);
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(hedge.snapshot().hedged, 1, "it stays paid");
}
