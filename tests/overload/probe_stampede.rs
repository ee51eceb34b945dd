//! D13, probe stampede: the circuit opens with 10,000 waiting, and the backend heals. Of the first
//! probes one takes 5 s, one is cancelled, one says nothing. Calls from before the trip end meanwhile.
//!
//! Half of those who wait come back when they are told to, the others wait until it is closed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use headworks::circuit_breaker::{CallPermit, CircuitBreakerConfig, State};
use headworks::{CircuitBreaker, Enforcement};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::harness::claims::Claims;
use crate::harness::rng::Rng;
use crate::harness::{every_seed, simulate, some_seeds};

const WAITING: usize = 10_000;
const STALE: usize = 100;
const HEALS: Duration = Duration::from_secs(20);

#[test]
fn probes_are_few_and_the_crowd_comes_back_step_by_step() {
    every_seed(1, |seed| trial(seed, Enforcement::Full).all_hold());
}

#[test]
fn control_where_nobody_is_refused_all_come_at_once() {
    some_seeds(|seed| trial(seed, Enforcement::Shadow).breaks(&["probes"]));
}

#[derive(Default)]
struct Seen {
    /// Calls that were let through while it was not closed, and are under way.
    probing: Cell<usize>,
    most_probing: Cell<usize>,
    probes: Cell<usize>,
    done: Cell<usize>,
    stale_that_counted: Cell<usize>,
    /// By second since it closed: who asked, who got through.
    ramp: RefCell<Vec<(u32, u32)>>,
}

fn trial(seed: u64, enforcement: Enforcement) -> Claims {
    simulate(LocalSet::new().run_until(async move {
        let config = CircuitBreakerConfig::default()
            .with_slow_after(Some(Duration::from_secs(10)))
            .with_open_jitter_ratio(0.0)
            .with_enforcement(enforcement);
        let probes = config.probes.get() as usize;
        let breaker = CircuitBreaker::new(config).unwrap();
        let (mut rng, start, seen) = (Rng(seed), Instant::now(), Rc::new(Seen::default()));
        let tasks = LocalSet::new();
        for _ in 0..STALE {
            let stale = breaker.try_acquire_owned().unwrap();
            let (breaker, seen) = (breaker.clone(), Rc::clone(&seen));
            let (ends, succeeds) = (rng.around(Duration::from_secs(30)), rng.ratio() < 0.5);
            tasks.spawn_local(async move {
                sleep(ends).await;
                let before = breaker.state();
                if succeeds {
                    stale.success()
                } else {
                    stale.failure()
                }
                let changed = usize::from(breaker.state() != before);
                seen.stale_that_counted.set(seen.stale_that_counted.get() + changed);
            });
        }
        while breaker.state() == State::Closed {
            breaker.try_acquire().unwrap().failure();
        }
        for caller in 0..WAITING {
            let (breaker, seen) = (breaker.clone(), Rc::clone(&seen));
            tasks.spawn_local(async move {
                while !attempt(&breaker, &seen, caller, start).await {}
                seen.done.set(seen.done.get() + 1);
            });
        }
        let in_time = timeout(Duration::from_secs(300), tasks).await.is_ok();
        let mut claims = Claims::default();
        let most = seen.most_probing.get();
        claims.check("probes", most <= probes, format_args!("{most} at once"));
        let done = seen.done.get();
        claims.check("not stuck", in_time && done == WAITING, format_args!("{done} are done"));
        let stale = seen.stale_that_counted.get();
        claims.check("stale", stale == 0, format_args!("{stale} changed something"));
        let ramp = seen.ramp.borrow();
        let follows = ramp
            .iter()
            .zip([0.10, 0.25, 0.50])
            .all(|(&(asked, through), share)| f64::from(through) <= f64::from(asked) * share + 2.0);
        claims.check("ramp", follows && ramp.len() >= 3, format!("{ramp:?}"));
        claims
    }))
}

/// Asks, and makes its call if it may. Whether it is done.
async fn attempt(breaker: &CircuitBreaker, seen: &Seen, caller: usize, start: Instant) -> bool {
    let before = breaker.state();
    let permit = breaker.try_acquire();
    note_ramp(breaker, seen, permit.is_ok(), start);
    match permit {
        Ok(permit) if before == State::Closed => {
            sleep(Duration::from_millis(10)).await;
            permit.success();
            true
        }
        Ok(permit) => {
            let under_way = seen.probing.get() + 1;
            seen.probing.set(under_way);
            seen.most_probing.set(under_way.max(seen.most_probing.get()));
            probe(permit, seen, start).await
        }
        Err(_) if caller.is_multiple_of(2) && before != State::Closed && caller > 100 => {
            breaker.wait_until_closed().await.is_err()
        }
        Err(open) => {
            sleep_until(open.next_probe_at().expect("nobody forces it").into()).await;
            false
        }
    }
}

async fn probe(permit: CallPermit<'_>, seen: &Seen, start: Instant) -> bool {
    let number = seen.probes.get();
    seen.probes.set(number + 1);
    match number {
        0 => sleep(Duration::from_secs(5)).await,
        _ => sleep(Duration::from_millis(10)).await,
    }
    seen.probing.set(seen.probing.get() - 1);
    match number {
        1 => {
            drop(permit);
            return false;
        }
        2 => {
            permit.ignore();
            return false;
        }
        _ => {}
    }
    if start.elapsed() >= HEALS {
        permit.success();
        return true;
    }
    permit.failure();
    sleep(Duration::from_secs(1)).await;
    false
}

/// What became of those who asked in each of the first seconds after it closed.
fn note_ramp(breaker: &CircuitBreaker, seen: &Seen, got_through: bool, start: Instant) {
    thread_local! {
        static CLOSED: Cell<Option<(Instant, Instant)>> = const { Cell::new(None) };
    }
    if breaker.state() != State::Closed {
        return;
    }
    let since = match CLOSED.get() {
        Some((run, since)) if run == start => since,
        _ => Instant::now(),
    };
    CLOSED.set(Some((start, since)));
    let second = since.elapsed().as_secs() as usize;
    let mut ramp = seen.ramp.borrow_mut();
    if ramp.len() <= second {
        ramp.resize(second + 1, (0, 0));
    }
    ramp[second].0 += 1;
    ramp[second].1 += u32::from(got_through);
}
