//! D6, starvation: the high class at 1.1 times the capacity for ten minutes, 100 low tasks queued.
//!
//! Nothing is due here. The bound is stated in starts: the waiter at place `p` of its lane starts
//! within `p × (N + 3)` of them, N = 32. The queue is deep enough that nobody is evicted first.
//!
//! The claim about the highs' P99 says that the lows cost them no more than the work there is in
//! 100 tasks. No order of the same work on the same seats could break it. So its control is the
//! other way not to let the lows starve: seats of their own.

use std::time::Duration;

use headworks::worker_pool::{Concurrency, WorkerPoolConfig};
use headworks::{Priority, WorkerPool};

use crate::harness::claims::Claims;
use crate::harness::load::{Stream, merged};
use crate::harness::open_loop::{Fate, capacity, drive, latencies};
use crate::harness::rng::Rng;
use crate::harness::stats::quantile;
use crate::harness::{every_seed, is_long_run, simulate, some_seeds};

const SEATS: usize = 4;
const S: Duration = Duration::from_millis(100);
const BOUND: u32 = 32;
const LOWS: usize = 100;
const HIGH: usize = 0;
const LOW: usize = 1;

#[derive(Clone, Copy, PartialEq)]
enum Protection {
    Whole,
    /// The control: the higher class always goes first.
    None,
    /// The control: one of the seats is for the lows alone.
    OwnSeats,
}

#[test]
fn every_low_task_starts_within_the_stated_bound() {
    every_seed(2, |seed| trial(seed, Protection::Whole).all_hold());
}

#[test]
fn control_without_the_bound_the_low_class_starves() {
    some_seeds(|seed| trial(seed, Protection::None).breaks(&["bound"]));
}

#[test]
fn control_with_seats_of_their_own_the_lows_cost_the_highs_more_than_their_work() {
    some_seeds(|seed| trial(seed, Protection::OwnSeats).breaks(&["p99"]));
}

fn trial(seed: u64, protection: Protection) -> Claims {
    simulate(async {
        let mut rng = Rng(seed);
        let services: Vec<_> = (0..1_000).map(|_| rng.around(S)).collect();
        let whole = || pool(protection, SEATS);
        let per_second = capacity(whole(), SEATS, services).await;
        let stream = |class, kind| Stream { class, tenant: None, kind, service: S, patience: None };
        // The bound is 3,500 starts, or 88 s: the short run ends soon after.
        let length = Duration::from_secs(if is_long_run() { 600 } else { 120 });
        let high = stream(Priority::High, HIGH);
        let highs = high.over(&mut rng, Duration::ZERO, length, 1.1 * per_second);
        // They find every seat taken, and highs waiting.
        let begin = Duration::from_secs(1);
        let low = stream(Priority::Low, LOW);
        let lows: Vec<_> = (0..LOWS).map(|_| low.one(&mut rng, begin)).collect();
        let alone = drive(whole(), &highs).await;
        let fates = match protection {
            Protection::OwnSeats => {
                // Two pools have nothing to do with each other: so one after the other.
                let mut fates = drive(pool(protection, SEATS - 1), &highs).await;
                fates.extend(drive(pool(protection, 1), &lows).await);
                fates
            }
            _ => drive(whole(), &merged([highs, lows])).await,
        };
        check(&fates, &alone)
    })
}

fn pool(protection: Protection, seats: usize) -> WorkerPool {
    let config = WorkerPoolConfig::default()
        .with_concurrency(Concurrency::Fixed(seats))
        .with_queue_capacity(1 << 14)
        .with_starvation_bound(match protection {
            Protection::Whole | Protection::OwnSeats => BOUND,
            Protection::None => u32::MAX,
        });
    WorkerPool::new(config).unwrap()
}

fn check(fates: &[Fate], alone: &[Fate]) -> Claims {
    let mut claims = Claims::default();
    let lows = fates.iter().filter(|fate| fate.arrival.kind == LOW);
    for (place, low) in (1_u64..).zip(lows) {
        let bound = place * u64::from(BOUND + 3);
        let waited = low.start.map(|start| start - low.starts_before);
        let holds = waited.is_some_and(|waited| waited <= bound);
        claims.check("bound", holds, format_args!("place {place}: {waited:?} starts of {bound}"));
    }
    let highs = fates.iter().filter(|fate| fate.arrival.kind == HIGH);
    let (beside, alone) = (quantile(latencies(highs), 0.99), quantile(latencies(alone), 0.99));
    claims.check("p99", beside <= alone.mul_f64(1.2), format!("{beside:?}, alone {alone:?}"));
    claims
}
