//! What the limits promise that are not fixed, on a clock that the test turns.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and brings its own clock"
)]

mod adaptive;
mod autoscale;
mod flap;

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use headworks::WorkerPool;
use headworks::worker_pool::{Concurrency, DrainReport, WorkerPoolConfig};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn pool(concurrency: impl Into<Concurrency>) -> WorkerPool {
    WorkerPool::new(WorkerPoolConfig::default().with_concurrency(concurrency)).unwrap()
}

fn weight(seats: u32) -> NonZeroU32 {
    NonZeroU32::new(seats).unwrap()
}

/// Polls once with a waker that does nothing.
fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

async fn ends_exactly(pool: &WorkerPool) -> DrainReport {
    let report = pool.shutdown(SECOND * 3_600).await;
    assert!(report.ledger.is_exact(), "{}", report.ledger);
    assert_eq!(report.ledger.live, 0, "{}", report.ledger);
    assert_eq!(report.unresponsive, []);
    report
}
