//! D3, brown-out: a dependency answers a quarter of its calls in 500 ms instead of 10 (stage 1, 60 s),
//! then all of them (stage 2, 60 s), and is well again. It shares 128 seats with another one.
//!
//! It is called 400 times a second: with a quarter slow it takes 53 seats, with all slow it would
//! take 200. No call ever fails; what opens the circuit is the share of slow ones.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use headworks::circuit_breaker::{Cause, CircuitBreakerConfig, State, StateChange, Window};
use headworks::{CircuitBreaker, Enforcement};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::harness::claims::Claims;
use crate::harness::rng::Rng;
use crate::harness::{every_seed, simulate, some_seeds};

const SEATS: usize = 128;
const PER_SECOND: f64 = 400.0;
const QUICK: Duration = Duration::from_millis(10);
const SLOW: Duration = Duration::from_millis(500);
const WINDOW: Duration = Duration::from_secs(5);
const STAGE: Duration = Duration::from_secs(60);
const LENGTH: Duration = Duration::from_secs(300);

#[test]
fn a_quarter_slow_is_borne_and_all_slow_opens_it() {
    every_seed(2, |seed| trial(seed, Enforcement::Full).all_hold());
}

#[test]
fn control_without_the_breaker_the_other_dependency_waits_for_seats() {
    some_seeds(|seed| trial(seed, Enforcement::Shadow).breaks(&["others"]));
}

/// How long a call that begins then takes.
fn service(rng: &mut Rng, at: Duration) -> Duration {
    let slow = match at.as_secs() / STAGE.as_secs() {
        1 => rng.ratio() < 0.25,
        2 => true,
        _ => false,
    };
    rng.around(if slow { SLOW } else { QUICK })
}

fn trial(seed: u64, enforcement: Enforcement) -> Claims {
    simulate(LocalSet::new().run_until(async move {
        let config = CircuitBreakerConfig::default()
            .with_window(Window::Time(WINDOW))
            .with_slow_after(Some(Duration::from_millis(100)))
            .with_slow_ratio(Some(0.5))
            .with_open_for(Duration::from_secs(5))
            .with_open_for_most(Duration::from_secs(20))
            .with_open_jitter_ratio(0.0)
            .with_enforcement(enforcement);
        let breaker = CircuitBreaker::new(config).unwrap();
        let mut events = breaker.events().unwrap();
        let (seats, start) = (Rc::new(Semaphore::new(SEATS)), Instant::now());
        let (mut rng, mut at) = (Rng(seed), Duration::ZERO);
        let others = Rc::new(RefCell::new(Vec::new()));
        let mut changes = Vec::new();
        while at < LENGTH {
            at += rng.gap(2.0 * PER_SECOND);
            sleep_until(start + at).await;
            let seats = Rc::clone(&seats);
            if rng.ratio() < 0.5 {
                let (breaker, took) = (breaker.clone(), service(&mut rng, at));
                tokio::task::spawn_local(async move {
                    let _seat = seats.acquire().await;
                    let answer = async {
                        sleep(took).await;
                        Ok::<_, ()>(())
                    };
                    let _ = breaker.call(answer).await;
                });
            } else {
                let (others, took) = (Rc::clone(&others), rng.around(QUICK));
                tokio::task::spawn_local(async move {
                    let came = Instant::now();
                    let _seat = seats.acquire().await;
                    sleep(took).await;
                    others.borrow_mut().push((at, came.elapsed()));
                });
            }
            changes.extend(std::iter::from_fn(|| events.try_recv()));
        }
        check(&changes, &others.borrow(), start)
    }))
}

fn check(changes: &[StateChange], others: &[(Duration, Duration)], start: Instant) -> Claims {
    let mut claims = Claims::default();
    let when = |change: &StateChange| change.at.saturating_duration_since(start.into());
    let first = changes.iter().find(|change| change.to == State::Open);
    let opened = first.map(when).unwrap_or_default();
    claims.check("stage 1", opened >= 2 * STAGE, format!("opened at {opened:?}"));
    let in_time = first.is_some_and(|first| {
        matches!(first.cause, Cause::Slow | Cause::InFlight)
            && when(first) <= 2 * STAGE + 2 * WINDOW
    });
    claims.check("stage 2", in_time, format!("{first:?}"));
    let healed = 3 * STAGE;
    let closed = changes.iter().rfind(|change| change.to == State::Closed).map(when);
    let period = changes
        .windows(2)
        .filter(|pair| pair[0].to == State::Open)
        .map(|pair| when(&pair[1]).saturating_sub(when(&pair[0])))
        .max()
        .unwrap_or_default();
    let soon = closed.is_some_and(|closed| closed >= healed && closed <= healed + 2 * period);
    claims.check("closes", soon, format!("closed at {closed:?}, openings of up to {period:?}"));
    let p99 = |from: Duration, to: Duration| {
        let mut took: Vec<_> = others
            .iter()
            .filter(|(at, _)| (from..to).contains(at))
            .map(|(_, took)| *took)
            .collect();
        took.sort_unstable();
        took[took.len() * 99 / 100]
    };
    let (well, all) = (p99(Duration::ZERO, STAGE), p99(STAGE, LENGTH));
    let held = all <= well.mul_f64(1.1);
    claims.check("others", held, format!("P99 {all:?}, {well:?} while all was well"));
    claims
}
