//! Permits enough for all: what is left is what threads do to each other.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::Case;
use super::contestant::{Gate, ready};
use crate::clock::Stretch;

#[derive(Clone, Copy)]
pub enum Way {
    Acquire,
    TryAcquire,
}

impl Way {
    pub const ALL: [Self; 2] = [Self::Acquire, Self::TryAcquire];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Acquire => "acquire_release",
            Self::TryAcquire => "try_acquire_release",
        }
    }
}

/// The figure is what one thread waits: each thread's own wall time over its own rounds.
#[derive(Clone, Copy)]
pub struct Threads {
    pub way: Way,
    pub threads: usize,
    pub rounds: usize,
}

impl Case for Threads {
    fn sample<G: Gate>(self) -> Vec<f64> {
        let gate = G::new(64);
        let start = Barrier::new(self.threads);
        let stretch = Stretch::start();
        let took: Duration = std::thread::scope(|scope| {
            let thread = |_| {
                scope.spawn(|| {
                    start.wait();
                    let from = Instant::now();
                    self.round(&gate);
                    from.elapsed()
                })
            };
            let threads: Vec<_> = (0..self.threads).map(thread).collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread ends")).sum()
        });
        let all = (self.rounds * self.threads) as f64;
        vec![took.as_nanos() as f64 / all, stretch.cpu_ns() / all]
    }
}

impl Threads {
    fn round<G: Gate>(self, gate: &G) {
        for _ in 0..self.rounds {
            match self.way {
                Way::Acquire => drop(black_box(ready(gate.acquire()))),
                Way::TryAcquire => {
                    drop(black_box(gate.try_acquire().expect("permits are free")));
                }
            }
        }
    }
}
