//! Tasks that are accepted beside the lock keep to every rule of those that go through it.
//!
//! After one task that was awaited at once, the next one of this thread lies in a slot. The tests
//! are on one thread, so that nothing happens in between.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use headworks::worker_pool::{Task, Timing};
use headworks::{Priority, Reason, TaskError, WorkerPool};
use tokio::sync::mpsc;

use super::{LONG, config, ends_exactly, poll_once};

/// A pool whose next task goes into the slot of this thread.
async fn warm(seats: usize, places: usize) -> WorkerPool {
    let pool = WorkerPool::new(config(seats, places).with_timing(Timing::Off)).unwrap();
    for _ in 0..2 {
        pool.try_submit(async {}).unwrap().await.unwrap();
    }
    pool
}

#[tokio::test]
async fn a_task_that_nobody_awaits_is_run() {
    let pool = warm(2, 10).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    for n in 0..3 {
        let tell = tell.clone();
        drop(pool.try_submit(async move { tell.send(n).unwrap() }).unwrap());
        assert_eq!(told.recv().await, Some(n));
    }
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn tasks_start_in_the_order_in_which_they_came() {
    let pool = warm(1, 10).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    for n in 0..4 {
        let tell = tell.clone();
        drop(pool.try_submit(async move { tell.send(n).unwrap() }).unwrap());
    }
    assert_eq!(pool.snapshot().queued(), 4);
    for n in 0..4 {
        assert_eq!(told.recv().await, Some(n));
    }
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn a_higher_class_that_comes_later_starts_first() {
    let pool = warm(1, 10).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    for class in [Priority::Low, Priority::Urgent] {
        let tell = tell.clone();
        let task = async move { tell.send(class).unwrap() };
        drop(pool.try_submit(Task::new(task).priority(class)).unwrap());
    }
    assert_eq!(told.recv().await, Some(Priority::Urgent));
    assert_eq!(told.recv().await, Some(Priority::Low));
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn the_cap_counts_it() {
    let pool = warm(1, 1).await;
    let first = pool.try_submit(async { 1 }).unwrap();
    let refused = pool.try_submit(async { 2 }).unwrap_err();
    assert_eq!(refused.reason(), Reason::QueueFull);
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.queued(), snapshot.ledger.live, snapshot.busy), (1, 1, 0));
    assert_eq!(first.await.unwrap(), 1);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn it_can_be_evicted() {
    let pool = warm(1, 1).await;
    let low = pool.try_submit(Task::new(async { 1 }).priority(Priority::Low)).unwrap();
    let high = pool.try_submit(Task::new(async { 2 }).priority(Priority::High)).unwrap();
    assert!(matches!(low.await.unwrap_err(), TaskError::Evicted));
    assert_eq!(high.await.unwrap(), 2);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn cancelled_it_ends_at_once_wherever_it_waits() {
    let pool = warm(1, 10).await;
    let dropped = Arc::new(AtomicU32::new(0));
    let task = || {
        let guard = Counted(Arc::clone(&dropped));
        async move { drop(guard) }
    };
    // In the slot.
    let in_slot = pool.try_submit(task()).unwrap();
    in_slot.cancel();
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!((pool.snapshot().busy, pool.snapshot().ledger.cancelled), (0, 1));
    assert!(matches!(in_slot.await.unwrap_err(), TaskError::Cancelled));
    // Out of the slot, in the queue by now.
    pool.try_submit(async {}).unwrap().await.unwrap();
    let moved = pool.try_submit(task()).unwrap();
    assert_eq!(pool.snapshot().queued(), 1);
    moved.cancel();
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
    assert_eq!((pool.snapshot().queued(), pool.snapshot().ledger.cancelled), (0, 2));
    // Handed over to a worker by now.
    pool.try_submit(async {}).unwrap().await.unwrap();
    let mut running = pin!(pool.try_submit(std::future::pending::<()>()).unwrap());
    assert!(poll_once(running.as_mut()).is_pending());
    running.cancel();
    assert!(matches!(running.await.unwrap_err(), TaskError::Cancelled));
    ends_exactly(&pool).await;
}

struct Counted(Arc<AtomicU32>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn its_name_does_not_change_when_it_moves() {
    let pool = warm(1, 10).await;
    let in_slot = pool.try_submit(async {}).unwrap();
    let id = in_slot.id();
    let behind = pool.try_submit(async {}).unwrap();
    assert_eq!((pool.snapshot().queued(), in_slot.id()), (2, id));
    assert!(behind.id() != id);
    in_slot.await.unwrap();
    behind.await.unwrap();
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn one_that_does_not_end_in_one_go_has_a_seat_and_goes_on() {
    let pool = warm(1, 10).await;
    let (go, went) = tokio::sync::oneshot::channel::<u32>();
    let mut handle = pin!(pool.try_submit(async { went.await.unwrap() }).unwrap());
    assert!(poll_once(handle.as_mut()).is_pending());
    assert_eq!((pool.snapshot().busy, pool.snapshot().queued()), (1, 0));
    go.send(7).unwrap();
    assert_eq!(handle.await.unwrap(), 7);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn a_shutdown_accounts_for_it() {
    let pool = warm(1, 10).await;
    let handle = pool.try_submit(std::future::pending::<()>()).unwrap();
    let report = pool.shutdown(Duration::ZERO).await;
    assert_eq!((report.ledger.completed, report.ledger.live), (2, 0));
    assert_eq!(report.ledger.count(handle.await.unwrap_err().ending()), 1);
    assert_eq!(pool.try_submit(async {}).unwrap_err().reason(), Reason::Closed);
}

#[tokio::test]
async fn shutdown_with_time_runs_it() {
    let pool = warm(1, 10).await;
    let handle = pool.try_submit(async { 7 }).unwrap();
    assert_eq!(pool.shutdown(LONG).await.ledger.completed, 3);
    assert_eq!(handle.await.unwrap(), 7);
}

#[tokio::test]
async fn dropping_the_pool_cancels_it() {
    let pool = warm(1, 10).await;
    let handle = pool.try_submit(async {}).unwrap();
    drop(pool);
    assert!(matches!(handle.await.unwrap_err(), TaskError::Cancelled));
}

#[tokio::test]
async fn a_caller_of_run_behind_it_waits_for_it() {
    let pool = warm(1, 10).await;
    let first = pool.try_submit(async { 1 }).unwrap();
    let mut second = pin!(pool.run(async { 2 }));
    assert!(poll_once(second.as_mut()).is_pending());
    assert_eq!(first.await.unwrap(), 1);
    assert_eq!(second.await.unwrap(), 2);
    ends_exactly(&pool).await;
}

#[test]
fn when_the_runtime_has_gone_it_is_returned_and_the_next_is_refused() {
    let home = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pool = home.block_on(warm(1, 10));
    let handle = pool.try_submit(async {}).unwrap();
    drop(home);
    let mut handle = pin!(handle);
    assert!(matches!(poll_once(handle.as_mut()), Poll::Ready(Err(TaskError::Returned))));
    assert_eq!(pool.try_submit(async {}).unwrap_err().reason(), Reason::Closed);
    let ledger = pool.snapshot().ledger;
    assert!(ledger.is_exact() && ledger.live == 0, "{ledger}");
}
