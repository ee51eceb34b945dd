//! One submitter that waits for each task before the next: the road there and back.

use std::time::{Duration, Instant};

use super::contestant::{Pool, WORKERS};
use super::{Case, runtime, submit_await};
use crate::clock::Stretch;
use crate::harness::{Measure, quantile};
use crate::pin::Cores;

pub const MEASURES: [Measure; 2] =
    [Measure { suffix: "", unit: "ns/task p50" }, Measure { suffix: "/cpu", unit: "cpu ns/task" }];

/// Tasks between two looks at the clock, so that the look (25 ns) is not what is measured.
const CHUNK: usize = 16;

#[derive(Clone, Copy)]
pub struct OneSubmitter {
    pub cores: Cores,
    pub ops: usize,
}

impl Case for OneSubmitter {
    fn sample<P: Pool>(self) -> Vec<f64> {
        let runtime = runtime(self.cores);
        let submitter = runtime.spawn(async move {
            let mut pool = P::start(WORKERS);
            for _ in 0..self.ops.div_ceil(10) {
                submit_await(&mut pool).await;
            }
            timed(&mut pool, self.ops.div_ceil(CHUNK)).await
        });
        runtime.block_on(submitter).expect("the submitter ends")
    }
}

async fn timed<P: Pool>(pool: &mut P, chunks: usize) -> Vec<f64> {
    let mut took = Vec::with_capacity(chunks);
    let stretch = Stretch::start();
    for _ in 0..chunks {
        took.push(chunk(pool).await);
    }
    let cpu = stretch.cpu_ns() / (chunks * CHUNK) as f64;
    let per_task: Vec<f64> =
        took.iter().map(|took| took.as_nanos() as f64 / CHUNK as f64).collect();
    vec![quantile(&per_task, 0.5), cpu]
}

async fn chunk<P: Pool>(pool: &mut P) -> Duration {
    let start = Instant::now();
    for _ in 0..CHUNK {
        submit_await(pool).await;
    }
    start.elapsed()
}
