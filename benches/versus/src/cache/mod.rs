//! The rows of the cache: a hit, a miss with its load, a crowd that wants one value, and what an entry
//! weighs.
//!
//! The peers are the two tables of the field, as they come or with the single flight that everybody
//! writes around them: a map of `OnceCell`s under a mutex. quick_cache has no expiry; all others expire
//! after five minutes.

mod contestant;

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::alloc::Count;
use crate::harness::{Contestant, Effort, Measure, contest};
use crate::pin::{Cores, Pinned};
use contestant::{ByHand, Moka, MokaTable, Ours, QuickTable, Shelf};

/// Entries of every cache; half as many are there for the hits.
const CAPACITY: u64 = 20_000;
const KEYS: u64 = CAPACITY / 2;
const CALLERS: usize = 100;

pub fn run(effort: Effort) {
    for cores in Cores::ALL {
        let Some(_pinned) = Pinned::to(cores) else {
            println!("# cache/…/{}: no rows, this machine has fewer cores", cores.name());
            continue;
        };
        let threads = cores.count();
        let id = format!("cache/hit/{threads}_threads");
        let (case, unit) = (Hit { threads, gets: effort.ops(500_000) }, "ns/get");
        contest(&id, &[Measure { suffix: "", unit }], effort, entries(case));
    }
    let Some(_pinned) = Pinned::to(Cores::One) else { return };
    let measures = [
        Measure { suffix: "", unit: "ns/load" },
        Measure { suffix: "/allocations", unit: "allocations/load" },
    ];
    contest("cache/miss_no_op_load", &measures, effort, entries(Miss(effort.ops(50_000))));
    let measures = [Measure { suffix: "", unit: "ns/caller" }];
    contest("cache/100_callers_one_load", &measures, effort, entries(Crowd(effort.ops(500))));
    let measures = [Measure { suffix: "", unit: "bytes/entry" }];
    contest("cache/memory", &measures, Effort { rounds: 1, ..effort }, entries(Memory));
}

/// A row's work for one cache.
trait Case: Copy {
    fn sample<S: Shelf>(self) -> Vec<f64>;
}

fn entries<'a>(case: impl Case + 'a) -> Vec<Contestant<'a>> {
    vec![
        entry::<Ours>(case),
        entry::<Moka>(case),
        entry::<ByHand<MokaTable>>(case),
        entry::<ByHand<QuickTable>>(case),
    ]
}

fn entry<'a, S: Shelf>(case: impl Case + 'a) -> Contestant<'a> {
    Contestant::new(S::NAME, move || case.sample::<S>())
}

fn filled<S: Shelf>(keys: u64) -> S {
    let shelf = S::new(CAPACITY.max(keys));
    (0..keys).for_each(|key| shelf.put(key, key));
    shelf
}

/// Keys without an order.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % KEYS
}

/// What is there, by so many threads, each by its own wall time.
#[derive(Clone, Copy)]
struct Hit {
    threads: usize,
    gets: usize,
}

impl Case for Hit {
    fn sample<S: Shelf>(self) -> Vec<f64> {
        let (shelf, start) = (filled::<S>(KEYS), Barrier::new(self.threads));
        let took: Duration = std::thread::scope(|scope| {
            let thread = |n| {
                let (shelf, start) = (&shelf, &start);
                scope.spawn(move || {
                    let mut state = n as u64;
                    start.wait();
                    let from = Instant::now();
                    for _ in 0..self.gets {
                        let found = shelf.get(next(&mut state));
                        assert!(black_box(found).is_some());
                    }
                    from.elapsed()
                })
            };
            let threads: Vec<_> = (0..self.threads).map(thread).collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread ends")).sum()
        });
        vec![took.as_nanos() as f64 / (self.gets * self.threads) as f64]
    }
}

/// Keys that were never there, so that each makes room for itself; the load is ready at once.
#[derive(Clone, Copy)]
struct Miss(usize);

impl Case for Miss {
    fn sample<S: Shelf>(self) -> Vec<f64> {
        let shelf = filled::<S>(CAPACITY);
        let mut key = CAPACITY;
        let mut load = || {
            key += 1;
            at_once(shelf.get_or_load(key, std::future::ready(key)))
        };
        (0..1_000).for_each(|_| _ = load());
        let from = Instant::now();
        (0..self.0).for_each(|_| _ = black_box(load()));
        let took = from.elapsed();
        let count = Count::start();
        (0..1_000).for_each(|_| _ = load());
        let allocations = count.stop().allocations as f64 / 1e3;
        vec![took.as_nanos() as f64 / self.0 as f64, allocations]
    }
}

/// A hundred tasks want what is not there; the load waits once.
#[derive(Clone, Copy)]
struct Crowd(usize);

impl Case for Crowd {
    fn sample<S: Shelf>(self) -> Vec<f64> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let shelf = S::new(CAPACITY);
        let took = runtime.block_on(async {
            let from = Instant::now();
            for key in 0..self.0 as u64 {
                let callers: Vec<_> = (0..CALLERS)
                    .map(|_| {
                        let shelf = shelf.clone();
                        tokio::spawn(async move {
                            let load = async move {
                                tokio::task::yield_now().await;
                                key
                            };
                            shelf.get_or_load(key, load).await
                        })
                    })
                    .collect();
                for caller in callers {
                    assert_eq!(caller.await.expect("a caller ends"), key);
                }
            }
            from.elapsed()
        });
        vec![took.as_nanos() as f64 / (self.0 * CALLERS) as f64]
    }
}

/// What a hundred thousand entries of two words hold.
#[derive(Clone, Copy)]
struct Memory;

impl Case for Memory {
    fn sample<S: Shelf>(self) -> Vec<f64> {
        const ENTRIES: u64 = 100_000;
        let count = Count::start();
        let shelf = filled::<S>(ENTRIES);
        shelf.settle();
        let bytes = count.stop().live_bytes as f64;
        let there = (0..ENTRIES).filter(|&key| shelf.get(key).is_some()).count();
        vec![bytes / there as f64]
    }
}

fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the load is ready"),
    }
}
