//! Closures that block a thread.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use headworks::worker_pool::{Task, TaskHandle};
use headworks::{Priority, Reason, TaskError, WorkerPool};
use tokio::runtime::{Builder, Runtime};

use super::{LONG, busy, ends_exactly, pool};

/// A closure that holds its thread until it is let go, and then says so.
struct Held {
    go: SyncSender<()>,
    begun: Receiver<()>,
}

impl Held {
    fn new() -> (Self, impl FnOnce() -> &'static str + Send + 'static) {
        let ((go, wait), (begin, begun)) = (sync_channel(1), sync_channel(1));
        let work = move || {
            begin.send(()).unwrap();
            // An error is as good as a word: whoever held it back has gone.
            let _ = wait.recv();
            "done"
        };
        (Self { go, begun }, work)
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn hold(pool: &WorkerPool) -> (Held, TaskHandle<&'static str>) {
    let (held, work) = Held::new();
    let handle = pool.try_submit_blocking(work).unwrap();
    held.begun.recv().unwrap();
    (held, handle)
}

#[tokio::test]
async fn a_closure_gives_its_result_and_its_panic_to_the_handle() {
    let pool = pool(2, 10);
    let here = std::thread::current().id();
    let there = pool.try_submit_blocking(|| std::thread::current().id()).unwrap();
    assert_ne!(there.await.unwrap(), here);
    let panics = pool.try_submit_blocking(|| -> u8 { panic!("no luck") }).unwrap();
    match panics.await {
        Err(TaskError::Panicked(panic)) => assert_eq!(panic.message(), Some("no luck")),
        other => panic!("{other:?}"),
    }
    let ledger = ends_exactly(&pool).await.ledger;
    assert_eq!((ledger.completed, ledger.failed), (1, 1));
}

#[tokio::test]
async fn it_has_a_class_and_goes_through_the_waiting_room_like_any_task() {
    let pool = pool(1, 1);
    let (gate, held) = busy(&pool, 1).await;
    let urgent = pool.try_submit(Task::blocking(|| 1).priority(Priority::Urgent)).unwrap();
    let no = pool.try_submit_blocking(|| 2).unwrap_err();
    assert_eq!(no.reason(), Reason::QueueFull);
    assert_eq!(no.into_inner()(), 2);
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { pool.submit(Task::blocking(|| 3)).await.unwrap().await.unwrap() }
    });
    gate.open(1);
    assert_eq!((urgent.await.unwrap(), waits.await.unwrap()), (1, 3));
    drop(held);
    ends_exactly(&pool).await;
}

#[test]
fn before_it_begins_it_is_cancelled_and_never_runs() {
    let runtime = runtime();
    let pool = {
        let _entered = runtime.enter();
        pool(1, 10)
    };
    let (held, first) = hold(&pool);
    let waits = pool.try_submit_blocking(|| panic!("never begun")).unwrap();
    waits.cancel();
    let ended: Result<(), _> = runtime.block_on(waits);
    assert!(matches!(ended, Err(TaskError::Cancelled)));
    held.go.send(()).unwrap();
    assert_eq!(runtime.block_on(first).unwrap(), "done");
    runtime.block_on(ends_exactly(&pool));
}

#[test]
fn once_begun_it_keeps_its_seat_whatever_becomes_of_its_handle() {
    let runtime = runtime();
    let pool = {
        let _entered = runtime.enter();
        pool(2, 10)
    };
    let (cancelled, handle) = hold(&pool);
    let (detached, other) = hold(&pool);
    handle.cancel();
    drop(other);
    let next = pool.try_submit(async { 7 }).unwrap();
    for _ in 0..100 {
        runtime.block_on(tokio::task::yield_now());
        assert_eq!((pool.snapshot().busy, pool.snapshot().queued()), (2, 1));
    }
    cancelled.go.send(()).unwrap();
    assert_eq!(runtime.block_on(handle).unwrap(), "done", "a thread is not stopped");
    assert_eq!(runtime.block_on(next).unwrap(), 7);
    assert_eq!(pool.snapshot().busy, 1);
    detached.go.send(()).unwrap();
    let ledger = runtime.block_on(ends_exactly(&pool)).ledger;
    assert_eq!((ledger.completed, ledger.cancelled), (3, 0));
}

