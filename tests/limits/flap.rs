//! Scenario D17: a load that goes up and down, against the best fixed number of seats.

use std::collections::BTreeMap;
use std::time::Duration;

use headworks::WorkerPool;
use headworks::worker_pool::{Autoscale, Concurrency, WorkerPoolConfig};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::{MS, SECOND, ends_exactly};

/// The most seats, and what a task takes: capacity is 1,600 a second.
const SEATS: usize = 32;
const SERVICE: Duration = Duration::from_millis(20);
const CAPACITY: f64 = 1_600.0;

/// SplitMix64.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> Duration {
        Duration::from_secs_f64(-(1.0 - self.unit()).ln() * mean)
    }
}

struct Seen {
    p99: Duration,
    /// When the limit changed, to 10 ms.
    changes: Vec<Duration>,
}

impl Seen {
    /// The most changes in any stretch of this length.
    fn most_changes_within(&self, time: Duration) -> usize {
        let counts = self.changes.iter().enumerate().map(|(at, &first)| {
            self.changes[at..].iter().take_while(|&&change| change < first + time).count()
        });
        counts.max().unwrap_or(0)
    }
}

/// Offers a square wave of this period for so long, and counts that nothing is lost.
async fn run(concurrency: Concurrency, period: Duration, lasts: Duration, seed: u64) -> Seen {
    let config = WorkerPoolConfig::default().with_concurrency(concurrency);
    let pool = WorkerPool::new(config.with_queue_capacity(100_000)).unwrap();
    let (start, mut chance) = (Instant::now(), Chance(seed));
    let (told, mut ended) = mpsc::channel(1 << 20);
    let (mut at, mut offered) = (Duration::ZERO, 0_u64);
    let mut changes = Vec::new();
    let (mut looked, mut known) = (Duration::ZERO, 0);
    while at < lasts {
        let is_high = (at.as_secs_f64() / period.as_secs_f64()).fract() >= 0.5;
        let rate = CAPACITY * if is_high { 0.9 } else { 0.2 };
        at += chance.exponential(1.0 / rate);
        while looked + MS * 10 <= at {
            looked += MS * 10;
            sleep_until(start + looked).await;
            let now = pool.snapshot().limit_changes;
            changes.extend((known..now).map(|_| looked));
            known = now;
        }
        sleep_until(start + at).await;
        let (takes, told, submitted) =
            (chance.exponential(SERVICE.as_secs_f64()), told.clone(), Instant::now());
        let task = async move {
            sleep(takes).await;
            told.try_send(submitted.elapsed()).unwrap();
        };
        drop(pool.try_submit(task).unwrap());
        offered += 1;
    }
    let report = ends_exactly(&pool).await;
    assert_eq!(report.ledger.completed, offered, "nothing is lost");
    drop(told);
    let mut took = Vec::new();
    while let Some(one) = ended.recv().await {
        took.push(one);
    }
    took.sort_unstable();
    Seen { p99: took[took.len() * 99 / 100], changes }
}

/// What must hold of a run, by the best of the fixed sizes.
fn verdict(seen: &Seen, best: Duration, cool_down: Duration) -> Result<(), String> {
    // Changes are seen 10 ms late at the most.
    let most = seen.most_changes_within(cool_down - MS * 20);
    if most > 1 {
        return Err(format!("{most} changes within {cool_down:?}"));
    }
    if seen.p99.as_secs_f64() > best.as_secs_f64() * 1.5 {
        return Err(format!("p99 {:?}, fixed {best:?}", seen.p99));
    }
    Ok(())
}

/// For the first seed among several, which shows that the largest is the best; for the others that.
async fn best_fixed(period: Duration, lasts: Duration, seed: u64) -> Duration {
    let mut sizes = BTreeMap::new();
    let smaller: &[usize] = if seed == 1 { &[16, 24, 28] } else { &[] };
    for &seats in smaller.iter().chain(&[SEATS]) {
        let seen = run(Concurrency::Fixed(seats), period, lasts, seed).await;
        sizes.insert(seats, seen.p99);
    }
    println!("seed {seed}, period {period:?}: fixed {sizes:?}");
    *sizes.values().min().unwrap()
}

/// A few seeds, or as many as `HEADWORKS_SEEDS` says.
pub(super) fn seeds(few: u64) -> std::ops::RangeInclusive<u64> {
    1..=std::env::var("HEADWORKS_SEEDS").map_or(few, |seeds| seeds.parse().unwrap())
}

/// Long enough that what a cold start costs is less than a hundredth: in the short period up to a
/// cool-down of waiting falls into a high phase, 1,440 tasks of 880 a second.
const PERIODS: [(Duration, Duration); 2] = [
    (Duration::from_secs(2), SECOND.saturating_mul(180)),
    (Duration::from_secs(60), SECOND.saturating_mul(120)),
];

fn short_of_breath() -> Autoscale {
    Autoscale::between(2, SEATS)
}

#[tokio::test(start_paused = true)]
async fn a_square_wave_does_not_make_it_flap() {
    for seed in seeds(1) {
        for (period, lasts) in PERIODS {
            let best = best_fixed(period, lasts, seed).await;
            // As it is by default; and so that seats go and come back in every long period.
            for config in [short_of_breath(), short_of_breath().with_idle_after(SECOND * 10)] {
                let seen = run(config.into(), period, lasts, seed).await;
                println!("seed {seed}, {period:?}: p99 {:?}, {:?}", seen.p99, seen.changes);
                let verdict = verdict(&seen, best, config.cool_down);
                assert_eq!(verdict, Ok(()), "seed {seed}, period {period:?}, {config:?}");
            }
        }
    }
}

/// The negative control: without cool-down and with no patience for idle seats the same load
/// fails the same assertions.
#[tokio::test(start_paused = true)]
async fn without_hysteresis_it_flaps() {
    let config = short_of_breath().with_cool_down(MS).with_idle_after(MS * 20);
    for (period, lasts) in PERIODS {
        let best = run(Concurrency::Fixed(SEATS), period, lasts, 1).await.p99;
        let seen = run(config.into(), period, lasts, 1).await;
        let verdict = verdict(&seen, best, short_of_breath().cool_down);
        assert!(verdict.is_err(), "period {period:?}");
    }
}
