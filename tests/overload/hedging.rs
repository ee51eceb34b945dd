//! Hedging: 1 % of the calls take 100 times as long; then all do.
//!
//! With a hedge the 99.9th percentile is at most a fifth of that without, for at most 3 % extra
//! requests. When every call is slow, a second one would be too: there are none, but for those
//! that were saved up before it was known.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headworks::Verdict;
use headworks::retry::{Hedge, HedgeConfig, Idempotency, RetryBudget, RetryBudgetConfig};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::harness::claims::Claims;
use crate::harness::rng::Rng;
use crate::harness::{every_seed, simulate, some_seeds};

const USUAL: Duration = Duration::from_millis(10);
const SLOW: u32 = 100;
const PER_SECOND: f64 = 500.0;
const CALLS: usize = 20_000;
/// What was saved up, and what calls that were under way have earned.
const KNOWN_TOO_LATE: u64 = 5;

#[derive(Clone, Copy, PartialEq)]
enum Protection {
    Hedge,
    /// The control: one attempt.
    None,
    /// The control: a second attempt after three times the usual, whatever is going on.
    FixedDelay,
}

/// How many of the calls are slow.
#[derive(Clone, Copy, PartialEq)]
enum Day {
    Stragglers,
    AllSlow,
    /// The second half is.
    BecomesSlow,
}

/// What came of it.
struct Seen {
    /// From the intended arrival, of every call.
    took: Vec<Duration>,
    /// Second requests that the backend saw.
    extra: u64,
}

#[test]
fn stragglers_are_overtaken_for_little() {
    every_seed(3, |seed| stragglers(seed, Protection::Hedge).all_hold());
}

#[test]
fn when_all_are_slow_nothing_is_sent_twice() {
    every_seed(3, |seed| slow(seed, Protection::Hedge).all_hold());
}

#[test]
fn control_without_a_hedge_stragglers_are_the_tail() {
    some_seeds(|seed| stragglers(seed, Protection::None).breaks(&["p999"]));
}

#[test]
fn control_with_a_fixed_delay_a_slow_day_is_sent_twice() {
    some_seeds(|seed| slow(seed, Protection::FixedDelay).breaks(&["all_slow", "becomes_slow"]));
}

fn stragglers(seed: u64, protection: Protection) -> Claims {
    let mut claims = Claims::default();
    let plain = quantile(trial(seed, Protection::None, Day::Stragglers).took, 0.999);
    let seen = trial(seed, protection, Day::Stragglers);
    let p999 = quantile(seen.took, 0.999);
    claims.check("p999", p999 * 5 <= plain, format!("{p999:?}, without {plain:?}"));
    let extra = seen.extra as f64 / CALLS as f64;
    claims.check("extra", extra <= 0.03, format!("{:.2} % extra", extra * 100.0));
    claims
}

fn slow(seed: u64, protection: Protection) -> Claims {
    let mut claims = Claims::default();
    let extra = trial(seed, protection, Day::AllSlow).extra;
    claims.check("all_slow", extra == 0, format!("{extra} of {CALLS}"));
    let extra = trial(seed, protection, Day::BecomesSlow).extra;
    claims.check("becomes_slow", extra <= KNOWN_TOO_LATE, format!("{extra} of {CALLS}"));
    claims
}

fn trial(seed: u64, protection: Protection, day: Day) -> Seen {
    simulate(async {
        let mut rng = Rng(seed);
        let epoch = Instant::now();
        let budget = RetryBudget::new(RetryBudgetConfig::default()).unwrap();
        let hedge = Hedge::new(HedgeConfig::default(), budget).unwrap();
        let (extra, took) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let mut callers = JoinSet::new();
        let mut at = Duration::ZERO;
        for call in 0..CALLS {
            at += rng.gap(PER_SECOND);
            sleep_until(epoch + at).await;
            let services = [service(&mut rng, day, call), service(&mut rng, day, call)];
            let (hedge, extra, took) = (hedge.clone(), Arc::clone(&extra), Arc::clone(&took));
            callers.spawn(async move {
                make(protection, &hedge, services, &extra).await;
                took.lock().unwrap().push((epoch + at).elapsed());
            });
        }
        callers.join_all().await;
        let took = std::mem::take(&mut *took.lock().unwrap());
        Seen { took, extra: extra.load(Ordering::Relaxed) }
    })
}

/// How long an attempt of this call would take.
fn service(rng: &mut Rng, day: Day, call: usize) -> Duration {
    let is_slow = match day {
        Day::Stragglers => rng.one_in(100),
        Day::AllSlow => true,
        Day::BecomesSlow => call >= CALLS / 2,
    };
    rng.around(USUAL) * if is_slow { SLOW } else { 1 }
}

/// One call, whose attempts take so long.
async fn make(protection: Protection, hedge: &Hedge, services: [Duration; 2], extra: &AtomicU64) {
    let attempt = |number: u32| {
        extra.fetch_add(u64::from(number - 1), Ordering::Relaxed);
        let service = services[number as usize - 1];
        async move {
            sleep(service).await;
            Ok::<_, std::convert::Infallible>(())
        }
    };
    match protection {
        Protection::Hedge => {
            hedge.run(Idempotency::Idempotent, Verdict::of, attempt).await.unwrap();
        }
        Protection::None => attempt(1).await.unwrap(),
        Protection::FixedDelay => {
            let mut first = std::pin::pin!(attempt(1));
            if timeout(USUAL * 3, first.as_mut()).await.is_err() {
                tokio::select! {
                    biased;
                    _ = first => {}
                    _ = attempt(2) => {}
                }
            }
        }
    }
}

fn quantile(mut took: Vec<Duration>, share: f64) -> Duration {
    took.sort_unstable();
    took[(share * took.len() as f64).ceil() as usize - 1]
}
