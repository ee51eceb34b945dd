//! Memory that a process keeps: ten million queued tasks, before and after they have run, and pools
//! filled to their default cap. Each sample is a process of its own (`child.rs`).

use std::sync::Arc;

use headworks::WorkerPool;
use headworks::worker_pool::{Concurrency, Thresholds, WorkerPoolConfig};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use super::contestant::{Job, WORKERS, job};
use crate::alloc::{Count, trim};
use crate::child::{resident_mib, sample};
use crate::harness::{Contestant, Effort, Measure, contest};

const FLOOD: [Measure; 4] = [
    Measure { suffix: "", unit: "MiB resident, queued" },
    Measure { suffix: "/heap", unit: "heap bytes/queued task" },
    Measure { suffix: "/drained", unit: "MiB resident, drained and trimmed" },
    Measure { suffix: "/drained/heap", unit: "heap bytes/drained task" },
];
const FILLED: [Measure; 2] = [
    Measure { suffix: "/resident", unit: "MiB over the base" },
    Measure { suffix: "/heap", unit: "KiB of heap" },
];
/// The pool's default.
const PLACES: usize = 2_000;

pub fn run(effort: Effort) {
    let (tasks, rounds) = (effort.ops(10_000_000), effort.rounds.min(3));
    let effort = Effort { rounds, ..effort };
    let contestants = vec![
        Contestant::new("headworks", move || sample("ours", tasks)),
        Contestant::new("kanal", move || sample("kanal", tasks)),
        Contestant::new("tokio::spawn (no cap)", move || sample("spawn", tasks)),
    ];
    contest("worker_pool/flood/1e7_tasks_of_32_bytes", &FLOOD, effort, contestants);
    let contestants = vec![
        Contestant::new("headworks, 3 pools", || sample("pools", 3)),
        Contestant::new("headworks, 1 pool", || sample("pools", 1)),
    ];
    contest("worker_pool/filled/16_workers_2000_tasks", &FILLED, effort, contestants);
}

pub fn child(name: &str, number: usize) -> Vec<f64> {
    match name {
        "ours" => ours(number),
        "kanal" => kanal(number),
        "spawn" => spawn(number),
        "pools" => pools(number),
        _ => panic!("no such sample: {name}"),
    }
}

/// A task whose future is 32 bytes.
async fn task() -> u64 {
    let held = std::hint::black_box([1_u64; 3]);
    tokio::task::yield_now().await;
    held.iter().sum()
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}

/// Queues everything, looks, lets it run, looks again.
fn flood<Q>(tasks: usize, queue: impl Fn() -> Q, drain: impl FnOnce()) -> Vec<f64> {
    let base = resident_mib();
    let count = Count::start();
    let heap = || count.look().live_bytes as f64 / tasks as f64;
    (0..tasks).for_each(|_| drop(queue()));
    let (queued, queued_heap) = (resident_mib() - base, heap());
    drain();
    let drained_heap = heap();
    trim();
    vec![queued, queued_heap, resident_mib() - base, drained_heap]
}

/// The runtime does not run while tasks are queued; the handles are dropped.
fn ours(tasks: usize) -> Vec<f64> {
    let runtime = one_thread();
    let _entered = runtime.enter();
    let config = WorkerPoolConfig::default()
        .with_concurrency(Concurrency::Fixed(WORKERS))
        .with_queue_capacity(tasks)
        .with_thresholds(Thresholds::flat(1.0));
    let pool = WorkerPool::new(config).expect("a config in range, on a runtime");
    let queue = || pool.try_submit(task()).expect("room enough");
    flood(tasks, queue, || {
        runtime.block_on(async {
            while pool.snapshot().ledger.live > 0 {
                tokio::task::yield_now().await;
            }
        });
    })
}

fn kanal(tasks: usize) -> Vec<f64> {
    let runtime = one_thread();
    let (sender, receiver) = kanal::bounded_async::<Job>(tasks);
    let queue = || sender.try_send(job(task()).0).expect("a receiver is there");
    flood(tasks, queue, || {
        runtime.block_on(async {
            for _ in 0..tasks {
                receiver.recv().await.expect("a sender is there").await;
            }
        });
    })
}

fn spawn(tasks: usize) -> Vec<f64> {
    let runtime = one_thread();
    let queue = || runtime.spawn(task());
    flood(tasks, queue, || {
        runtime.block_on(async {
            while runtime.metrics().num_alive_tasks() > 0 {
                tokio::task::yield_now().await;
            }
        });
    })
}

/// So many pools with all seats taken and the queue as full as Urgent may fill it; every handle is
/// held.
fn pools(pools: usize) -> Vec<f64> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let base = resident_mib();
    let count = Count::start();
    let filled: Vec<_> = (0..pools).map(|_| runtime.block_on(filled())).collect();
    let heap = count.stop().live_bytes as f64 / 1024.0;
    assert!(filled.iter().all(|(pool, _)| pool.snapshot().queued() == PLACES));
    vec![resident_mib() - base, heap]
}

type Held = Vec<headworks::TaskHandle<u64>>;

async fn filled() -> (WorkerPool, Held) {
    let config = WorkerPoolConfig::default().with_concurrency(Concurrency::Fixed(WORKERS));
    let pool = WorkerPool::new(config.with_thresholds(Thresholds::flat(1.0)));
    let pool = pool.expect("a config in range, on a runtime");
    let come = Arc::new(Semaphore::new(0));
    let mut held = Held::with_capacity(WORKERS + PLACES);
    for _ in 0..WORKERS {
        let come = Arc::clone(&come);
        let blocker = async move {
            come.add_permits(1);
            std::future::pending().await
        };
        held.push(pool.try_submit(blocker).expect("room enough"));
    }
    come.acquire_many(WORKERS as u32).await.expect("never closed").forget();
    held.extend((0..PLACES).map(|_| pool.try_submit(task()).expect("room enough")));
    (pool, held)
}
