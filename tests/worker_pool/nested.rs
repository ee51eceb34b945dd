//! D7: a task that awaits a task of its own pool never waits for the seat it sits on itself.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use headworks::worker_pool::{Task, TaskHandle};
use headworks::{Enforcement, Priority, Reason, TaskError, WorkerPool};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::{LONG, ends_exactly, poll_once, pool};

/// As many levels, each of which awaits the next one, and counts them.
fn levels(
    pool: WorkerPool,
    more: u32,
) -> Pin<Box<dyn Future<Output = Result<u32, TaskError>> + Send>> {
    Box::pin(async move {
        yield_now().await;
        if more == 0 {
            return Ok(0);
        }
        let next = Task::new(levels(pool.clone(), more - 1)).within(LONG);
        Ok(1 + pool.try_submit(next).unwrap().await??)
    })
}

/// Polls the handle once, from here.
async fn waits<T>(handle: &mut TaskHandle<T>) {
    let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut *handle).poll(cx).is_pending()));
    assert!(polled.await, "it is not there yet");
}

#[tokio::test]
async fn it_runs_on_the_seat_of_whoever_awaits_it() {
    let pool = pool(1, 100);
    let outer = pool.try_submit(levels(pool.clone(), 10)).unwrap();
    assert_eq!(outer.await.unwrap().unwrap(), 10);
    assert_eq!(ends_exactly(&pool).await.ledger.completed, 11);
}

#[tokio::test]
async fn every_seat_may_be_taken_by_one_that_waits() {
    let pool = pool(3, 100);
    let outer: Vec<_> = (0..3).map(|_| pool.try_submit(levels(pool.clone(), 3)).unwrap()).collect();
    for one in outer {
        assert_eq!(one.await.unwrap().unwrap(), 3);
    }
    assert_eq!(ends_exactly(&pool).await.ledger.completed, 12);
}

