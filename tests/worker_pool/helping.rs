//! Who awaits a task that is next runs it himself.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;

use headworks::worker_pool::Task;
use headworks::{Priority, TaskError};
use tokio::runtime::Builder;
use tokio::task::yield_now;

use super::{busy, ends_exactly, poll_once, pool};

#[tokio::test]
async fn a_task_that_is_next_ends_in_the_first_poll_of_its_handle() {
    let pool = pool(1, 10);
    let handle = pool.try_submit(async { 7 }).unwrap();
    // No worker has run yet: this is the runtime's only thread.
    assert!(matches!(poll_once(pin!(handle)), Poll::Ready(Ok(7))));
    assert_eq!(pool.snapshot().ledger.completed, 1);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn one_that_does_not_end_in_one_go_is_gone_on_with_by_a_worker() {
    let pool = pool(1, 10);
    let task = async {
        yield_now().await;
        yield_now().await;
        7
    };
    let mut handle = pin!(pool.try_submit(task).unwrap());
    assert!(poll_once(handle.as_mut()).is_pending());
    assert_eq!((pool.snapshot().busy, pool.snapshot().queued()), (1, 0));
    assert_eq!(handle.await.unwrap(), 7);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn nobody_helps_out_of_turn() {
    let pool = pool(1, 10);
    let normal = pool.try_submit(async { "normal" }).unwrap();
    let urgent = pool.try_submit(Task::new(async { "urgent" }).priority(Priority::Urgent)).unwrap();
    let mut normal = pin!(normal);
    assert!(poll_once(normal.as_mut()).is_pending());
    assert!(matches!(poll_once(pin!(urgent)), Poll::Ready(Ok("urgent"))));
    assert_eq!(normal.await.unwrap(), "normal");
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn nobody_helps_without_a_seat() {
    let pool = pool(1, 10);
    let (gate, mut running) = busy(&pool, 1).await;
    let mut handle = pin!(pool.try_submit(async { 7 }).unwrap());
    assert!(poll_once(handle.as_mut()).is_pending());
    assert_eq!((pool.snapshot().busy, pool.snapshot().queued()), (1, 1));
    gate.open(1);
    running.remove(0).await.unwrap();
    assert_eq!(handle.await.unwrap(), 7);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn a_panic_of_a_task_that_is_helped_reaches_the_handle_alone() {
    let pool = pool(1, 10);
    let handle = pool.try_submit(async { panic!("as asked") }).unwrap();
    assert!(matches!(poll_once(pin!(handle)), Poll::Ready(Err(TaskError::Panicked(_)))));
    assert_eq!((pool.snapshot().busy, pool.snapshot().ledger.failed), (0, 1));
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn tasks_that_await_tasks_do_not_pile_up_on_one_stack() {
    let pool = pool(4, 10);
    let inner_pool = pool.clone();
    let helped = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&helped);
    let outer = async move {
        let inner = inner_pool.try_submit(async { 7 }).unwrap();
        let mut inner = pin!(inner);
        let polled = poll_once(inner.as_mut());
        seen.store(polled.is_ready(), Ordering::SeqCst);
        inner.await.unwrap()
    };
    let mut handle = pin!(pool.try_submit(outer).unwrap());
    assert!(poll_once(handle.as_mut()).is_pending());
    assert!(!helped.load(Ordering::SeqCst), "the inner one is a worker's");
    assert_eq!(handle.await.unwrap(), 7);
    ends_exactly(&pool).await;
}

#[test]
fn a_task_runs_on_its_pools_runtime_wherever_it_is_awaited() {
    let home = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let abroad = Builder::new_current_thread().enable_all().build().unwrap();
    let pool = {
        let _home = home.enter();
        pool(2, 10)
    };
    let here = home.handle().id();
    let where_it_runs = || async { tokio::runtime::Handle::current().id() };
    for _ in 0..20 {
        let handle = pool.try_submit(where_it_runs()).unwrap();
        assert_eq!(abroad.block_on(handle).unwrap(), here);
        let handle = pool.try_submit(where_it_runs()).unwrap();
        assert_eq!(home.block_on(handle).unwrap(), here);
    }
    home.block_on(ends_exactly(&pool));
}

#[test]
fn awaiting_in_a_loop_still_lets_others_run() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = pool(1, 10);
        let had_a_turn = Arc::new(AtomicBool::new(false));
        let other = tokio::spawn({
            let had_a_turn = Arc::clone(&had_a_turn);
            async move { had_a_turn.store(true, Ordering::SeqCst) }
        });
        let mut rounds = 0_u32;
        while !had_a_turn.load(Ordering::SeqCst) {
            pool.try_submit(async {}).unwrap().await.unwrap();
            rounds += 1;
            assert!(rounds < 10_000, "nobody else ever runs");
        }
        other.await.unwrap();
        ends_exactly(&pool).await;
    });
}

#[test]
fn what_is_handed_over_when_the_runtime_has_gone_ends_cancelled() {
    let home = Builder::new_current_thread().enable_all().build().unwrap();
    let (pool, handle) = home.block_on(async {
        let pool = pool(1, 10);
        let handle = pool.try_submit(std::future::pending::<()>()).unwrap();
        let mut handle = Box::pin(handle);
        // Helped, and handed over to a worker that never gets to run.
        assert!(poll_once(handle.as_mut()).is_pending());
        (pool, handle)
    });
    drop(home);
    let error = thread::spawn(move || {
        let abroad = Builder::new_current_thread().build().unwrap();
        abroad.block_on(handle).unwrap_err()
    });
    assert!(matches!(error.join().unwrap(), TaskError::Cancelled));
    let ledger = pool.snapshot().ledger;
    assert!(ledger.is_exact() && ledger.live == 0, "{ledger}");
}
