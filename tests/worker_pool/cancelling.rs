//! Cancelling, detaching, and dropping everything.

use std::sync::Arc;

use headworks::worker_pool::Task;
use headworks::{Priority, TaskError};

use super::{Gate, LONG, busy, ends_exactly, pool};

#[tokio::test]
async fn cancelling_a_waiting_task_frees_its_place_at_once() {
    let pool = pool(1, 10);
    let (gate, held) = busy(&pool, 1).await;
    let witness = Arc::new(());
    let inside = Arc::clone(&witness);
    let handle = pool.try_submit(async move { drop(inside) }).unwrap();
    handle.cancel();
    handle.cancel();
    assert_eq!(pool.snapshot().queued(), 0);
    assert_eq!(Arc::strong_count(&witness), 1, "its future was dropped");
    assert!(matches!(handle.await, Err(TaskError::Cancelled)));
    gate.open(1);
    drop(held);
    assert_eq!(ends_exactly(&pool).await.ledger.cancelled, 1);
}

#[tokio::test]
async fn cancelling_a_running_task_drops_it_at_its_await_point() {
    let pool = pool(1, 10);
    let (_gate, mut held) = busy(&pool, 1).await;
    let handle = held.remove(0);
    handle.cancel();
    assert!(matches!(handle.await, Err(TaskError::Cancelled)));
    assert_eq!(pool.try_submit(async { 1 }).unwrap().await.unwrap(), 1);
    assert_eq!(ends_exactly(&pool).await.ledger.cancelled, 1);
}

#[tokio::test]
async fn cancelling_what_has_ended_changes_nothing() {
    let pool = pool(1, 10);
    let handle = pool.try_submit(async { 4 }).unwrap();
    while pool.snapshot().ledger.live > 0 {
        tokio::task::yield_now().await;
    }
    handle.cancel();
    assert_eq!(handle.await.unwrap(), 4);
    assert_eq!(ends_exactly(&pool).await.ledger.completed, 1);
}

#[tokio::test]
async fn dropping_a_handle_detaches_its_task() {
    let pool = pool(1, 10);
    let (gate, held) = busy(&pool, 1).await;
    drop(pool.try_submit(async {}).unwrap());
    drop(held);
    gate.open(1);
    assert_eq!(ends_exactly(&pool).await.ledger.completed, 2);
}

#[tokio::test]
async fn a_storm_of_dropped_handles_leaves_the_rest_running() {
    let pool = pool(4, 10_000);
    let (gate, held) = busy(&pool, 4).await;
    let mut kept = Vec::new();
    let mut dropped = Vec::new();
    for n in 0..8_000_usize {
        let class = if n % 2 == 0 { Priority::Low } else { Priority::High };
        let task = Task::new(async move { n }).priority(class);
        let handle = pool.try_submit(task).unwrap().cancel_on_drop();
        if n % 100 == 0 { kept.push((n, handle)) } else { dropped.push(handle) }
    }
    gate.open(4);
    // In an order that is neither the queue's nor its reverse, while the pool runs.
    while !dropped.is_empty() {
        let n = dropped.len() * 7 / 11;
        drop(dropped.swap_remove(n));
        if n % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for (n, handle) in kept {
        assert_eq!(handle.await.unwrap(), n);
    }
    drop(held);
    let ledger = ends_exactly(&pool).await.ledger;
    assert_eq!(ledger.accepted, 8_004);
    assert_eq!(ledger.completed + ledger.cancelled, 8_004);
}

#[tokio::test]
async fn dropping_the_last_handle_cancels_everything() {
    let pool = pool(2, 10);
    let (_gate, running) = busy(&pool, 2).await;
    let waiting = pool.try_submit(async {}).unwrap();
    drop(pool.clone());
    assert_eq!(pool.snapshot().ledger.live, 3, "one of two handles is not the last");
    drop(pool);
    assert!(matches!(waiting.await, Err(TaskError::Cancelled)));
    for handle in running {
        assert!(matches!(handle.await, Err(TaskError::Cancelled)));
    }
}

#[test]
fn a_runtime_that_goes_away_ends_every_task() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (theirs, ours) = (runtime(), runtime());
    let entered = theirs.enter();
    let pool = pool(1, 10);
    drop(entered);
    let gate = Gate::new();
    let running = pool.try_submit(gate.pass()).unwrap();
    ours.block_on(gate.reached_by(1));
    let waiting = pool.try_submit(async {}).unwrap();
    drop(theirs);
    ours.block_on(async {
        assert!(matches!(running.await, Err(TaskError::Cancelled)));
        assert!(matches!(waiting.await, Err(TaskError::Returned)));
        let ledger = pool.shutdown(LONG).await.ledger;
        assert_eq!((ledger.cancelled, ledger.returned, ledger.live), (1, 1, 0));
        assert!(ledger.is_exact());
    });
}
