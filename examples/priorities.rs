//! What matters most goes first, and takes the place of what matters least when the queue is full.
//!
//! `cargo run --example priorities`

use std::sync::Arc;
use std::time::Duration;

use headworks::worker_pool::{Concurrency, Task, WorkerPoolConfig};
use headworks::{Priority, Reason, TaskError, WorkerPool};
use tokio::sync::{Notify, mpsc};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config =
        WorkerPoolConfig::default().with_concurrency(Concurrency::Fixed(1)).with_queue_capacity(5);
    let pool = WorkerPool::new(config)?;

    // The one seat is taken, so that everything else has to wait.
    let (release, held) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let first = {
        let (release, held) = (Arc::clone(&release), Arc::clone(&held));
        pool.try_submit(async move {
            held.notify_one();
            release.notified().await;
        })?
    };
    held.notified().await;

    let (ran, mut order) = mpsc::channel(8);
    let submit = |class: Priority| {
        let ran = ran.clone();
        let task = Task::new(async move { ran.send(class).await }).priority(class);
        pool.try_submit(task).map_err(|refused| refused.reason())
    };
    // Low may fill 80 % of the queue: four of its five places.
    let accepted = |class| submit(class).expect("there is room for it");
    let mut low: Vec<_> = (0..4).map(|_| accepted(Priority::Low)).collect();
    let reason = submit(Priority::Low).expect_err("a fifth one is too many");
    println!("the fifth low task was refused: {reason}");
    assert_eq!(reason, Reason::QueueFull);

    let high = [accepted(Priority::High), accepted(Priority::Urgent)];
    let newest = low.pop().expect("four were accepted").await;
    println!("the fourth low task made room: {newest:?}");
    assert!(matches!(newest, Err(TaskError::Evicted)));

    release.notify_one();
    first.await?;
    for handle in high.into_iter().chain(low) {
        handle.await??;
        println!("ran: {:?}", order.recv().await);
    }
    let report = pool.shutdown(Duration::from_secs(5)).await;
    println!("{}", report.ledger);
    assert_eq!((report.ledger.completed, report.ledger.evicted), (6, 1));
    assert!(report.ledger.is_exact());
    Ok(())
}
