//! At the edge of a full queue: what a refusal costs, what refusing 100,000 a second does to a core,
//! and what it costs to take the place of somebody lower.

use std::time::{Duration, Instant};

use headworks::Priority;
use kanal::AsyncSender;
use tokio::sync::Semaphore;

use super::blocked::Blocked;
use super::contestant::{CAP, Job, job};
use super::no_op;
use crate::alloc::Count;
use crate::clock::Stretch;
use crate::harness::{Contestant, Effort, Measure, contest};
use crate::pin::{Cores, Pinned};

const REFUSAL: [Measure; 2] = [
    Measure { suffix: "", unit: "ns/refusal" },
    Measure { suffix: "/allocations", unit: "allocations/refusal" },
];
const SHARE: [Measure; 1] = [Measure { suffix: "", unit: "% of a core" }];
const EVICTION: [Measure; 1] = [Measure { suffix: "", unit: "ns/task" }];

pub fn run(effort: Effort) {
    let Some(_pinned) = Pinned::to(Cores::One) else { return };
    refusals(effort);
    shares(effort);
    evictions(effort);
}

/// Each offers a no-op task to a pool that is full, as it takes tasks.
fn refusals(effort: Effort) {
    let ops = effort.ops(100_000);
    let full = Full::new();
    let contestants = vec![
        Contestant::new("headworks", || refusal(ops, || full.offer_ours())),
        Contestant::new("kanal", || refusal(ops, || full.offer_kanal())),
        Contestant::new("tokio Semaphore (no task made)", || {
            refusal(ops, || full.permits.try_acquire().is_err())
        }),
    ];
    contest("worker_pool/refusal/full/one_core", &REFUSAL, effort, contestants);
}

struct Full {
    ours: Blocked,
    kanal: AsyncSender<Job>,
    // Else the channel would be closed.
    _receiver: kanal::AsyncReceiver<Job>,
    permits: Semaphore,
}

impl Full {
    fn new() -> Self {
        let ours = Blocked::new(CAP);
        (0..CAP).for_each(|_| drop(ours.queue(Priority::Normal)));
        let (kanal, _receiver) = kanal::bounded_async(CAP);
        (0..CAP).for_each(|_| drop(kanal.try_send(job(no_op()).0)));
        Self { ours, kanal, _receiver, permits: Semaphore::new(0) }
    }

    fn offer_ours(&self) -> bool {
        self.ours.pool.try_submit(no_op()).is_err()
    }

    fn offer_kanal(&self) -> bool {
        matches!(self.kanal.try_send(job(no_op()).0), Ok(false) | Err(_))
    }
}

fn refusal(ops: usize, offer: impl Fn() -> bool) -> Vec<f64> {
    let start = Instant::now();
    let refused = (0..ops).filter(|_| offer()).count();
    let took = start.elapsed();
    assert_eq!(refused, ops, "the pool is full");
    let count = Count::start();
    (0..ops).for_each(|_| assert!(offer()));
    let allocations = count.stop().allocations;
    vec![took.as_nanos() as f64 / ops as f64, allocations as f64 / ops as f64]
}

/// 100 offers a millisecond, beside the same loop without offers.
fn shares(effort: Effort) {
    let (full, rounds) = (Full::new(), effort.ops(500));
    let contestants = vec![
        Contestant::new("headworks", || share(rounds, || full.offer_ours())),
        Contestant::new("kanal", || share(rounds, || full.offer_kanal())),
        Contestant::new("no offers", || share(rounds, || true)),
    ];
    contest("worker_pool/refusal/100k_per_second/one_core", &SHARE, effort, contestants);
}

fn share(rounds: usize, offer: impl Fn() -> bool) -> Vec<f64> {
    let (stretch, start) = (Stretch::start(), Instant::now());
    for round in 1..=rounds as u32 {
        (0..100).for_each(|_| assert!(offer()));
        let next = start + Duration::from_millis(1) * round;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    vec![100.0 * stretch.cpu_ns() / stretch.wall().as_nanos() as f64]
}

/// The queue is full of Low, whose handles are held: each High takes the place of one of them.
fn evictions(effort: Effort) {
    let ops = effort.ops(20_000);
    let contestants = vec![
        Contestant::new("headworks, evicting", move || filled(ops, ops)),
        Contestant::new("headworks, room enough", move || filled(ops, 2 * ops)),
    ];
    contest("worker_pool/evict_and_admit/one_core", &EVICTION, effort, contestants);
}

fn filled(ops: usize, places: usize) -> Vec<f64> {
    let blocked = Blocked::new(places);
    let lows: Vec<_> = (0..ops).map(|_| blocked.queue(Priority::Low)).collect();
    let mut highs = Vec::with_capacity(ops);
    let start = Instant::now();
    for _ in 0..ops {
        highs.push(blocked.queue(Priority::High));
    }
    let took = start.elapsed();
    let evicted = blocked.pool.snapshot().ledger.evicted as usize;
    assert_eq!(evicted, (lows.len() + highs.len()).saturating_sub(places));
    vec![took.as_nanos() as f64 / ops as f64]
}
