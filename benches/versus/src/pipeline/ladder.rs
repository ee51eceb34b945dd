//! An open loop: intents come when they are due, whatever became of those before. Latency counts
//! from the instant each was meant for.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::flow::{Backend, Flow, Setup};
use super::runtime;
use crate::harness::{Measure, quantile};
use crate::pin::Cores;

pub const MEASURES: [Measure; 3] = [
    Measure { suffix: "/average", unit: "ms" },
    Measure { suffix: "/p99", unit: "ms" },
    Measure { suffix: "/lost", unit: "intents" },
];

const TAKES: Duration = Duration::from_millis(20);

#[derive(Clone, Copy)]
pub struct Step {
    /// A second.
    pub rate: usize,
    pub calls: usize,
}

impl Step {
    pub fn sample<F: Flow>(self, start: impl Fn(Setup) -> F + Send + 'static) -> Vec<f64> {
        let runtime = runtime(Cores::Two);
        let referee =
            runtime.spawn(async move { self.run(start(Setup::wide(Backend::Takes(TAKES)))).await });
        runtime.block_on(referee).expect("the calls end")
    }

    async fn run(self, flow: impl Flow) -> Vec<f64> {
        let begin = Instant::now() + Duration::from_millis(5);
        let mut calls = JoinSet::new();
        for call in 0..self.calls {
            let due = begin + Duration::from_secs_f64(call as f64 / self.rate as f64);
            // Several may be due at one tick of the timer.
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            let mut flow = flow.clone();
            calls.spawn(async move {
                let is_done = flow.pass(call as u64).await;
                (is_done, due.elapsed().as_secs_f64() * 1e3)
            });
        }
        let ended = calls.join_all().await;
        let took: Vec<f64> = ended.iter().filter(|call| call.0).map(|call| call.1).collect();
        let average = took.iter().sum::<f64>() / took.len().max(1) as f64;
        vec![average, quantile(&took, 0.99), (ended.len() - took.len()) as f64]
    }
}
