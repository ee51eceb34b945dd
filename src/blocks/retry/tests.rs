#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::ground::rng::Rng;
use crate::ground::time;

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
fn a_wait_is_spread_over_all_below_its_ceiling() {
    let backoff = Backoff::default();
    let mut rng = Rng::seeded(3);
    for failures in 1..12 {
        let ceiling = backoff.ceiling(failures);
        let waits: Vec<_> = (0..1_000).map(|_| backoff.delay(failures, &mut rng)).collect();
        assert!(waits.iter().all(|&wait| wait <= ceiling));
        assert!(waits.iter().any(|&wait| wait < ceiling / 10), "full jitter starts at zero");
        assert!(waits.iter().any(|&wait| wait > ceiling / 10 * 9));
    }
}

#[test]
fn a_backends_wish_is_a_lower_bound_up_to_its_cap() {
    let policy = RetryPolicy::default();
    let mut rng = Rng::seeded(3);
    for _ in 0..100 {
        let wait = policy.wait(RetryClass::RetryAfter(5 * S), 1, &mut rng).unwrap();
        assert!((5 * S..=5 * S + 100 * MS).contains(&wait));
        let absurd = policy.wait(RetryClass::RetryAfter(Duration::MAX), 1, &mut rng).unwrap();
        assert!((30 * S..=30 * S + 100 * MS).contains(&absurd));
    }
    assert_eq!(policy.wait(RetryClass::Retry, 3, &mut rng), None, "three attempts in all");
    assert_eq!(policy.wait(RetryClass::Stop, 1, &mut rng), None);
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
    assert_eq!(budget.snapshot(), budget.clone().snapshot());
    assert_eq!(budget.snapshot().withdrawn, 110);
}

#[test]
fn impossible_configurations_are_named() {
    let policy = RetryPolicy::default;
    let cases = [
        (policy().with_attempt_timeout(Some(Duration::ZERO)), "retry.attempt_timeout"),
        (policy().with_total_timeout(Some(Duration::ZERO)), "retry.total_timeout"),
        (policy().with_retry_after_most(Duration::MAX), "retry.retry_after_most"),
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

fn quick(attempts: u32) -> RetryPolicy {
    let none = Backoff::new(Duration::ZERO, Duration::ZERO);
    RetryPolicy::default().with_backoff(none).with_max_attempts(n(attempts))
}

#[tokio::test]
async fn it_says_why_it_gave_up() {
    let all = Retry::new(quick(3), budget(0.0, 100).0).unwrap();
    let gave = all.run(|_| RetryClass::Retry, |_| async { Err::<(), _>("no") }).await.unwrap_err();
    assert_eq!((gave.why(), gave.attempts()), (GaveUp::Attempts, 3));
    assert_eq!(gave.into_last(), AttemptError::Inner("no"));

    let gave = all.run(|_| RetryClass::Stop, |_| async { Err::<(), _>("no") }).await.unwrap_err();
    assert_eq!((gave.why(), gave.attempts()), (GaveUp::Permanent, 1));

    let poor = Retry::new(quick(30), budget(0.0, 2).0).unwrap();
    let gave = poor.run(|_| RetryClass::Retry, |_| async { Err::<(), _>("no") }).await.unwrap_err();
    assert_eq!((gave.why(), gave.attempts()), (GaveUp::Budget, 3));

    let short = quick(30).with_total_timeout(Some(S));
    let shared = budget(0.0, 2).0;
    let short = Retry::new(short, shared.clone()).unwrap();
    let later = |_: &_| RetryClass::RetryAfter(2 * S);
    let gave = short.run(later, |_| async { Err::<(), _>("no") }).await.unwrap_err();
    assert_eq!((gave.why(), gave.attempts()), (GaveUp::TotalTimeout, 1));
    assert_eq!(shared.snapshot().withdrawn, 0, "a retry that isn't made costs nothing");
}

#[tokio::test]
async fn an_attempt_that_hangs_is_dropped_and_retried() {
    let policy = quick(2).with_attempt_timeout(Some(MS));
    let retry = Retry::new(policy, budget(0.2, 3).0).unwrap();
    let run = retry.run(
        |_: &()| RetryClass::Stop,
        |attempt| async move {
            if attempt == 1 {
                std::future::pending::<()>().await;
            }
            Ok(attempt)
        },
    );
    assert_eq!(run.await, Ok(2));
}

#[tokio::test]
async fn dropped_after_one_poll_it_drops_the_attempt() {
    let alive = std::sync::Arc::new(());
    let retry = Retry::new(quick(2), budget(0.2, 3).0).unwrap();
    {
        let run = retry.run(
            |_: &()| RetryClass::Retry,
            |_| {
                let held = alive.clone();
                async move {
                    let _held = held;
                    std::future::pending::<Result<(), ()>>().await
                }
            },
        );
        let mut run = std::pin::pin!(run);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(run.as_mut().poll(&mut cx).is_pending());
        assert_eq!(std::sync::Arc::strong_count(&alive), 2);
    }
    assert_eq!(std::sync::Arc::strong_count(&alive), 1);
}

/// Waits are as asked, the total timeout cuts an attempt short, and no wait is begun in vain.
#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn it_waits_as_asked_and_ends_in_time() {
    let start = time::now();
    let asked = Retry::new(quick(3), budget(0.2, 3).0).unwrap();
    let later = |_: &_| RetryClass::RetryAfter(2 * S);
    asked.run(later, |_| async { Err::<(), _>("busy") }).await.unwrap_err();
    assert_eq!(time::now() - start, 4 * S);

    let start = time::now();
    let policy = quick(3).with_attempt_timeout(Some(2 * S)).with_total_timeout(Some(3 * S));
    let short = Retry::new(policy, budget(0.2, 3).0).unwrap();
    let gave = short.run(|_: &()| RetryClass::Retry, |_| std::future::pending::<Result<(), ()>>());
    let gave = gave.await.unwrap_err();
    assert_eq!((gave.why(), gave.attempts()), (GaveUp::TotalTimeout, 2));
    assert_eq!((gave.into_last(), time::now() - start), (AttemptError::TimedOut, 3 * S));
}

proptest! {
    /// The bound of the room, over any stretch of any history.
    #[test]
    fn retries_never_exceed_their_share(
        floor in 0_u32..20,
        ops in prop::collection::vec((0_u64..300, any::<bool>()), 1..400),
    ) {
        let (budget, start) = budget(0.2, floor);
        let (mut at, mut successes, mut retries) = (0, 0_u64, 0_u64);
        for (ms, success) in ops {
            at += ms;
            if success {
                budget.success();
                successes += 1;
            } else if budget.try_withdraw_at(start + Duration::from_millis(at)).is_ok() {
                retries += 1;
            }
            let by_time = f64::from(floor) * (at as f64 / 1_000.0 + 1.0);
            prop_assert!(retries as f64 <= 0.2 * successes as f64 + by_time + 1e-6);
        }
    }
}
