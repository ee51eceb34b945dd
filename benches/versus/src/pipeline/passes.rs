//! What the way through five phases that do nothing costs.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::flow::{Backend, Flow};
use super::runtime;
use crate::alloc::Count;
use crate::clock::Stretch;
use crate::harness::Measure;
use crate::pin::Cores;

pub const MEASURES: [Measure; 3] = [
    Measure { suffix: "", unit: "ns/intent" },
    Measure { suffix: "/cpu", unit: "cpu ns/intent" },
    Measure { suffix: "/allocations", unit: "allocations/intent" },
];
pub const MANY: [Measure; 2] =
    [Measure { suffix: "", unit: "ns/intent" }, Measure { suffix: "/cpu", unit: "cpu ns/intent" }];

/// One intent after the other.
#[derive(Clone, Copy)]
pub struct One {
    pub cores: Cores,
    pub ops: usize,
}

impl One {
    pub fn sample<F: Flow>(self, start: impl Fn(Backend) -> F + Send + 'static) -> Vec<f64> {
        let runtime = runtime(self.cores);
        let referee = runtime.spawn(async move {
            let mut flow = start(Backend::FiveNoOps);
            pass(&mut flow, self.ops.div_ceil(10)).await;
            let stretch = Stretch::start();
            pass(&mut flow, self.ops).await;
            let ops = self.ops as f64;
            let (wall, cpu) = (stretch.wall().as_nanos() as f64, stretch.cpu_ns());
            let count = Count::start();
            pass(&mut flow, self.ops.div_ceil(10)).await;
            let allocations = count.stop().allocations as f64;
            vec![wall / ops, cpu / ops, allocations / self.ops.div_ceil(10) as f64]
        });
        runtime.block_on(referee).expect("the intents end")
    }
}

async fn pass(flow: &mut impl Flow, intents: usize) {
    for object in 0..intents {
        assert!(flow.pass(object as u64).await, "it completes");
    }
}

/// Several submitters, each waiting for its own intent.
#[derive(Clone, Copy)]
pub struct Many {
    pub cores: Cores,
    pub submitters: usize,
    pub ops: usize,
}

impl Many {
    pub fn sample<F: Flow>(self, start: impl Fn(Backend) -> F + Send + 'static) -> Vec<f64> {
        let runtime = runtime(self.cores);
        let referee = runtime.spawn(async move {
            let flow = start(Backend::FiveNoOps);
            let each = self.ops.div_ceil(self.submitters);
            self.submit(&flow, each.div_ceil(10)).await;
            let stretch = self.submit(&flow, each).await;
            let intents = (each * self.submitters) as f64;
            vec![stretch.wall().as_nanos() as f64 / intents, stretch.cpu_ns() / intents]
        });
        runtime.block_on(referee).expect("the submitters end")
    }

    /// All start together, after the clock; returns when the last has ended.
    async fn submit<F: Flow>(self, flow: &F, each: usize) -> Stretch {
        let (ready, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let mut running = JoinSet::new();
        for submitter in 0..self.submitters {
            let (mut flow, ready, gate) = (flow.clone(), Arc::clone(&ready), Arc::clone(&gate));
            running.spawn(async move {
                ready.add_permits(1);
                gate.acquire().await.expect("never closed").forget();
                for _ in 0..each {
                    assert!(flow.pass(submitter as u64).await, "it completes");
                }
            });
        }
        ready.acquire_many(self.submitters as u32).await.expect("never closed").forget();
        let stretch = Stretch::start();
        gate.add_permits(self.submitters);
        while let Some(ended) = running.join_next().await {
            ended.expect("a submitter ends");
        }
        stretch
    }
}