#[tokio::test]
async fn several_go_on_together() {
    let pool = pool(1, 100);
    let inner = pool.clone();
    let outer = pool.try_submit(async move {
        let (ping, pong) = oneshot::channel::<u32>();
        let mut waits = pin!(inner.try_submit(async { pong.await.unwrap() }).unwrap());
        let mut sends = pin!(inner.try_submit(async { ping.send(7).unwrap() }).unwrap());
        let mut answer = None;
        poll_fn(|cx| {
            if let Poll::Ready(got) = waits.as_mut().poll(cx) {
                answer = Some(got.unwrap());
            } else if let Poll::Ready(sent) = sends.as_mut().poll(cx) {
                sent.unwrap();
            }
            if answer.is_some() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        answer
    });
    assert_eq!(outer.unwrap().await.unwrap(), Some(7));
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn it_goes_on_when_whoever_awaited_it_has_gone() {
    let pool = pool(1, 100);
    let (go, went) = oneshot::channel::<()>();
    let (done, is_done) = oneshot::channel::<()>();
    let inner = pool.clone();
    let mut outer = pin!(
        pool.try_submit(async move {
            let task = async {
                went.await.unwrap();
                done.send(()).unwrap();
            };
            inner.try_submit(task).unwrap().await.unwrap();
        })
        .unwrap()
    );
    assert!(poll_once(outer.as_mut()).is_pending());
    yield_now().await;
    assert_eq!((pool.snapshot().busy, pool.snapshot().ledger.live), (1, 2));
    outer.cancel();
    assert!(matches!(outer.await, Err(TaskError::Cancelled)));
    go.send(()).unwrap();
    is_done.await.unwrap();
    let ledger = ends_exactly(&pool).await.ledger;
    assert_eq!((ledger.completed, ledger.cancelled), (1, 1));
}

#[tokio::test]
async fn with_cancel_on_drop_it_ends_with_whoever_awaited_it() {
    let pool = pool(1, 100);
    let inner = pool.clone();
    let mut outer = pin!(
        pool.try_submit(async move {
            let forever = inner.try_submit(std::future::pending::<()>()).unwrap();
            forever.cancel_on_drop().await.unwrap();
        })
        .unwrap()
    );
    assert!(poll_once(outer.as_mut()).is_pending());
    yield_now().await;
    outer.cancel();
    assert!(matches!(outer.await, Err(TaskError::Cancelled)));
    assert_eq!(ends_exactly(&pool).await.ledger.cancelled, 2);
}

#[tokio::test]
async fn shutdown_ends_both() {
    let pool = pool(1, 100);
    let inner = pool.clone();
    let outer = async move { inner.try_submit(std::future::pending::<()>()).unwrap().await };
    let mut outer = pin!(pool.try_submit(outer).unwrap());
    assert!(poll_once(outer.as_mut()).is_pending());
    yield_now().await;
    let report = pool.shutdown(Duration::ZERO).await;
    assert_eq!((report.ledger.cancelled, report.ledger.live), (2, 0), "{}", report.ledger);
    assert!(matches!(outer.await, Err(TaskError::Cancelled)));
}

#[tokio::test]
async fn its_panic_reaches_whoever_awaits_it() {
    let pool = pool(1, 100);
    let inner = pool.clone();
    let outer = async move { inner.try_submit(async { panic!("as asked") }).unwrap().await };
    let panicked = pool.try_submit(outer).unwrap().await.unwrap();
    assert!(matches!(panicked, Err(TaskError::Panicked(_))));
    let ledger = ends_exactly(&pool).await.ledger;
    assert_eq!((ledger.completed, ledger.failed), (1, 1));
}

#[tokio::test]
async fn a_run_inside_a_task_takes_no_second_seat() {
    let pool = pool(1, 100);
    let inner = pool.clone();
    let task = async move { inner.run(async { 7 }).await.unwrap() };
    assert_eq!(pool.try_submit(task).unwrap().await.unwrap(), 7);
    let inner = pool.clone();
    let run = async { inner.run(async { 8 }).await.unwrap() };
    assert_eq!(pool.run(run).await.unwrap(), 8);
    assert_eq!(ends_exactly(&pool).await.ledger.completed, 4);
}

#[tokio::test]
async fn a_run_may_await_what_it_has_submitted() {
    let pool = pool(1, 100);
    let inner = pool.clone();
    let run = async {
        let low = Task::new(async { 9 }).priority(Priority::Low);
        inner.try_submit(low).unwrap().await.unwrap()
    };
    assert_eq!(pool.run(run).await.unwrap(), 9);
    ends_exactly(&pool).await;
}

#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn through_another_task_it_is_not_seen_and_the_deadline_ends_it() {
    let pool = pool(1, 100);
    let inner = pool.clone();
    let outer = pool.try_submit(async move {
        let other = tokio::spawn(async move {
            let task = Task::new(async {}).within(Duration::from_secs(5));
            inner.try_submit(task).unwrap().await
        });
        tokio::time::timeout(Duration::from_secs(10), other).await
    });
    assert!(outer.unwrap().await.unwrap().is_err(), "it waits for the seat of the outer one");
    assert_eq!(ends_exactly(&pool).await.ledger.expired, 1);
}

#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn its_timeout_is_applied() {
    let pool = pool(1, 100);
    let inner = pool.clone();
    let outer = pool.try_submit(async move {
        let forever = Task::new(std::future::pending::<()>()).timeout(Duration::from_secs(5));
        inner.try_submit(forever).unwrap().await
    });
    assert!(matches!(outer.unwrap().await.unwrap(), Err(TaskError::TimedOut)));
    ends_exactly(&pool).await;
}

#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn too_many_levels_end_by_their_deadline_and_not_on_the_stack() {
    let pool = pool(1, 1_000);
    let outer = pool.try_submit(levels(pool.clone(), 500)).unwrap();
    assert!(outer.await.unwrap().is_err());
    assert!(ends_exactly(&pool).await.ledger.failed > 0);
}

#[tokio::test]
async fn a_handle_can_be_shared_between_threads() {
    fn is_shared<T: Send + Sync>(_: &T) {}
    let pool = pool(1, 10);
    let handle = pool.try_submit(async {}).unwrap();
    is_shared(&handle);
    handle.await.unwrap();
}

