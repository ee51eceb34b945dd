//! Regressions of the worker pool, on one thread. Ids: `<room>/<operation>/<condition>/<n>`.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use headworks::worker_pool::{Concurrency, Task, WorkerPoolConfig};
use headworks::{Priority, WorkerPool};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const SUBMITTERS: u64 = 64;
const QUEUED: u64 = 1_000;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}

fn pool(seats: usize) -> WorkerPool {
    let config = WorkerPoolConfig::default()
        .with_queue_capacity(1_024)
        .with_concurrency(Concurrency::Fixed(seats));
    WorkerPool::new(config).expect("a config in range")
}

async fn no_op() -> u64 {
    black_box(42)
}

async fn submit_await(pool: &WorkerPool) {
    let handle = pool.submit(Task::new(no_op())).await.expect("the pool is open");
    handle.await.expect("the task ran");
}

async fn one_by_one(tasks: u64) -> Duration {
    let pool = pool(16);
    let start = Instant::now();
    for _ in 0..tasks {
        submit_await(&pool).await;
    }
    start.elapsed()
}

async fn from_many(tasks: u64) -> Duration {
    let pool = pool(16);
    let mut submitters = JoinSet::new();
    let start = Instant::now();
    for _ in 0..SUBMITTERS {
        let pool = pool.clone();
        submitters.spawn(async move {
            for _ in 0..tasks.div_ceil(SUBMITTERS) {
                submit_await(&pool).await;
            }
        });
    }
    submitters.join_all().await;
    start.elapsed()
}

async fn inline(tasks: u64) -> Duration {
    let pool = pool(16);
    let start = Instant::now();
    for _ in 0..tasks {
        black_box(pool.run(no_op()).await.expect("a seat is free"));
    }
    start.elapsed()
}

/// The only seat is taken and the queue as full as its class may fill it.
async fn refused(tries: u64) -> Duration {
    let pool = pool(1);
    let gate = Arc::new(Semaphore::new(0));
    let mut handles = Vec::new();
    loop {
        let gate = Arc::clone(&gate);
        let task = async move { gate.acquire().await.map_or(0, |_| 1) };
        match pool.try_submit(Task::new(task).priority(Priority::Low)) {
            Ok(handle) => handles.push(handle),
            Err(_) => break,
        }
        tokio::task::yield_now().await;
    }
    let start = Instant::now();
    for _ in 0..tries {
        let task = Task::new(no_op()).priority(Priority::Low);
        black_box(pool.try_submit(task).is_err());
    }
    start.elapsed()
}

/// What a task costs that waits among a thousand others first.
async fn in_bursts(tasks: u64) -> Duration {
    let pool = pool(16);
    let start = Instant::now();
    for _ in 0..tasks.div_ceil(QUEUED) {
        let mut handles = Vec::with_capacity(QUEUED as usize);
        for _ in 0..QUEUED {
            let task = Task::new(no_op()).priority(Priority::Urgent);
            handles.push(pool.try_submit(task).expect("room for all"));
        }
        for handle in handles {
            handle.await.expect("the task ran");
        }
    }
    start.elapsed()
}

/// From `shutdown` to its report, with every worker resting: 10 ms at most.
async fn ended_idle(pools: u64) -> Duration {
    let mut took = Duration::ZERO;
    for _ in 0..pools {
        let pool = pool(16);
        submit_await(&pool).await;
        let start = Instant::now();
        black_box(pool.shutdown(Duration::from_secs(5)).await);
        took += start.elapsed();
    }
    let each = took / u32::try_from(pools).unwrap_or(u32::MAX);
    assert!(each <= Duration::from_millis(10), "{each:?} to shut an idle pool down");
    took
}

fn worker_pool(c: &mut Criterion) {
    c.bench_function("worker_pool/shutdown/idle/16", |b| {
        b.iter_custom(|pools| runtime().block_on(ended_idle(pools)));
    });
    c.bench_function("worker_pool/submit_await/idle/1", |b| {
        b.iter_custom(|tasks| runtime().block_on(one_by_one(tasks)));
    });
    c.bench_function("worker_pool/submit_await/submitters/64", |b| {
        b.iter_custom(|tasks| runtime().block_on(from_many(tasks)));
    });
    c.bench_function("worker_pool/submit_await/queued/1000", |b| {
        b.iter_custom(|tasks| runtime().block_on(in_bursts(tasks)));
    });
    c.bench_function("worker_pool/run/idle/1", |b| {
        b.iter_custom(|tasks| runtime().block_on(inline(tasks)));
    });
    c.bench_function("worker_pool/try_submit/full/1", |b| {
        b.iter_custom(|tries| runtime().block_on(refused(tries)));
    });
}

criterion_group!(benches, worker_pool);
criterion_main!(benches);
