//! What the way through five phases that do nothing costs.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::flow::{Backend, Flow, Setup};
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
/// Who sheds may shed: what is lost is counted, and costs less.
pub const MANY: [Measure; 3] = [
    Measure { suffix: "", unit: "ns/intent" },
    Measure { suffix: "/cpu", unit: "cpu ns/intent" },
    Measure { suffix: "/lost", unit: "of 1000 intents" },
];

/// One intent after the other.
#[derive(Clone, Copy)]
pub struct One {
    pub cores: Cores,
    pub ops: usize,
}

impl One {
    pub fn sample<F: Flow>(self, start: impl Fn(Setup) -> F + Send + 'static) -> Vec<f64> {
        let runtime = runtime(self.cores);
        let referee = runtime.spawn(async move {
            let mut flow = start(Setup::wide(Backend::FiveNoOps));
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
    pub fn sample<F: Flow>(self, start: impl Fn(Setup) -> F + Send + 'static) -> Vec<f64> {
        let runtime = runtime(self.cores);
        let referee = runtime.spawn(async move {
            let flow = start(Setup::wide(Backend::FiveNoOps));
            let each = self.ops.div_ceil(self.submitters);
            self.submit(&flow, each.div_ceil(10)).await;
            let (stretch, lost) = self.submit(&flow, each).await;
            let (wall, cpu) = (stretch.wall().as_nanos() as f64, stretch.cpu_ns());
            let intents = (each * self.submitters) as f64;
            vec![wall / intents, cpu / intents, lost as f64 * 1e3 / intents]
        });
        runtime.block_on(referee).expect("the submitters end")
    }

    /// All start together, after the clock; returns when the last has ended, with how many intents
    /// were not let through.
    async fn submit<F: Flow>(self, flow: &F, each: usize) -> (Stretch, usize) {
        let (ready, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let mut running = JoinSet::new();
        for submitter in 0..self.submitters {
            let (mut flow, ready, gate) = (flow.clone(), Arc::clone(&ready), Arc::clone(&gate));
            running.spawn(async move {
                ready.add_permits(1);
                gate.acquire().await.expect("never closed").forget();
                let mut lost = 0;
                for _ in 0..each {
                    lost += usize::from(!flow.pass(submitter as u64).await);
                }
                lost
            });
        }
        ready.acquire_many(self.submitters as u32).await.expect("never closed").forget();
        let stretch = Stretch::start();
        gate.add_permits(self.submitters);
        let mut lost = 0;
        while let Some(ended) = running.join_next().await {
            lost += ended.expect("a submitter ends");
        }
        (stretch, lost)
    }
}