#[tokio::test]
async fn tasks_that_await_each_other_all_end() {
    let pool = pool(2, 10);
    yield_now().await;
    let (give, take) = oneshot::channel::<TaskHandle<u32>>();
    // Its worker is woken first.
    let first = async move { take.await.unwrap().await.unwrap() };
    let first = pool.try_submit(Task::new(first).priority(Priority::High)).unwrap();
    let other = tokio::spawn({
        let pool = pool.clone();
        async move {
            let second = async move { first.await.unwrap() };
            pool.try_submit(Task::new(second).priority(Priority::Urgent)).unwrap().await.unwrap()
        }
    });
    // Waits while a seat is free, and is polled once before the first one gets it.
    let mut child = pool.try_submit(Task::new(async { 7 }).priority(Priority::Low)).unwrap();
    assert!(poll_once(Pin::new(&mut child)).is_pending());
    assert!(give.send(child).is_ok());
    assert_eq!(other.await.unwrap(), 7);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn what_runs_so_and_what_waits_are_no_more_than_the_cap() {
    let pool = pool(1, 4);
    let mut handles = Vec::new();
    pool.run(async {
        for _ in 0..4 {
            let mut handle = pool.try_submit(std::future::pending::<()>()).unwrap();
            waits(&mut handle).await;
            handles.push(handle);
        }
        let refused = pool.try_submit(std::future::pending::<()>()).unwrap_err();
        assert_eq!(refused.reason(), Reason::QueueFull);
        handles.clear();
        assert_eq!(pool.snapshot().queued(), 4);
    })
    .await
    .unwrap();
    // They had begun: so they are not returned.
    let ledger = pool.shutdown(Duration::ZERO).await.ledger;
    assert_eq!((ledger.cancelled, ledger.returned, ledger.live), (4, 0, 0), "{ledger}");
}

#[tokio::test]
async fn a_shutdown_with_time_lets_it_end() {
    let pool = pool(1, 10);
    let (go, went) = oneshot::channel::<()>();
    let run = pool.run(async { pool.try_submit(async { went.await.unwrap() }).unwrap().await });
    let end = async {
        yield_now().await;
        let shutdown = tokio::spawn({
            let pool = pool.clone();
            async move { pool.shutdown(LONG).await }
        });
        yield_now().await;
        go.send(()).unwrap();
        shutdown.await.unwrap()
    };
    let (ran, report) = tokio::join!(run, end);
    ran.unwrap().unwrap();
    assert_eq!((report.ledger.completed, report.ledger.live), (2, 0));
}

#[tokio::test]
async fn a_shutdown_without_time_reaches_it_in_a_run() {
    let pool = pool(1, 10);
    let run = pool
        .run(async { pool.try_submit(std::future::pending::<()>()).unwrap().await.unwrap_err() });
    let (error, report) = tokio::join!(run, pool.shutdown(Duration::ZERO));
    assert!(matches!(error.unwrap(), TaskError::Cancelled));
    assert_eq!((report.unresponsive, report.ledger.live), (vec![], 0));
}

#[tokio::test]
async fn awaiting_such_tasks_in_a_loop_lets_others_run() {
    let pool = pool(1, 10);
    let other = tokio::spawn(async {});
    pool.run(async {
        let mut rounds = 0_u32;
        while !other.is_finished() {
            pool.try_submit(async {}).unwrap().await.unwrap();
            rounds += 1;
            assert!(rounds < 10_000, "nobody else ever runs");
        }
    })
    .await
    .unwrap();
    ends_exactly(&pool).await;
}

#[test]
fn polled_abroad_it_goes_on_at_home() {
    let home = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (go, went) = oneshot::channel::<()>();
    let here = home.handle().id();
    let (pool, handle) = home.block_on(async {
        let pool = pool(1, 10);
        let inner = pool.clone();
        let task = async move {
            let child = async {
                went.await.unwrap();
                tokio::runtime::Handle::current().id()
            };
            let mut child = inner.try_submit(child).unwrap();
            waits(&mut child).await;
            // Not to be awaited here.
            Some(child)
        };
        let handle = pool.try_submit(task).unwrap().await.unwrap().unwrap();
        (pool, handle)
    });
    let abroad = Builder::new_current_thread().enable_all().build().unwrap();
    let mut handle = pin!(handle);
    abroad.block_on(poll_fn(|cx| {
        assert!(handle.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    }));
    go.send(()).unwrap();
    assert_eq!(abroad.block_on(handle).unwrap(), here);
    home.block_on(ends_exactly(&pool));
}

#[tokio::test]
async fn the_cap_holds_where_it_is_the_only_thing_that_is_enforced() {
    let config = super::config(1, 2).with_enforcement(Enforcement::Shadow);
    let pool = WorkerPool::new(config).unwrap();
    pool.run(async {
        let mut handles = Vec::new();
        while let Ok(mut handle) = pool.try_submit(std::future::pending::<()>()) {
            waits(&mut handle).await;
            handles.push(handle);
            assert!(handles.len() <= 2);
        }
        drop(handles);
        assert_eq!(pool.snapshot().queued(), 2);
    })
    .await
    .unwrap();
    pool.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_run_inside_a_run_takes_the_place_it_was_given() {
    let pool = pool(1, 1);
    pool.run(async {
        let low = pool.try_submit(Task::new(async {}).priority(Priority::Low)).unwrap();
        let high = || pool.run(Task::new(std::future::pending::<()>()).priority(Priority::High));
        let (mut first, mut second) = (Box::pin(high()), Box::pin(high()));
        let polled = poll_fn(|cx| {
            Poll::Ready((first.as_mut().poll(cx).is_pending(), second.as_mut().poll(cx)))
        });
        let (is_running, refused) = polled.await;
        let Poll::Ready(Err(refused)) = refused else { panic!("three on a cap of one") };
        assert_eq!((is_running, refused.reason()), (true, Reason::QueueFull));
        assert!(matches!(low.await, Err(TaskError::Evicted)));
    })
    .await
    .unwrap();
    ends_exactly(&pool).await;
}
