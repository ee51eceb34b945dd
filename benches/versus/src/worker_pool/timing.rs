//! What timing one task in 64 costs each of them: the difference between a pool that does and one
//! that does not, taken in turns, beside the difference between two that do not.

use std::time::Instant;

use headworks::WorkerPool;
use headworks::worker_pool::Timing;

use super::contestant::WORKERS;
use super::{no_op, ours, runtime};
use crate::harness::{Contestant, Effort, Measure, contest, quantile};
use crate::pin::{Cores, Pinned};

const MEASURES: [Measure; 1] = [Measure { suffix: "", unit: "ns/task more" }];
const TURN: usize = 1_024;

pub fn run(effort: Effort) {
    let Some(_pinned) = Pinned::to(Cores::One) else { return };
    let turns = effort.ops(200);
    let contestants = vec![
        Contestant::new("headworks, sampled less off", move || {
            difference(turns, Timing::Sampled(64))
        }),
        Contestant::new("headworks, off less off", move || difference(turns, Timing::Off)),
    ];
    contest("worker_pool/timing/one_core", &MEASURES, effort, contestants);
}

fn difference(turns: usize, timing: Timing) -> Vec<f64> {
    let runtime = runtime(Cores::One);
    let submitter = runtime.spawn(async move {
        let pool = |timing| {
            WorkerPool::new(ours::config(WORKERS).with_task_timeout(None).with_timing(timing))
                .expect("a config in range, on a runtime")
        };
        let (timed, off) = (pool(timing), pool(Timing::Off));
        let mut more = Vec::with_capacity(turns);
        for number in 0..turns {
            // Whoever is second finds the caches warm.
            let (a, b) = match number % 2 {
                0 => (turn(&timed).await, turn(&off).await),
                _ => {
                    let b = turn(&off).await;
                    (turn(&timed).await, b)
                }
            };
            more.push((a - b) / TURN as f64);
        }
        vec![quantile(&more, 0.5)]
    });
    runtime.block_on(submitter).expect("the submitter ends")
}

async fn turn(pool: &WorkerPool) -> f64 {
    let start = Instant::now();
    for _ in 0..TURN {
        let handle = pool.try_submit(no_op()).expect("room enough");
        handle.await.expect("the task ran");
    }
    start.elapsed().as_nanos() as f64
}
