//! D5, the retry wave: 10,000 callers are told the same `retry_after` at the same moment.
//!
//! They come back not before it, and spread: in no fiftieth of the time over which they are meant
//! to come back do more than twice as many come as on average.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use headworks::retry::{Idempotency, RetryBudget, RetryBudgetConfig, RetryPolicy};
use headworks::{Retry, Verdict};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::harness::claims::Claims;
use crate::harness::{every_seed, simulate, some_seeds};

const CALLERS: usize = 10_000;
const TOLD: Duration = Duration::from_secs(2);
/// Half as long again.
const SPREAD: Duration = Duration::from_secs(1);
const PARTS: usize = 50;

/// What each is told.
const BY_THE_BACKEND: Verdict = Verdict::overloaded(Some(TOLD));
const BY_A_BLOCK: Verdict = Verdict::refused(Some(TOLD));

#[test]
fn a_wave_that_was_told_the_same_comes_back_spread() {
    every_seed(3, |seed| {
        trial(seed, Some(BY_THE_BACKEND)).all_hold();
        trial(seed, Some(BY_A_BLOCK)).all_hold();
    });
}

#[test]
fn control_callers_that_do_as_they_are_told_come_back_together() {
    some_seeds(|seed| trial(seed, None).breaks(&["spread"]));
}

/// `None`: everybody waits for as long as it was told.
fn trial(seed: u64, verdict: Option<Verdict>) -> Claims {
    simulate(async {
        let epoch = Instant::now();
        let budget = RetryBudgetConfig::default().with_floor_per_second(1_000_000);
        let budget = RetryBudget::new(budget).unwrap();
        let retry =
            Retry::new(RetryPolicy::default().with_refusals_wait_most(TOLD), budget).unwrap();
        retry.reseed(seed);
        let came = Arc::new(Mutex::new(Vec::with_capacity(CALLERS)));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (retry, came) = (retry.clone(), Arc::clone(&came));
            callers.spawn(async move {
                let back = || came.lock().unwrap().push(epoch.elapsed());
                let Some(verdict) = verdict else {
                    sleep(TOLD).await;
                    return back();
                };
                let attempt = |number| {
                    if number > 1 {
                        back();
                    }
                    std::future::ready(if number > 1 { Ok(()) } else { Err(verdict) })
                };
                let judge = |result: &Result<(), Verdict>| {
                    result.map_or_else(|verdict| verdict, |()| Verdict::success())
                };
                retry.run(Idempotency::Idempotent, judge, attempt).await.unwrap();
            });
        }
        callers.join_all().await;
        let came = came.lock().unwrap();
        check(&came)
    })
}

fn check(came: &[Duration]) -> Claims {
    let mut claims = Claims::default();
    let first = came.iter().min().unwrap();
    claims.check("not_before", *first >= TOLD, format!("the first after {first:?}"));
    let mut parts = [0_usize; PARTS];
    for at in came {
        let share = at.saturating_sub(TOLD).as_secs_f64() / SPREAD.as_secs_f64();
        parts[((share * PARTS as f64) as usize).min(PARTS - 1)] += 1;
    }
    let (peak, mean) = (parts.iter().max().unwrap(), CALLERS / PARTS);
    claims.check("spread", *peak <= 2 * mean, format!("{peak} at once, {mean} on average"));
    claims
}
