//! The table that the room's head shows, and scenario D15. `HEADWORKS_SEEDS` says over how many
//! seeds; each is named where something fails.

use std::time::Duration;

use super::backend::{Backend, Control, Report, run};
use super::rivals::named;
use crate::blocks::worker_pool::limit::window::Sample;
use crate::ground::rng::Rng;
use crate::ground::time::now;

const MAX: u32 = 1_000;
const LASTS: u64 = 240;

const CHOSEN: &str = "Vegas";
const GUARDED: [&str; 3] = ["AIMD", "Gradient2", CHOSEN];
const ALONE: [&str; 3] = ["AIMD alone", "Gradient2 alone", "Vegas alone"];

/// A name, and what the backend is like at each second.
type Scene = (&'static str, fn(f64) -> Backend);

const STEADY: Scene = ("saturated", |_| Backend::PLAIN);
const THRASHES: Scene = ("thrashing", |_| Backend { thrash: 0.5, ..Backend::PLAIN });
const STEPS: Scene = ("capacity × 0.3 and back", |t| {
    let knee = if (80.0..160.0).contains(&t) { 30.0 } else { 100.0 };
    Backend { knee, ..Backend::PLAIN }
});

const SCENES: [Scene; 8] = [
    STEADY,
    THRASHES,
    ("noisy (σ = 1)", |_| Backend { noise: 1.0, ..Backend::PLAIN }),
    ("1 % hang", |_| Backend { hang_ratio: 0.01, ..Backend::PLAIN }),
    STEPS,
    ("service time doubles", |t| Backend {
        service: if t < 80.0 { 0.1 } else { 0.2 },
        ..Backend::PLAIN
    }),
    ("capacity drifts", |t| Backend { knee: 100.0 + 60.0 * (t / 40.0).sin(), ..Backend::PLAIN }),
    ("demand at 0.7", |_| Backend { demand: 700.0, ..Backend::PLAIN }),
];

fn seeds() -> std::ops::RangeInclusive<u64> {
    1..=std::env::var("HEADWORKS_SEEDS").map_or(1, |seeds| seeds.parse().unwrap())
}

fn simulate(name: &str, (_, at): Scene, seed: u64) -> Report {
    let start = now();
    let mut control = named(name, MAX, start);
    run(&mut *control, at, Duration::from_secs(LASTS), start, &mut Rng::seeded(seed))
}

/// Seconds from `from` until three in a row are good.
fn until(from: usize, good: impl Fn(usize) -> bool) -> f64 {
    let after = (from..LASTS as usize - 3).find(|&at| (at..at + 3).all(&good));
    after.map_or(f64::INFINITY, |at| (at - from) as f64)
}

/// Seconds until the limit has followed a fall of capacity, and goodput its return.
fn recovery(report: &Report) -> [f64; 2] {
    let follows = until(80, |at| report.limits[at] <= 45);
    let returns = until(160, |at| report.goodputs[at] >= 900);
    [follows, returns]
}

#[test]
fn the_table() {
    let seeds = seeds();
    let count = *seeds.end() as f64;
    println!("| backend | | goodput | p99 | over the knee | follows | returns |");
    println!("|---|---|---|---|---|---|---|");
    for scene in SCENES {
        for name in GUARDED.into_iter().chain(ALONE) {
            let (mut sum, mut turns) = ([0.0; 3], [0.0; 2]);
            for seed in seeds.clone() {
                let report = simulate(name, scene, seed);
                sum[0] += report.goodput_ratio * 100.0 / count;
                sum[1] += report.p99 * 1e3 / count;
                sum[2] += report.over_ratio * 100.0 / count;
                let recovery = recovery(&report);
                turns[0] += recovery[0] / count;
                turns[1] += recovery[1] / count;
            }
            let turns = match scene.0 == STEPS.0 {
                true => turns.map(|turn| match turn.is_finite() {
                    true => format!("{turn:.0} s"),
                    false => "never".to_owned(),
                }),
                false => [String::new(), String::new()],
            };
            let [goodput, p99, over] = sum;
            println!(
                "| {} | {name} | {goodput:.0} % | {p99:.0} ms | {over:.0} % | {} | {} |",
                scene.0, turns[0], turns[1]
            );
        }
    }
}

/// What must hold in a saturated backend, one that thrashes, and one whose capacity changes.
fn verdict(name: &str, seed: u64) -> Result<(), String> {
    let idle_p99 = 0.192;
    for scene in [STEADY, THRASHES, STEPS] {
        let report = simulate(name, scene, seed);
        let Report { goodput_ratio, p99, over_ratio, .. } = report;
        if goodput_ratio < 0.8 || p99 > idle_p99 * 2.0 || over_ratio > 0.4 {
            let scene = scene.0;
            return Err(format!("{scene}: {goodput_ratio:.2} {p99:.3} s {over_ratio:.2}"));
        }
    }
    Ok(())
}

#[test]
fn it_keeps_goodput_and_latency_where_no_rule_does_without_the_guard() {
    for seed in seeds() {
        assert_eq!(verdict(CHOSEN, seed), Ok(()), "seed {seed}");
        for name in ALONE {
            assert!(verdict(name, seed).is_err(), "{name}, seed {seed}");
        }
    }
}

/// D15: where the limit is after ten minutes in which every call takes exactly its timeout.
fn after_ten_dead_minutes(name: &str, healthy: u64, seed: u64) -> u32 {
    let start = now();
    let mut control = named(name, MAX, start);
    let at = |t| match t < healthy as f64 {
        true => Backend::PLAIN,
        false => Backend { service: 1e9, ..Backend::PLAIN },
    };
    let lasts = Duration::from_secs(healthy + 600);
    run(&mut *control, at, lasts, start, &mut Rng::seeded(seed));
    control.limit()
}

#[test]
fn d15_when_every_call_takes_its_timeout_the_limit_falls_to_its_minimum() {
    for seed in seeds() {
        for healthy in [0, 60] {
            assert_eq!(after_ten_dead_minutes(CHOSEN, healthy, seed), 1, "seed {seed}");
        }
    }
    // It starts at 20.
    assert!(after_ten_dead_minutes("Gradient2 alone", 0, 1) > 40);
}

/// The limits of 24 hours in a saturated backend, without the first ten minutes.
fn a_saturated_day(name: &str, seed: u64) -> Vec<u32> {
    let start = now();
    let mut control = named(name, MAX, start);
    let slow = |_| Backend { service: 1.0, knee: 50.0, ..Backend::PLAIN };
    let day = Duration::from_secs(86_400);
    let report = run(&mut *control, slow, day, start, &mut Rng::seeded(seed));
    report.limits[600..].to_vec()
}

fn stays(limits: &[u32], around: u32) -> bool {
    let around = f64::from(around);
    limits.iter().all(|&limit| (f64::from(limit) / around - 1.0).abs() <= 0.15)
}

#[test]
fn d15_in_a_saturated_backend_the_limit_stays_for_a_day() {
    for seed in seeds() {
        let limits = a_saturated_day(CHOSEN, seed);
        let mut sorted = limits.clone();
        sorted.sort_unstable();
        let median = sorted[sorted.len() / 2];
        let bounds = (sorted[0], median, sorted[sorted.len() - 1]);
        println!("seed {seed}: {bounds:?}");
        assert!(stays(&limits, median), "seed {seed}: {bounds:?}");
    }
    let limits = a_saturated_day("Gradient2 alone", 1);
    assert_eq!(limits.last(), Some(&MAX), "without the guard it climbs for ever");
}

/// The limits of 24 hours in which every call takes a quarter longer than in an idle backend, and
/// throughput is what it is, whatever the limit.
fn a_day_of_gradient(name: &str) -> Vec<u32> {
    let (mut now, mut limits) = (now(), Vec::new());
    let mut control: Box<dyn Control> = named(name, MAX, now);
    let mut call = |control: &mut dyn Control, took, every| {
        now += every;
        let in_flight = control.limit();
        control.sample(Sample { took, is_dropped: false, in_flight }, now);
    };
    let idle = Duration::from_secs(1);
    // Up to 50 nothing waits inside.
    while control.limit() < 50 {
        let every = idle / control.limit();
        call(&mut *control, idle, every);
    }
    let every = idle / control.limit();
    let calls = Duration::from_secs(86_400).as_nanos() / every.as_nanos();
    for _ in 0..calls / 8 {
        (0..8).for_each(|_| call(&mut *control, idle * 5 / 4, every));
        limits.push(control.limit());
    }
    limits
}

#[test]
fn d15_under_a_constant_gradient_the_limit_stays_for_a_day() {
    let limits = a_day_of_gradient(CHOSEN);
    // Ten minutes to find out.
    let limits = &limits[limits.len() / 144..];
    assert!(stays(limits, limits[0]), "{} .. {:?}", limits[0], limits.iter().max());
    for name in ALONE {
        let limits = a_day_of_gradient(name);
        assert_eq!(limits.last(), Some(&MAX), "{name} climbs for ever");
    }
}
