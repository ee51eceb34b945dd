//! Nothing of a pool is left when it has ended.

use std::sync::Arc;
use std::time::Duration;

use headworks::worker_pool::{Completions, Task};
use headworks::{Priority, TaskError, WorkerPool};
use tokio::runtime::Handle;

use super::{Gate, LONG, config, pool};

/// Waits until no task is alive on this runtime. What has told its pool that it ends needs a
/// moment to do so.
async fn nothing_alive() {
    let metrics = Handle::current().metrics();
    let ended = async {
        while metrics.num_alive_tasks() > 0 {
            std::thread::yield_now();
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::time::timeout(LONG, ended).await;
    assert!(ended.is_ok(), "{} tasks are alive", metrics.num_alive_tasks());
}

/// A pool used in every way; everything that it is given holds `token`.
async fn use_all(pool: &WorkerPool, token: &Arc<()>) {
    let holding = || {
        let token = Arc::clone(token);
        async move {
            tokio::task::yield_now().await;
            drop(token);
        }
    };
    let mut completions: Completions<_, _> =
        (0..8).map(|n| (n, pool.try_submit(holding()).unwrap())).collect();
    let timed = Task::new(holding()).timeout(LONG).priority(Priority::High);
    let told = Arc::clone(token);
    let timed = timed.on_end(move |_| drop(told));
    completions.push(8, pool.try_submit(timed).unwrap());
    let thread = Arc::clone(token);
    completions.push(9, pool.try_submit_blocking(move || drop(thread)).unwrap());
    pool.run(holding()).await.unwrap();
    pool.submit(holding()).await.unwrap().await.unwrap();
    while let Some((_, result)) = completions.next().await {
        result.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_pools_leave_no_task_and_nothing_of_a_users_behind() {
    let token = Arc::new(());
    for cycle in 0..100_u32 {
        let pool = pool(4, 64);
        let pressure = pool.pressure();
        use_all(&pool, &token).await;
        let hangs = (cycle % 2 == 0).then(|| {
            let token = Arc::clone(&token);
            let hangs = async move {
                let _token = token;
                tokio::time::sleep(LONG).await;
            };
            pool.try_submit(hangs).unwrap()
        });
        let within = if hangs.is_some() { Duration::ZERO } else { LONG };
        let report = pool.shutdown(within).await;
        assert!(report.ledger.is_exact() && report.ledger.live == 0, "{}", report.ledger);
        nothing_alive().await;
        drop((pressure, hangs));
        assert_eq!(Arc::strong_count(&token), 1, "cycle {cycle}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_that_are_only_dropped_cancel_what_they_have_and_leave_nothing() {
    let token = Arc::new(());
    for _ in 0..100 {
        let pool = WorkerPool::new(config(2, 64)).unwrap();
        use_all(&pool, &token).await;
        let gate = Gate::new();
        let hang = || {
            let (pass, token) = (gate.pass(), Arc::clone(&token));
            pool.try_submit(async move {
                pass.await;
                drop(token);
            })
        };
        let handles: Vec<_> = (0..5).map(|_| hang().unwrap()).collect();
        gate.reached_by(2).await;
        drop(pool);
        for handle in handles {
            assert!(matches!(handle.await, Err(TaskError::Cancelled)));
        }
        nothing_alive().await;
        assert_eq!(Arc::strong_count(&token), 1);
    }
}
