//! One verdict for breaker and retry: what is worth another attempt is tried again, what is refused
//! on this side is waited out, and what must not be done twice is not.
//!
//! `cargo run --example retry`

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use headworks::circuit_breaker::{CallError, CircuitBreakerConfig};
use headworks::retry::{Backoff, GaveUp, Idempotency, RetryBudget, RetryBudgetConfig, RetryPolicy};
use headworks::{CircuitBreaker, Classify, Retry, Verdict};

/// How this backend fails.
#[derive(Debug, thiserror::Error)]
enum BackendError {
    #[error("busy")]
    Busy,
    #[error("no such order")]
    Unknown,
}

/// Said once, read by everybody.
impl Classify for BackendError {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Busy => Verdict::failure(),
            Self::Unknown => Verdict::permanent(),
        }
    }
}

/// Is busy for so many calls.
async fn order(busy: &AtomicU32) -> Result<&'static str, BackendError> {
    let was_busy = busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    if was_busy.is_ok() { Err(BackendError::Busy) } else { Ok("shipped") }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let breaker = CircuitBreaker::new(CircuitBreakerConfig::default())?;
    let budget = RetryBudget::new(RetryBudgetConfig::default())?;
    let backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
    let retry = Retry::new(RetryPolicy::default().with_backoff(backoff), budget.clone())?;

    // A token or a step of the ramp would be waited out here, at no cost; an open circuit ends it
    // at once; see `RetryPolicy::refusals_wait_most`.
    let busy = AtomicU32::new(2);
    let through_breaker = |_| breaker.call(order(&busy));
    let answer = retry.run(Idempotency::Idempotent, Verdict::of, through_breaker).await?;
    println!("{answer}, after {} retries", budget.snapshot().withdrawn);
    assert_eq!(budget.snapshot().withdrawn, 2);

    // What may have been done is not done again.
    busy.store(1, Ordering::Relaxed);
    let gave_up = retry.run(Idempotency::AtMostOnce, Verdict::of, |_| order(&busy)).await;
    let gave_up = gave_up.expect_err("it was busy");
    println!("{gave_up}");
    assert_eq!(gave_up.why(), GaveUp::AtMostOnce);

    // What is wrong stays wrong.
    let wrong = |_| breaker.call(async { Err::<(), _>(BackendError::Unknown) });
    let gave_up = retry.run(Idempotency::Idempotent, Verdict::of, wrong).await;
    let gave_up: headworks::retry::RetryError<CallError<BackendError>> =
        gave_up.expect_err("there is no such order");
    println!("{gave_up}");
    assert_eq!((gave_up.why(), gave_up.attempts()), (GaveUp::Permanent, 1));

    // A backend that is down: all callers together add only what the budget has left.
    busy.store(u32::MAX, Ordering::Relaxed);
    for _ in 0..100 {
        let _failed = retry.run(Idempotency::Idempotent, Verdict::of, |_| order(&busy)).await;
    }
    let spent = budget.snapshot();
    println!("{} retries of 100 failed calls, {} were refused", spent.withdrawn - 2, spent.refused);
    assert!(spent.refused >= 80);
    Ok(())
}
