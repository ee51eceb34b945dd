//! A thousand tasks want the same few permits, and hold each over a yield: nearly all stand in
//! line nearly always.

use tokio::runtime::Builder;
use tokio::task::JoinSet;

use super::Case;
use super::contestant::{Gate, shared, yield_once};
use crate::clock::Stretch;
use crate::pin::Cores;

const TASKS: usize = 1_000;

#[derive(Clone, Copy)]
pub struct Crowd {
    pub cores: Cores,
    pub permits: usize,
    pub rounds: usize,
}

impl Case for Crowd {
    fn sample<G: Gate>(self) -> Vec<f64> {
        let runtime = Builder::new_multi_thread().worker_threads(self.cores.count()).build();
        let runtime = runtime.expect("a runtime starts");
        let referee = runtime.spawn(async move {
            let gate = shared::<G>(self.permits);
            let each = self.rounds.div_ceil(TASKS);
            let mut tasks = JoinSet::new();
            let stretch = Stretch::start();
            for _ in 0..TASKS {
                let gate = gate.clone();
                tasks.spawn(async move {
                    for _ in 0..each {
                        let permit = gate.acquire().await;
                        yield_once().await;
                        drop(permit);
                    }
                });
            }
            while let Some(ended) = tasks.join_next().await {
                ended.expect("a task ends");
            }
            let all = (each * TASKS) as f64;
            vec![stretch.wall().as_nanos() as f64 / all, stretch.cpu_ns() / all]
        });
        runtime.block_on(referee).expect("the tasks end")
    }
}
