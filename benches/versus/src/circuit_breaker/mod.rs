//! The rows of the breakers: a call that does nothing, let through or refused, from one thread or
//! from two at once; and what is wrong with whom ([`faults`]).
//!
//! The figure is what one caller waits: each thread's own wall time over its own calls.

mod contestant;
pub mod faults;
mod ours;
mod peers;

use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::alloc::Count;
use crate::harness::{Contestant, Effort, Measure, contest};
use crate::pin::{Cores, Pinned};
use contestant::{Breaker, Case};
use ours::{Clock, Ours};
use peers::{CircuitBreakerRs, Failsafe, Recloser, TowerResilience};

const MEASURES: [Measure; 1] = [Measure { suffix: "", unit: "ns/call" }];
const ALLOCATIONS: [Measure; 1] = [Measure { suffix: "/allocations", unit: "per call" }];

const CASES: [(Case, &str); 5] = [
    (Case::Untimed, "closed_untimed"),
    (Case::Counted, "closed_count_window"),
    (Case::Timed, "closed_time_window"),
    (Case::Open, "open"),
    (Case::OpenPassed, "open_passed_time"),
];

pub fn run(effort: Effort) {
    for cores in Cores::ALL {
        let threads = cores.count();
        let Some(_pinned) = Pinned::to(cores) else {
            println!("# circuit_breaker/…/{threads}_threads: no rows, fewer cores here");
            continue;
        };
        for (case, name) in CASES {
            let calls = effort.ops(200_000);
            let peers = vec![
                entry::<Ours>(case, threads, calls),
                entry::<TowerResilience>(case, threads, calls / 20),
                entry::<Failsafe>(case, threads, calls),
                entry::<Recloser>(case, threads, calls),
                entry::<CircuitBreakerRs>(case, threads, calls),
            ];
            let ends = if threads == 1 { "1_thread" } else { "2_threads" };
            contest(&format!("circuit_breaker/{name}/{ends}"), &MEASURES, effort, peers);
            if threads == 2 && !case.is_open() {
                let alone =
                    Contestant::new("itself, one thread", move || sample::<Ours>(case, 1, calls));
                let both = vec![entry::<Ours>(case, 2, calls), alone];
                contest(&format!("circuit_breaker/{name}/scaling"), &MEASURES, effort, both);
            }
            if threads == 1 {
                edges(name, case, effort);
            }
        }
    }
}

fn edges(name: &str, case: Case, effort: Effort) {
    let calls = effort.ops(200_000);
    let clock = vec![entry::<Ours>(case, 1, calls), entry::<Clock>(case, 1, calls)];
    contest(&format!("circuit_breaker/{name}/beside_the_clock"), &MEASURES, effort, clock);
    let counted = vec![
        allocations::<Ours>(case),
        allocations::<TowerResilience>(case),
        allocations::<Failsafe>(case),
        allocations::<Recloser>(case),
        allocations::<CircuitBreakerRs>(case),
    ];
    let once = Effort { rounds: 1, ..effort };
    contest(&format!("circuit_breaker/{name}"), &ALLOCATIONS, once, counted);
}

fn entry<'a, B: Breaker>(case: Case, threads: usize, calls: usize) -> Contestant<'a> {
    Contestant::new(B::NAME, move || sample::<B>(case, threads, calls))
}

fn sample<B: Breaker>(case: Case, threads: usize, calls: usize) -> Vec<f64> {
    let breaker = B::new(case);
    let start = Barrier::new(threads);
    let made: Vec<(usize, Duration)> = std::thread::scope(|on| {
        let caller = |_| {
            on.spawn(|| {
                let _ = breaker.calls(1_000);
                start.wait();
                let from = Instant::now();
                (breaker.calls(calls), from.elapsed())
            })
        };
        let callers: Vec<_> = (0..threads).map(caller).collect();
        callers.into_iter().map(|caller| caller.join().expect("a caller ends")).collect()
    });
    let expected = if case.is_open() || B::NAME == Clock::NAME { 0 } else { calls };
    assert!(made.iter().all(|(made, _)| *made == expected), "{}: {made:?}", B::NAME);
    let took: Duration = made.iter().map(|(_, took)| *took).sum();
    vec![took.as_nanos() as f64 / (calls * threads) as f64]
}

fn allocations<'a, B: Breaker>(case: Case) -> Contestant<'a> {
    const CALLS: usize = 10_000;
    Contestant::new(B::NAME, move || {
        let breaker = B::new(case);
        let of = |calls| {
            let count = Count::start();
            let _ = breaker.calls(calls);
            count.stop().allocations as f64
        };
        // Without what a thread or a runtime costs once.
        let once = of(1);
        vec![(of(CALLS + 1) - once) / CALLS as f64]
    })
}
