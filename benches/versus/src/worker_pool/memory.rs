//! Allocations of a task from submit to result, and the heap that a queued task holds.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::contestant::{Pool, WORKERS};
use super::{Case, no_op, rows, runtime, submit_await};
use crate::alloc::Count;
use crate::harness::{Effort, Measure};
use crate::pin::{Cores, Pinned};

pub fn run(effort: Effort) {
    let Some(_pinned) = Pinned::to(Cores::One) else { return };
    rows("worker_pool/memory/per_task", &MEASURES, Effort { rounds: 3, ..effort }, Memory);
}

const MEASURES: [Measure; 3] = [
    Measure { suffix: "/allocations", unit: "allocations/task" },
    Measure { suffix: "/queued", unit: "heap bytes/queued task" },
    Measure { suffix: "/queued/handle", unit: "bytes/queued task with its handle" },
];

/// Fewer than any class may fill of the cap.
const TASKS: usize = 800;

#[derive(Clone, Copy)]
struct Memory;

impl Case for Memory {
    fn sample<P: Pool>(self) -> Vec<f64> {
        let runtime = runtime(Cores::One);
        let referee = runtime.spawn(async {
            let mut pool = P::start(WORKERS);
            let allocations = allocations(&mut pool).await;
            let (heap, handle) = queued_bytes(&mut pool).await;
            vec![allocations, heap, heap + handle]
        });
        runtime.block_on(referee).expect("the tasks end")
    }
}

async fn allocations<P: Pool>(pool: &mut P) -> f64 {
    for _ in 0..TASKS {
        submit_await(pool).await;
    }
    let count = Count::start();
    for _ in 0..TASKS {
        submit_await(pool).await;
    }
    count.stop().allocations as f64 / TASKS as f64
}

/// Above what the pool itself holds while all its workers are busy: on the heap, and in the handle.
async fn queued_bytes<P: Pool>(pool: &mut P) -> (f64, f64) {
    let (started, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let mut blocked = Vec::with_capacity(WORKERS);
    for _ in 0..WORKERS {
        let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
        let blocker = async move {
            started.add_permits(1);
            gate.acquire().await.map_or(0, |_| 1)
        };
        // Some pools run a task only while its handle is polled.
        blocked.push(tokio::spawn(pool.submit(blocker).await));
    }
    started.acquire_many(WORKERS as u32).await.expect("never closed").forget();
    let mut handles = Vec::with_capacity(TASKS);
    let count = Count::start();
    for _ in 0..TASKS {
        handles.push(pool.submit(no_op()).await);
    }
    let live = count.stop().live_bytes;
    let handle = handles.first().map_or(0, size_of_val);
    gate.add_permits(WORKERS);
    for handle in handles {
        handle.await.expect("the task ran");
    }
    (live as f64 / TASKS as f64, handle as f64)
}
