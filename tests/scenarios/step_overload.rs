//! D2, step overload: 0.5 → 1.4 → 10 → 0.5 times the capacity, half a minute each.
//!
//! Tasks take S = 400 ms and are due 20 S after they came. The mix is 10 % Urgent (never more than
//! 0.3 of the capacity), 30 % Normal, 60 % Low; what Urgent leaves at 10 times is shared as 30 : 60.

use std::collections::BTreeMap;
use std::time::Duration;

use headworks::worker_pool::{Concurrency, Thresholds, WorkerPoolConfig};
use headworks::{IntentPipeline, PhaseConfig, PipelineConfig, Priority, WorkerPool};

use crate::harness::claims::Claims;
use crate::harness::load::{Arrival, Stream, merged};
use crate::harness::open_loop::{Does, Fate, Subject, Work, capacity, drive, latencies, success};
use crate::harness::rng::Rng;
use crate::harness::stats::quantile;
use crate::harness::{every_seed, ms, simulate, some_seeds};

const SEATS: usize = 32;
/// Six services deep, and Low, which gets what the others leave, does not wait for longer than it
/// is worth anything. Between two thresholds lie at least nine places, more than are worked off in
/// 100 ms: else a class could be let in right after the next higher one was shed. Fewer seats, and
/// chance alone moves the goodput of ten seconds by a percent or two.
const PLACES: usize = 192;
const S: Duration = Duration::from_millis(400);
const STEP: Duration = Duration::from_secs(30);
const LOADS: [f64; 4] = [0.5, 1.4, 10.0, 0.5];
/// Lowest first, as `Priority`.
const CLASSES: [(Priority, f64); 3] =
    [(Priority::Low, 0.6), (Priority::Normal, 0.3), (Priority::Urgent, 0.1)];
const MOST_URGENT: f64 = 0.3;

#[derive(Clone, Copy, PartialEq)]
enum Protection {
    Whole,
    /// The control: one class, one threshold, first come first served.
    PlainQueue,
    /// The control: the same, without a cap to speak of and without deadlines.
    None,
}

#[test]
fn the_highest_class_does_not_notice_ten_times_the_load() {
    every_seed(3, |seed| trial(seed, Protection::Whole).all_hold());
}

/// The same, by the façade.
#[test]
fn a_whole_pipeline_keeps_the_same_claims() {
    every_seed(1, |seed| trial_of(seed, Protection::Whole, pipeline).all_hold());
}

#[test]
fn control_of_the_pipeline_with_a_plain_queue() {
    some_seeds(|seed| {
        trial_of(seed, Protection::PlainQueue, pipeline).breaks(&["success", "p99", "order"]);
    });
}

#[test]
fn control_a_plain_queue_sheds_the_highest_class_with_the_rest() {
    some_seeds(|seed| {
        trial(seed, Protection::PlainQueue).breaks(&["success", "p99", "order"]);
    });
}

#[test]
fn control_without_cap_and_deadlines_nothing_comes_in_time() {
    some_seeds(|seed| {
        let broken = ["success", "p99", "goodput", "stable", "order"];
        trial(seed, Protection::None).breaks(&broken);
    });
}

fn trial(seed: u64, protection: Protection) -> Claims {
    trial_of(seed, protection, pool)
}

fn trial_of<S: Subject>(
    seed: u64,
    protection: Protection,
    subject: impl Fn(Protection) -> S,
) -> Claims {
    simulate(async {
        let mut rng = Rng(seed);
        let services: Vec<_> = (0..2_000).map(|_| rng.around(S)).collect();
        let per_second = capacity(pool(protection), SEATS, services).await;
        let mut arrivals = arrivals(&mut rng, per_second);
        if protection != Protection::Whole {
            arrivals.iter_mut().for_each(|arrival| unprotect(arrival, protection));
        }
        let urgent: Vec<_> = arrivals.iter().filter(|one| is_urgent(one)).copied().collect();
        let alone = drive(subject(protection), &urgent).await;
        let unloaded = quantile(latencies(&alone), 0.99);
        let fates = drive(subject(protection), &arrivals).await;
        let mut claims = Claims::default();
        check(&mut claims, &fates, unloaded, per_second);
        claims
    })
}

/// Places of the queue, and who may have them.
fn queue(protection: Protection) -> (usize, Thresholds) {
    match protection {
        Protection::Whole => (PLACES, Thresholds::default()),
        Protection::PlainQueue => (PLACES, Thresholds::flat(1.0)),
        Protection::None => (1 << 20, Thresholds::flat(1.0)),
    }
}

fn pool(protection: Protection) -> WorkerPool {
    let (places, thresholds) = queue(protection);
    let config = WorkerPoolConfig::default()
        .with_concurrency(Concurrency::Fixed(SEATS))
        .with_queue_capacity(places)
        .with_thresholds(thresholds);
    WorkerPool::new(config).unwrap()
}

