//! What the worker pool promises, each promise a test named for it.
//!
//! Nothing here sleeps: gates hold tasks back until the test lets them go.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and brings its own clock"
)]

mod beside;
mod blocking;
mod callbacks;
mod cancelling;
mod completions;
mod ending;
mod helping;
mod history;
#[cfg(feature = "tower")]
mod layer;
mod lifecycle;
mod nested;
#[cfg(feature = "test-util")]
mod ops;
#[cfg(feature = "test-util")]
mod ops_seeds;
mod order;
#[cfg(feature = "test-util")]
mod paused;
mod running;
mod signals;
mod submitting;
#[cfg(feature = "test-util")]
mod told;
#[cfg(feature = "test-util")]
mod turns;

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use headworks::WorkerPool;
use headworks::worker_pool::{Concurrency, DrainReport, TaskHandle, WorkerPoolConfig};
use tokio::sync::Semaphore;

const LONG: Duration = Duration::from_secs(30);

fn pool(seats: usize, places: usize) -> WorkerPool {
    WorkerPool::new(config(seats, places)).unwrap()
}

fn config(seats: usize, places: usize) -> WorkerPoolConfig {
    WorkerPoolConfig::default()
        .with_concurrency(Concurrency::Fixed(seats))
        .with_queue_capacity(places)
}

/// Holds tasks back until it is opened, and tells how many have come to it.
#[derive(Clone)]
struct Gate {
    come: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        Self { come: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) }
    }

    /// To be awaited inside a task.
    fn pass(&self) -> impl Future<Output = ()> + Send + use<> {
        let Self { come, open } = self.clone();
        async move {
            come.add_permits(1);
            open.acquire().await.unwrap().forget();
        }
    }

    /// Waits until so many more stand before it.
    async fn reached_by(&self, tasks: u32) {
        self.come.acquire_many(tasks).await.unwrap().forget();
    }

    fn open(&self, tasks: usize) {
        self.open.add_permits(tasks);
    }
}

/// A pool with every seat taken by a task at the gate.
async fn busy(pool: &WorkerPool, seats: usize) -> (Gate, Vec<TaskHandle<()>>) {
    let gate = Gate::new();
    let handles = (0..seats).map(|_| pool.try_submit(gate.pass()).unwrap()).collect();
    gate.reached_by(seats as u32).await;
    (gate, handles)
}

/// Polls once with a waker that does nothing.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

async fn ends_exactly(pool: &WorkerPool) -> DrainReport {
    let report = pool.shutdown(LONG).await;
    assert!(report.ledger.is_exact(), "{}", report.ledger);
    assert_eq!(report.ledger.live, 0, "{}", report.ledger);
    assert_eq!(report.unresponsive, []);
    report
}
