//! The rows of the retry: what it costs an operation that goes well at once, by itself and as the
//! outermost of a stack; and what a hedge does to the slowest calls.
//!
//! The figure is what one caller waits for its answer: each thread's own wall time over its own
//! calls. Every operation is ready at its first poll, so nobody runs a scheduler.

mod caller;
pub mod hedging;
mod ours;
mod tower_peers;
mod tower_resilience_peers;

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::alloc::Count;
use crate::clock::Stretch;
use crate::harness::{Contestant, Effort, Measure, contest};
use crate::pin::{Cores, Pinned};
use caller::Caller;

const MEASURES: [Measure; 3] = [
    Measure { suffix: "", unit: "ns/call" },
    Measure { suffix: "/cpu", unit: "cpu ns/call" },
    Measure { suffix: "/allocations", unit: "allocations/call" },
];

/// One row: how many threads, how many calls of each.
#[derive(Clone, Copy)]
struct Case {
    threads: usize,
    calls: usize,
}

pub fn run(effort: Effort) {
    rows("retry/run", effort, &Cores::ALL, |case| {
        vec![
            entry(ours::Plain::NAME, case, ours::Plain::new),
            entry("tower Retry, TpsBudget", case, tower_peers::plain),
            entry("tower-resilience Retry, token bucket", case, tower_resilience_peers::plain),
        ]
    });
}

/// Limiter, breaker, retry and timeout around an operation that does nothing. One thread: with two,
/// the breaker of tower-resilience sleeps when they meet, and nobody here drives a timer.
pub fn stack(effort: Effort) {
    rows("retry/stack", effort, &[Cores::One], |case| {
        vec![
            entry(ours::Stack::NAME, case, ours::Stack::new),
            entry("tower, governor, tower-resilience breaker", case, tower_peers::stack),
            entry("tower-resilience", case, tower_resilience_peers::stack),
        ]
    });
}

fn rows(
    id: &str,
    effort: Effort,
    cores: &[Cores],
    contestants: impl Fn(Case) -> Vec<Contestant<'static>>,
) {
    for &cores in cores {
        let Some(_pinned) = Pinned::to(cores) else {
            println!("# {id}/…/{}_threads: no rows, fewer cores here", cores.count());
            continue;
        };
        let threads = cores.count();
        let ends = if threads == 1 { "1_thread".to_owned() } else { format!("{threads}_threads") };
        let case = Case { threads, calls: effort.ops(200_000) };
        contest(&format!("{id}/success/{ends}"), &MEASURES, effort, contestants(case));
    }
}

fn entry<C: Caller + 'static>(
    name: &'static str,
    case: Case,
    make: fn() -> C,
) -> Contestant<'static> {
    Contestant::new(name, move || sample(case, make))
}

fn sample<C: Caller>(case: Case, make: fn() -> C) -> Vec<f64> {
    // For the timers that a timeout makes.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let caller = {
        let _inside = runtime.enter();
        make()
    };
    let start = Barrier::new(case.threads);
    let stretch = Stretch::start();
    let took: Duration = std::thread::scope(|scope| {
        let thread = |_| {
            let (mut caller, start, runtime) = (caller.clone(), &start, runtime.handle());
            scope.spawn(move || {
                let _inside = runtime.enter();
                start.wait();
                let from = Instant::now();
                (0..case.calls).for_each(|_| once(&mut caller));
                from.elapsed()
            })
        };
        let threads: Vec<_> = (0..case.threads).map(thread).collect();
        threads.into_iter().map(|thread| thread.join().expect("a caller ends")).sum()
    });
    let cpu = stretch.cpu_ns();
    let all = (case.calls * case.threads) as f64;
    vec![took.as_nanos() as f64 / all, cpu / all, allocations(&runtime, caller)]
}

fn allocations(runtime: &tokio::runtime::Runtime, mut caller: impl Caller) -> f64 {
    const CALLS: u32 = 1_000;
    let _inside = runtime.enter();
    once(&mut caller);
    let count = Count::start();
    (0..CALLS).for_each(|_| once(&mut caller));
    count.stop().allocations as f64 / f64::from(CALLS)
}

fn once(caller: &mut impl Caller) {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(caller.call()).poll(&mut cx) {
        Poll::Ready(went_well) => assert!(black_box(went_well)),
        Poll::Pending => unreachable!("the operation is ready at once"),
    }
}
