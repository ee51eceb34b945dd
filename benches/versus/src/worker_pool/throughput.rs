//! Several submitters at once, each waiting for its own task: what a task costs under load.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::contestant::{Pool, WORKERS};
use super::{Case, runtime, submit_await};
use crate::clock::Stretch;
use crate::harness::Measure;
use crate::pin::Cores;

pub const MEASURES: [Measure; 2] =
    [Measure { suffix: "", unit: "ns/task" }, Measure { suffix: "/cpu", unit: "cpu ns/task" }];

#[derive(Clone, Copy)]
pub struct ManySubmitters {
    pub cores: Cores,
    pub submitters: usize,
    pub ops: usize,
}

impl Case for ManySubmitters {
    fn sample<P: Pool>(self) -> Vec<f64> {
        let runtime = runtime(self.cores);
        let referee = runtime.spawn(async move {
            let pool = P::start(WORKERS);
            let each = self.ops.div_ceil(self.submitters);
            submit(&pool, self.submitters, each.div_ceil(10)).await;
            let stretch = submit(&pool, self.submitters, each).await;
            let tasks = (each * self.submitters) as f64;
            vec![stretch.wall().as_nanos() as f64 / tasks, stretch.cpu_ns() / tasks]
        });
        runtime.block_on(referee).expect("the submitters end")
    }
}

/// All start together, after the clock; returns when the last has ended.
async fn submit<P: Pool>(pool: &P, submitters: usize, each: usize) -> Stretch {
    let (ready, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let mut running = JoinSet::new();
    for _ in 0..submitters {
        let (mut pool, ready, gate) = (pool.clone(), Arc::clone(&ready), Arc::clone(&gate));
        running.spawn(async move {
            ready.add_permits(1);
            gate.acquire().await.expect("never closed").forget();
            for _ in 0..each {
                submit_await(&mut pool).await;
            }
        });
    }
    ready.acquire_many(submitters as u32).await.expect("never closed").forget();
    let stretch = Stretch::start();
    gate.add_permits(submitters);
    while let Some(ended) = running.join_next().await {
        ended.expect("a submitter ends");
    }
    stretch
}