fn pipeline(protection: Protection) -> IntentPipeline<Work, ()> {
    let (places, thresholds) = queue(protection);
    let config = PipelineConfig::default()
        .with_seats(SEATS)
        .with_queue_capacity(places)
        .with_thresholds(thresholds);
    let phase = PhaseConfig::remote().with_concurrency(SEATS);
    IntentPipeline::builder::<Work>(config).phase("does", phase, Does).build().unwrap()
}

fn unprotect(arrival: &mut Arrival, protection: Protection) {
    arrival.class = Priority::Normal;
    arrival.says_due = protection == Protection::PlainQueue;
}

fn arrivals(rng: &mut Rng, capacity: f64) -> Vec<Arrival> {
    let steps = (0..).zip(LOADS).flat_map(|(step, load)| {
        let urgent = (load * 0.1).min(MOST_URGENT);
        let rates = CLASSES.map(|(class, share)| match class {
            Priority::Urgent => urgent,
            _ => (load - urgent) * share / 0.9,
        });
        (0..)
            .zip(CLASSES)
            .zip(rates)
            .map(move |((kind, (class, _)), rate)| (step, kind, class, rate))
    });
    merged(steps.map(|(step, kind, class, rate)| {
        let stream = Stream { class, tenant: None, kind, service: S, patience: Some(S * 20) };
        stream.over(rng, STEP * step, STEP, rate * capacity)
    }))
}

fn is_urgent(arrival: &Arrival) -> bool {
    CLASSES[arrival.kind].0 == Priority::Urgent
}

fn check(claims: &mut Claims, fates: &[Fate], unloaded: Duration, capacity: f64) {
    let urgent = || fates.iter().filter(|fate| is_urgent(&fate.arrival));
    let share = success(urgent());
    claims.check("success", share >= 0.999, format_args!("{share:.5} of the highest class"));
    let p99 = quantile(latencies(urgent()), 0.99);
    claims.check("p99", p99 <= unloaded * 2, format!("{p99:?}, unloaded {unloaded:?}"));
    for (step, load) in (0..).zip(LOADS) {
        let (from, to) = (STEP * step, STEP * (step + 1));
        let offered = fates.iter().filter(|fate| (from..to).contains(&fate.arrival.at)).count();
        let wanted = (offered as f64).min(capacity * STEP.as_secs_f64());
        let good = goodput(fates, from, to);
        let figures = format!("{good} of {wanted:.0} in step {step}");
        claims.check("goodput", good as f64 >= 0.95 * wanted, figures);
        // Settled: as if the load had always been this one.
        let settled = from + ms(100).max(S * 50);
        let late = || fates.iter().filter(move |fate| (settled..to).contains(&fate.arrival.at));
        match load <= 1.0 {
            true => {
                let (share, p99) = (success(late()), quantile(latencies(late()), 0.99));
                let figures = format!("{share:.4} of all, p99 {p99:?}, in step {step}");
                claims.check("stable", share == 1.0 && p99 <= unloaded * 2, figures);
            }
            false => {
                let p99 = quantile(latencies(late().filter(|fate| is_urgent(&fate.arrival))), 0.99);
                let wanted = capacity * (to - settled).as_secs_f64();
                let good = goodput(fates, settled, to);
                let holds = p99 <= unloaded * 2 && good as f64 >= 0.95 * wanted;
                claims.check(
                    "stable",
                    holds,
                    format!("{good} of {wanted:.0}, {p99:?}, in step {step}"),
                );
            }
        }
    }
    check_order(claims, fates);
}

/// Done in time, inside this stretch.
fn goodput(fates: &[Fate], from: Duration, to: Duration) -> usize {
    let done = |fate: &&Fate| fate.done.is_some_and(|done| (from..to).contains(&done));
    fates.iter().filter(|fate| fate.is_good()).filter(done).count()
}

/// In no 100 ms somebody of a lower class is let in while one of a higher is turned away, thrown
/// out or too late.
fn check_order(claims: &mut Claims, fates: &[Fate]) {
    // By stretch: the lowest kind that was let in, the highest that was shed.
    let mut stretches: BTreeMap<u128, (Option<usize>, Option<usize>)> = BTreeMap::new();
    let stretch = |at: Duration| at.as_millis() / 100;
    for fate in fates {
        let kind = Some(fate.arrival.kind);
        if fate.is_accepted() {
            let (lowest, _) = stretches.entry(stretch(fate.arrival.at)).or_default();
            *lowest = (*lowest).or(kind).min(kind);
        }
        if !fate.is_good() {
            let (_, highest) = stretches.entry(stretch(fate.gone)).or_default();
            *highest = (*highest).max(kind);
        }
    }
    let is_wrong = |&&(lowest, highest): &&(Option<usize>, Option<usize>)| {
        lowest.is_some_and(|lowest| highest > Some(lowest))
    };
    let wrong = stretches.values().filter(is_wrong).count();
    claims.check(
        "order",
        wrong == 0,
        format_args!("wrong in {wrong} of {} stretches", stretches.len()),
    );
}
