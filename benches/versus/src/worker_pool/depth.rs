//! Push and pop at a depth: the queue is a row of stretches of 100 no-op tasks and one that blocks.
//! A stretch is pushed behind, and the one at the front runs.

use std::time::Instant;

use headworks::Priority;

use super::blocked::Blocked;
use crate::harness::{Contestant, Effort, Measure, contest};
use crate::pin::{Cores, Pinned};

const MEASURES: [Measure; 1] = [Measure { suffix: "", unit: "ns/push and pop" }];
const STRETCH: usize = 100;
const SHALLOW: usize = 1_000;

pub fn run(effort: Effort) {
    let Some(_pinned) = Pinned::to(Cores::One) else { return };
    let mut shallow = Deep::new(SHALLOW);
    let stretches = effort.ops(1_000);
    for power in 4..=7 {
        let mut deep = Deep::new(effort.ops(10_usize.pow(power)).max(SHALLOW));
        let contestants = vec![
            Contestant::new("headworks", || deep.sample(stretches)),
            Contestant::new("headworks, 1e3 deep", || shallow.sample(stretches)),
        ];
        contest(&format!("worker_pool/depth/1e{power}/one_core"), &MEASURES, effort, contestants);
    }
}

struct Deep(Blocked);

impl Deep {
    fn new(depth: usize) -> Self {
        let deep = Self(Blocked::new(1 << 24));
        (0..depth.div_ceil(STRETCH + 1)).for_each(|_| deep.push());
        deep
    }

    fn push(&self) {
        (0..STRETCH).for_each(|_| drop(self.0.queue(Priority::Normal)));
        self.0.block();
    }

    fn sample(&mut self, stretches: usize) -> Vec<f64> {
        let start = Instant::now();
        for _ in 0..stretches {
            self.push();
            self.0.open();
            self.0.wait();
        }
        vec![start.elapsed().as_nanos() as f64 / (stretches * (STRETCH + 1)) as f64]
    }
}
