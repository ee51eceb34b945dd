//! Shutdown: everything has an ending, and nothing is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use headworks::worker_pool::{Task, Timing};
use headworks::{Ending, Ledger, Priority, TaskError, WorkerPool};

use super::{Gate, LONG, busy, ends_exactly, pool};

#[tokio::test]
async fn shutdown_with_200_queued_gives_every_one_an_ending() {
    let pool = pool(4, 300);
    let (_gate, running) = busy(&pool, 4).await;
    let queued: Vec<_> = (0..200).map(|_| pool.try_submit(async {}).unwrap()).collect();
    let report = pool.shutdown(Duration::ZERO).await;
    assert_eq!(report.unresponsive, []);
    for handle in running {
        assert!(matches!(handle.await, Err(TaskError::Cancelled)));
    }
    for handle in queued {
        assert!(matches!(handle.await, Err(TaskError::Returned)));
    }
    let Ledger { accepted, cancelled, returned, live, .. } = report.ledger;
    assert_eq!((accepted, cancelled, returned, live), (204, 4, 200, 0));
}

#[tokio::test]
async fn shutdown_lets_what_was_accepted_finish() {
    let pool = pool(4, 300);
    let (gate, _running) = busy(&pool, 4).await;
    let queued: Vec<_> = (0..200).map(|n| pool.try_submit(async move { n }).unwrap()).collect();
    let (report, ()) = tokio::join!(pool.shutdown(LONG), async { gate.open(4) });
    assert_eq!((report.ledger.completed, report.ledger.live), (204, 0));
    for (n, handle) in queued.into_iter().enumerate() {
        assert_eq!(handle.await.unwrap(), n);
    }
}

#[tokio::test]
async fn shutdown_many_times_and_at_once_is_harmless() {
    let pool = pool(2, 10);
    let (_gate, _held) = busy(&pool, 2).await;
    let (a, b, c) =
        tokio::join!(pool.shutdown(LONG), pool.shutdown(Duration::ZERO), pool.shutdown(LONG));
    assert!(a == b && b == c);
    assert_eq!((a.ledger.cancelled, a.ledger.live), (2, 0));
    assert_eq!(pool.shutdown(LONG).await, a);
}

