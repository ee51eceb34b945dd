//! A shutdown by a deadline: what can finish does, the rest is told, and the ledger adds up.
//!
//! `cargo run --example graceful_shutdown`

use std::time::Duration;

use headworks::worker_pool::{Concurrency, WorkerPoolConfig};
use headworks::{Reason, TaskError, WorkerPool};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = WorkerPoolConfig::default().with_concurrency(Concurrency::Fixed(4));
    let pool = WorkerPool::new(config)?;

    let work = |ms| tokio::time::sleep(Duration::from_millis(ms));
    let submit = |ms| pool.try_submit(work(ms)).expect("there is room for all of them");
    let quick: Vec<_> = (0..40).map(|_| submit(1)).collect();
    let endless: Vec<_> = (0..4).map(|_| submit(600_000)).collect();
    let behind: Vec<_> = (0..10).map(|_| submit(1)).collect();

    let within = Duration::from_secs(1);
    let report = pool.shutdown(within).await;
    println!("shut down within {within:?}");
    println!("{}", report.ledger);
    assert!(report.ledger.is_exact());
    assert_eq!(report.unresponsive, []);

    // Every handle has an answer. The quick ones finished ...
    for handle in quick {
        handle.await?;
    }
    // ... the endless ones were dropped at their await point ...
    for handle in endless {
        assert!(matches!(handle.await, Err(TaskError::Cancelled)));
    }
    // ... and those behind them were never started.
    for handle in behind {
        assert!(matches!(handle.await, Err(TaskError::Returned)));
    }
    let refused = pool.try_submit(work(1)).expect_err("the pool is closed");
    println!("afterwards: {refused}");
    assert_eq!(refused.reason(), Reason::Closed);
    Ok(())
}
