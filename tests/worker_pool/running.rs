//! Tasks run, all of them, and their results come back.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headworks::worker_pool::{Adaptive, Autoscale, Concurrency, WorkerPoolConfig};
use headworks::{ConfigError, Reason, TaskError, WorkerPool};
use tokio::sync::Barrier;

use super::{busy, config, ends_exactly, pool};

#[tokio::test]
async fn a_burst_of_500_completes_500() {
    let pool = pool(10, 2_000);
    let handles: Vec<_> = (0..500).map(|n| pool.try_submit(async move { n }).unwrap()).collect();
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.await.unwrap(), n);
    }
    assert_eq!(ends_exactly(&pool).await.ledger.completed, 500);
}

#[tokio::test]
async fn a_slow_reader_loses_no_result() {
    let pool = pool(4, 2_000);
    let handles: Vec<_> = (0..300).map(|n| pool.try_submit(async move { n }).unwrap()).collect();
    // Everything has ended, and the pool is gone, before the first result is read.
    ends_exactly(&pool).await;
    drop(pool);
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.await.unwrap(), n);
    }
}

#[tokio::test]
async fn after_going_idle_workers_still_run_new_tasks() {
    let pool = pool(3, 100);
    for round in 0..50 {
        let handles: Vec<_> = (0..7).map(|_| pool.try_submit(async {}).unwrap()).collect();
        for handle in handles {
            handle.await.unwrap();
        }
        // Everybody rests now.
        tokio::task::yield_now().await;
        assert_eq!(pool.snapshot().ledger.completed, (round + 1) * 7);
    }
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn every_seat_is_used() {
    let pool = pool(8, 100);
    // Ends only when all eight run at once.
    let barrier = Arc::new(Barrier::new(8));
    let tasks = (0..8).map(|_| {
        let barrier = Arc::clone(&barrier);
        pool.try_submit(async move { barrier.wait().await.is_leader() }).unwrap()
    });
    let mut leaders = 0;
    for handle in tasks.collect::<Vec<_>>() {
        leaders += usize::from(handle.await.unwrap());
    }
    assert_eq!(leaders, 1);
    ends_exactly(&pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_that_keep_their_thread_run_beside_each_other() {
    for _ in 0..5 {
        let pool = pool(8, 100);
        // From a thread of the runtime, where what is woken waits for that thread.
        let submitter = pool.clone();
        let all_met = tokio::spawn(async move {
            let met = Arc::new(AtomicUsize::new(0));
            let tasks = (0..3).map(|_| {
                let met = Arc::clone(&met);
                let task = async move { meet(&met, 3) };
                submitter.try_submit(task).unwrap()
            });
            let tasks: Vec<_> = tasks.collect();
            let mut all_met = true;
            for task in tasks {
                all_met &= task.await.unwrap();
            }
            all_met
        });
        assert!(all_met.await.unwrap());
        ends_exactly(&pool).await;
    }
}

/// Whether so many come here while this one keeps its thread.
fn meet(met: &AtomicUsize, others: usize) -> bool {
    met.fetch_add(1, Ordering::SeqCst);
    let since = std::time::Instant::now();
    while met.load(Ordering::SeqCst) < others {
        if since.elapsed() > Duration::from_secs(5) {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[tokio::test]
async fn no_more_run_at_once_than_there_are_seats() {
    let pool = pool(3, 1_000);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handles: Vec<_> = (0..100)
        .map(|_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            let task = async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
            };
            pool.try_submit(task).unwrap()
        })
        .collect();
    for handle in handles {
        handle.await.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn who_has_the_result_finds_it_in_the_ledger() {
    let pool = pool(2, 100);
    for n in 1..=100 {
        pool.try_submit(async {}).unwrap().await.unwrap();
        let ledger = pool.snapshot().ledger;
        assert_eq!((ledger.accepted, ledger.completed, ledger.live), (n, n, 0));
    }
}

#[tokio::test]
async fn a_panic_reaches_the_caller_and_the_worker_lives_on() {
    let pool = pool(1, 100);
    for _ in 0..3 {
        let error = pool.try_submit(async { panic!("as asked") }).unwrap().await.unwrap_err();
        assert_eq!(error.to_string(), "the task panicked: as asked");
        let TaskError::Panicked(panic) = error else { panic!("not a panic") };
        assert_eq!(panic.message(), Some("as asked"));
        assert_eq!(panic.into_payload().downcast_ref(), Some(&"as asked"));
        assert_eq!(pool.try_submit(async { 5 }).unwrap().await.unwrap(), 5);
    }
    let ledger = ends_exactly(&pool).await.ledger;
    assert_eq!((ledger.failed, ledger.completed), (3, 3));
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        resume_unwind(Box::new(Again));
    }
}

/// A payload that panics as well.
struct Again;

impl Drop for Again {
    fn drop(&mut self) {
        resume_unwind(Box::new("again"));
    }
}

#[tokio::test]
async fn panics_in_drop_leave_counts_and_workers_exact() {
    let pool = pool(2, 100);
    let after_the_end = async {
        let _bomb = PanicsWhenDropped;
        std::future::ready(()).await;
    };
    // A bomb in the frame goes off inside the last poll: a panic of the task's.
    let panic = pool.try_submit(after_the_end).unwrap().await;
    assert!(matches!(panic, Err(TaskError::Panicked(_))));
    // It holds a payload that panics, and whoever reads it has it.
    std::mem::forget(panic);
    // A bomb beside the frame goes off when the future is dropped: the result stands.
    let bomb = PanicsWhenDropped;
    let beside = std::future::poll_fn(move |_| {
        let _ = &bomb;
        std::task::Poll::Ready(7)
    });
    assert_eq!(pool.try_submit(beside).unwrap().await.unwrap(), 7);
    // An unread result.
    drop(pool.try_submit(async { PanicsWhenDropped }).unwrap());
    // A payload nobody reads.
    drop(pool.try_submit(async { resume_unwind(Box::new(Again)) }).unwrap());
    // A task that never starts.
    let (gate, held) = busy(&pool, 2).await;
    let bomb = PanicsWhenDropped;
    let never = pool.try_submit(async move { drop(bomb) }).unwrap();
    never.cancel();
    assert!(matches!(never.await, Err(TaskError::Cancelled)));
    gate.open(2);
    for handle in held {
        handle.await.unwrap();
    }
    let ledger = ends_exactly(&pool).await.ledger;
    assert_eq!((ledger.completed, ledger.failed, ledger.cancelled), (4, 2, 1));
}

#[tokio::test]
async fn always_ready_tasks_let_others_on_the_thread_run() {
    let pool = pool(1, 20_000);
    let handles: Vec<_> = (0..10_000).map(|_| pool.try_submit(async {}).unwrap()).collect();
    let mut turns = 0;
    while pool.snapshot().ledger.live > 0 {
        turns += 1;
        tokio::task::yield_now().await;
    }
    assert!(turns > 10, "{turns} turns beside 10,000 tasks");
    drop(handles);
    ends_exactly(&pool).await;
}

#[test]
fn without_a_runtime_it_says_so() {
    assert_eq!(WorkerPool::new(WorkerPoolConfig::default()).unwrap_err(), ConfigError::NoRuntime);
}

#[tokio::test]
async fn an_impossible_configuration_names_its_field() {
    let cases = [
        (config(0, 10), "worker_pool.concurrency"),
        (config(1, 0), "worker_pool.queue_capacity"),
        (config(1, 10).with_starvation_bound(0), "worker_pool.starvation_bound"),
        (config(1, 10).with_task_timeout(Some(Duration::ZERO)), "worker_pool.task_timeout"),
        (
            config(1, 10).with_thresholds(headworks::worker_pool::Thresholds::flat(1.5)),
            "worker_pool.thresholds",
        ),
        (config(1, 10).with_concurrency(Concurrency::Fixed(1 << 20)), "worker_pool.concurrency"),
        (
            config(1, 10).with_concurrency(Autoscale::between(3, 2)),
            "worker_pool.concurrency.autoscale",
        ),
        (
            config(1, 10).with_concurrency(Autoscale::between(1, 2).with_cool_down(Duration::ZERO)),
            "worker_pool.concurrency.autoscale.cool_down",
        ),
        (
            config(1, 10).with_concurrency(Adaptive::between(0, 2)),
            "worker_pool.concurrency.adaptive",
        ),
        (
            config(1, 10).with_concurrency(Adaptive::between(1, 65_537)),
            "worker_pool.concurrency.adaptive",
        ),
    ];
    for (config, name) in cases {
        match WorkerPool::new(config) {
            Err(ConfigError::Invalid { field, .. }) => assert_eq!(field, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn several_pools_are_told_apart_by_name() {
    let [a, b] = ["a", "b"].map(|name| WorkerPool::new(config(1, 10).with_name(name)).unwrap());
    a.try_submit(async {}).unwrap().await.unwrap();
    assert_eq!((&*a.snapshot().name, a.snapshot().ledger.completed), ("a", 1));
    assert_eq!((&*b.snapshot().name, b.snapshot().ledger.completed), ("b", 0));
}

#[tokio::test]
async fn run_borrows_and_runs_in_the_caller() {
    let pool = pool(1, 10);
    let text = String::from("borrowed");
    assert_eq!(pool.run(async { text.len() }).await.unwrap(), 8);
    assert_eq!(ends_exactly(&pool).await.ledger.completed, 1);
}

#[tokio::test]
async fn run_waits_for_its_turn() {
    let pool = pool(1, 10);
    let (gate, held) = busy(&pool, 1).await;
    let mut waiting = std::pin::pin!(pool.run(async { 3 }));
    assert!(super::poll_once(waiting.as_mut()).is_pending());
    assert_eq!((pool.snapshot().queued(), pool.snapshot().ledger.live), (1, 1));
    gate.open(1);
    assert_eq!(waiting.await.unwrap(), 3);
    drop(held);
    assert_eq!(ends_exactly(&pool).await.ledger.completed, 2);
}

#[tokio::test]
async fn a_panic_in_run_unwinds_through_the_caller_with_the_seat_given_back() {
    let pool = pool(1, 10);
    let other = pool.clone();
    let caller = tokio::spawn(async move { other.run(async { panic!("mine") }).await.map(drop) });
    assert!(caller.await.unwrap_err().is_panic());
    assert_eq!((pool.snapshot().busy, pool.snapshot().ledger.failed), (0, 1));
    assert_eq!(pool.run(async { 1 }).await.unwrap(), 1);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn run_is_refused_when_the_pool_is_closed() {
    let pool = pool(1, 10);
    pool.close();
    assert_eq!(pool.run(async {}).await.unwrap_err().reason(), Reason::Closed);
    assert_eq!(pool.snapshot().refused.closed, 1);
}