#[tokio::test]
async fn a_pool_that_did_nothing_shuts_down() {
    let report = ends_exactly(&pool(4, 10)).await;
    assert_eq!(report.ledger, Ledger::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_never_yields_is_listed_and_not_waited_for() {
    let pool = pool(1, 10);
    let (started, release) = (Gate::new(), Arc::new(AtomicBool::new(false)));
    let stubborn = {
        let (started, release) = (started.clone(), Arc::clone(&release));
        async move {
            started.open(1);
            while !release.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
        }
    };
    let handle = pool.try_submit(stubborn).unwrap();
    started.pass().await;
    let report = pool.shutdown(Duration::ZERO).await;
    assert_eq!(report.unresponsive, [handle.id()]);
    assert_eq!(report.ledger.live, 1);
    assert!(report.ledger.is_exact());
    release.store(true, Ordering::SeqCst);
    // It came to its end before it came to an await point.
    handle.await.unwrap();
    assert_eq!(ends_exactly(&pool).await.ledger.completed, 1);
}

#[tokio::test]
async fn a_task_may_shut_its_own_pool_down() {
    let pool = pool(1, 10);
    let own = pool.clone();
    let task = async move { own.shutdown(Duration::ZERO).await.ledger.live };
    let handle = pool.try_submit(task).unwrap();
    assert!(matches!(handle.await, Err(TaskError::Cancelled)));
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn a_hundred_pools_leave_no_task_alive() {
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    for round in 0..100 {
        let pool = pool(5, 50);
        let handles: Vec<_> = (0..20).map(|_| pool.try_submit(async {}).unwrap()).collect();
        if round % 2 == 0 {
            assert_eq!(ends_exactly(&pool).await.ledger.completed, 20);
        } else {
            drop(pool);
        }
        for handle in handles {
            // Cancelled or completed: it has an ending.
            assert!(matches!(handle.await, Ok(()) | Err(TaskError::Cancelled)));
        }
    }
    while alive() > before {
        tokio::task::yield_now().await;
    }
}

/// What each submitter saw of its handles.
#[derive(Default)]
struct Seen([AtomicU64; 7]);

impl Seen {
    fn note(&self, ending: Ending) {
        self.0[ending as usize].fetch_add(1, Ordering::SeqCst);
    }

    fn count(&self, ending: Ending) -> u64 {
        self.0[ending as usize].load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn the_ledger_equals_what_eight_threads_of_submitters_saw() {
    // Timed or not, what can goes beside the lock: so each is booked there in its own way.
    for timing in [Timing::Off, Timing::Sampled(8), Timing::All] {
        let config = super::config(6, 64).with_timing(timing);
        see_all(WorkerPool::new(config).unwrap()).await;
    }
}

async fn see_all(pool: WorkerPool) {
    let seen = Arc::new(Seen::default());
    let accepted = Arc::new(AtomicU64::new(0));
    let submitters: Vec<_> = (0..8_u64)
        .map(|n| {
            let (pool, seen, accepted) = (pool.clone(), Arc::clone(&seen), Arc::clone(&accepted));
            tokio::spawn(async move { fire(pool, n, &seen, &accepted).await })
        })
        .collect();
    while accepted.load(Ordering::SeqCst) < 4_000 {
        tokio::task::yield_now().await;
        let ledger = pool.snapshot().ledger;
        assert!(ledger.is_exact(), "{ledger}");
    }
    let report = pool.shutdown(Duration::ZERO).await;
    for submitter in submitters {
        submitter.await.unwrap();
    }
    let ledger = pool.shutdown(LONG).await.ledger;
    assert!(report.ledger.is_exact() && ledger.is_exact(), "{ledger}");
    assert_eq!(ledger.live, 0);
    assert_eq!(ledger.accepted, accepted.load(Ordering::SeqCst));
    for ending in Ending::ALL {
        assert_eq!(ledger.count(ending), seen.count(ending), "{ending}: {ledger}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_of_run_whose_time_is_up_are_counted_as_refused_once() {
    let pool = pool(1, 5_000);
    let (_gate, _running) = busy(&pool, 1).await;
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..1_000_u64 {
        let pool = pool.clone();
        let within = Duration::from_micros(900 + n % 200);
        callers.spawn(async move { pool.run(Task::new(async {}).within(within)).await.is_err() });
    }
    // Whatever happens in the pool, the expired leave: it races with their own timers.
    let mut refused = 0;
    while let Some(is_refused) = tokio::select! {
        biased;
        ended = callers.join_next() => ended,
        () = tokio::task::yield_now() => Some(Ok(false)),
    } {
        refused += u64::from(is_refused.unwrap());
        pool.try_submit(async {}).unwrap().cancel();
    }
    assert_eq!((refused, pool.snapshot().refused.total()), (1_000, 1_000));
}

/// Submits by every way there is until the pool is closed, and notes every ending.
async fn fire(pool: headworks::WorkerPool, seed: u64, seen: &Arc<Seen>, accepted: &AtomicU64) {
    let mut chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    loop {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        let mut batch = Vec::new();
        for n in 0..(chance >> 20) % 8 {
            let what = chance >> (n * 5);
            let task = async move {
                match what % 8 {
                    0 => panic!("one in eight"),
                    1..4 => tokio::task::yield_now().await,
                    _ => {}
                }
            };
            let task = Task::new(task)
                .priority(Priority::ALL[(what >> 3) as usize % 4])
                .tenant(&((what >> 5) % 3));
            let handle = if what.is_multiple_of(2) {
                pool.try_submit(task)
            } else {
                pool.submit(task).await
            };
            if let Ok(handle) = handle {
                accepted.fetch_add(1, Ordering::SeqCst);
                batch.push(handle);
            }
        }
        if let Ok(()) = pool.run(tokio::task::yield_now()).await {
            accepted.fetch_add(1, Ordering::SeqCst);
            seen.note(Ending::Completed);
        }
        for handle in batch {
            if chance.is_multiple_of(5) {
                handle.cancel();
            }
            seen.note(handle.await.map_or_else(|error| error.ending(), |()| Ending::Completed));
        }
        match pool.try_submit(async {}) {
            Ok(handle) => {
                accepted.fetch_add(1, Ordering::SeqCst);
                seen.note(handle.await.map_or_else(|error| error.ending(), |()| Ending::Completed));
            }
            Err(no) if no.reason() == headworks::Reason::Closed => return,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}