#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn no_timeout_takes_its_seat() {
    let pool = pool(1, 10);
    let (held, work) = Held::new();
    let task = Task::blocking(work).timeout(Duration::from_secs(1));
    let handle = pool.try_submit(task).unwrap();
    // Polled by its worker, which would set an alarm.
    tokio::task::yield_now().await;
    held.begun.recv().unwrap();
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::task::yield_now().await;
    assert_eq!(pool.snapshot().busy, 1);
    held.go.send(()).unwrap();
    assert_eq!(handle.await.unwrap(), "done");
}

#[test]
fn a_shutdown_lists_a_thread_that_still_runs() {
    let runtime = runtime();
    let pool = {
        let _entered = runtime.enter();
        pool(1, 10)
    };
    let (held, handle) = hold(&pool);
    let waits = pool.try_submit_blocking(|| panic!("never begun")).unwrap();
    let report = runtime.block_on(pool.shutdown(Duration::ZERO));
    assert_eq!(report.unresponsive, [handle.id()]);
    assert_eq!((report.ledger.live, report.ledger.returned), (1, 1));
    let ended: Result<(), _> = runtime.block_on(waits);
    assert!(matches!(ended, Err(TaskError::Returned)));
    held.go.send(()).unwrap();
    assert_eq!(runtime.block_on(handle).unwrap(), "done");
    let report = runtime.block_on(pool.shutdown(LONG));
    assert_eq!((report.ledger.live, report.ledger.completed), (0, 1));
}

#[test]
fn without_its_runtime_the_handle_is_told_at_once() {
    let runtime = runtime();
    let pool = {
        let _entered = runtime.enter();
        pool(1, 10)
    };
    let (held, running) = hold(&pool);
    let waits = pool.try_submit_blocking(|| "never begun").unwrap();
    runtime.shutdown_background();
    let elsewhere = Builder::new_current_thread().build().unwrap();
    assert!(matches!(elsewhere.block_on(running), Err(TaskError::Cancelled)));
    assert!(matches!(elsewhere.block_on(waits), Err(TaskError::Returned)));
    assert!(pool.snapshot().ledger.is_exact());
    drop(held);
}

/// Awaited inside a task of its pool of one seat, so that it begins on that seat.
fn nested(pool: &WorkerPool) -> (Held, TaskHandle<()>, tokio::sync::oneshot::Sender<()>) {
    let (held, work) = Held::new();
    let (leave, left) = tokio::sync::oneshot::channel::<()>();
    let inner = pool.clone();
    let outer = async move {
        let handle = inner.try_submit_blocking(work).unwrap();
        tokio::select! { biased; _ = handle => {}, _ = left => {} }
    };
    let outer = pool.try_submit(outer).unwrap();
    held.begun.recv().unwrap();
    (held, outer, leave)
}

#[test]
fn one_that_was_begun_on_the_seat_of_another_task_outlives_it_at_a_shutdown() {
    let runtime = runtime();
    let pool = {
        let _home = runtime.enter();
        pool(1, 10)
    };
    let (held, outer, _leave) = nested(&pool);
    let report = runtime.block_on(pool.shutdown(Duration::ZERO));
    assert_eq!((report.unresponsive.len(), report.ledger.live), (1, 1), "{report:?}");
    assert!(matches!(runtime.block_on(outer), Err(TaskError::Cancelled)));
    held.go.send(()).unwrap();
    runtime.block_on(ends_exactly(&pool));
}

#[test]
fn one_that_was_begun_on_the_seat_of_another_task_has_its_own_when_that_has_ended() {
    let runtime = runtime();
    let pool = {
        let _home = runtime.enter();
        pool(1, 10)
    };
    let (held, outer, leave) = nested(&pool);
    let urgent = Task::new(async { 7 }).priority(Priority::Urgent);
    let urgent = pool.try_submit(urgent).unwrap();
    leave.send(()).unwrap();
    runtime.block_on(outer).unwrap();
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.busy, snapshot.queued()), (1, 1), "its thread runs");
    held.go.send(()).unwrap();
    assert_eq!(runtime.block_on(urgent).unwrap(), 7);
    runtime.block_on(ends_exactly(&pool));
}
