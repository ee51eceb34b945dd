//! Tasks that do something: 10 µs of computing on 16 workers, and 10,000 sleeps of 1 ms at 256.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::contestant::{Pool, WORKERS};
use super::{Case, on_each, rows, runtime};
use crate::clock::Stretch;
use crate::harness::{Effort, Measure};
use crate::pin::Cores;

const MEASURES: [Measure; 2] =
    [Measure { suffix: "", unit: "us/task" }, Measure { suffix: "/cpu", unit: "cpu us/task" }];

pub fn run(effort: Effort) {
    on_each("worker_pool/work", |cores| {
        let computing = Computing { cores, steps: steps(), tasks: effort.ops(10_000) };
        rows(&format!("worker_pool/work/10us_cpu/{}", cores.name()), &MEASURES, effort, computing);
        let sleeping = Sleeping { cores, tasks: effort.ops(10_000) };
        rows(
            &format!("worker_pool/work/1ms_sleeps_at_256/{}", cores.name()),
            &MEASURES,
            effort,
            sleeping,
        );
    });
}

/// The same work for all: so many steps of a generator of numbers.
fn compute(steps: u64) -> u64 {
    (0..steps).fold(1, |number: u64, _| {
        std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1))
    })
}

/// As many as take 10 µs here; settled once.
fn steps() -> u64 {
    static STEPS: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *STEPS.get_or_init(|| {
        const TRIED: u64 = 100_000;
        let fastest = (0..50).map(|_| {
            let start = Instant::now();
            std::hint::black_box(compute(std::hint::black_box(TRIED)));
            start.elapsed()
        });
        let fastest = fastest.min().map_or(1.0, |took| took.as_nanos() as f64);
        (10_000.0 * TRIED as f64 / fastest) as u64
    })
}

#[derive(Clone, Copy)]
struct Computing {
    cores: Cores,
    steps: u64,
    tasks: usize,
}

impl Case for Computing {
    fn sample<P: Pool>(self) -> Vec<f64> {
        let task = move || async move { compute(self.steps) };
        sample::<P, _>(self.cores, WORKERS, 4 * WORKERS, self.tasks, task)
    }
}

#[derive(Clone, Copy)]
struct Sleeping {
    cores: Cores,
    tasks: usize,
}

impl Case for Sleeping {
    fn sample<P: Pool>(self) -> Vec<f64> {
        let task = || async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            1
        };
        sample::<P, _>(self.cores, 256, 512, self.tasks, task)
    }
}

/// More submitters than workers, so that there is always another task.
fn sample<P: Pool, F: Future<Output = u64> + Send + 'static>(
    cores: Cores,
    workers: usize,
    submitters: usize,
    tasks: usize,
    task: impl Fn() -> F + Copy + Send + 'static,
) -> Vec<f64> {
    let runtime = runtime(cores);
    let referee = runtime.spawn(async move {
        let (pool, left) = (P::start(workers), Arc::new(Semaphore::new(tasks)));
        let stretch = Stretch::start();
        let mut running = JoinSet::new();
        for _ in 0..submitters {
            let (mut pool, left) = (pool.clone(), Arc::clone(&left));
            running.spawn(async move {
                while let Ok(one) = left.try_acquire() {
                    one.forget();
                    let handle = pool.submit(task()).await;
                    handle.await.expect("the task ran");
                }
            });
        }
        while let Some(ended) = running.join_next().await {
            ended.expect("a submitter ends");
        }
        let us = |ns: f64| ns / 1e3 / tasks as f64;
        vec![us(stretch.wall().as_nanos() as f64), us(stretch.cpu_ns())]
    });
    runtime.block_on(referee).expect("the submitters end")
}
