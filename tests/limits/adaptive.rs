//! Seats by what the backend can do with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use headworks::WorkerPool;
use headworks::worker_pool::{Adaptive, Task};
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::{MS, SECOND, ends_exactly, pool, weight};

/// Can do with so many calls at once; of more, each takes longer in proportion.
#[derive(Clone)]
struct Backend {
    knee: u32,
    inside: Arc<AtomicU32>,
}

impl Backend {
    fn new(knee: u32) -> Self {
        Self { knee, inside: Arc::default() }
    }

    fn call(&self) -> impl Future<Output = ()> + Send + use<> {
        let Self { knee, inside } = self.clone();
        async move {
            let load = inside.fetch_add(1, Ordering::Relaxed) + 1;
            sleep(Duration::from_millis(100).mul_f64((load as f64 / knee as f64).max(1.0))).await;
            inside.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Keeps the queue full for so long.
async fn press<F: Future<Output = ()> + Send + 'static>(
    pool: &WorkerPool,
    lasts: Duration,
    call: impl Fn() -> F,
) {
    let end = tokio::time::Instant::now() + lasts;
    while tokio::time::Instant::now() < end {
        while pool.snapshot().queued() < 1_000 {
            drop(pool.try_submit(call()).unwrap());
        }
        sleep(MS * 100).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_finds_the_knee_and_stays() {
    let (pool, backend) = (pool(Adaptive::between(1, 1_000)), Backend::new(40));
    press(&pool, SECOND * 60, || backend.call()).await;
    for _ in 0..60 {
        press(&pool, SECOND, || backend.call()).await;
        let limit = pool.snapshot().limit;
        assert!((36..=52).contains(&limit), "{limit}");
    }
    ends_exactly(&pool).await;
}

/// Scenario D15, through a pool.
#[tokio::test(start_paused = true)]
async fn when_every_call_takes_its_timeout_the_limit_falls_to_its_minimum() {
    let before = Handle::current().metrics().num_alive_tasks();
    let (pool, backend) = (pool(Adaptive::between(2, 1_000)), Backend::new(100));
    press(&pool, SECOND * 60, || backend.call()).await;
    assert!(pool.snapshot().limit >= 80, "{}", pool.snapshot().limit);
    let hangs = || std::future::pending::<()>();
    let end = tokio::time::Instant::now() + SECOND * 600;
    while tokio::time::Instant::now() < end {
        while pool.snapshot().queued() < 1_000 {
            drop(pool.try_submit(Task::new(hangs()).timeout(SECOND * 5)).unwrap());
        }
        sleep(SECOND).await;
    }
    assert_eq!(pool.snapshot().limit, 2);
    let workers = Handle::current().metrics().num_alive_tasks() - before;
    assert_eq!(workers, 2, "retired with their seats");
    pool.shutdown(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_reported_overload_lowers_the_limit() {
    let (pool, backend) = (pool(Adaptive::between(1, 1_000)), Backend::new(50));
    press(&pool, SECOND * 60, || backend.call()).await;
    let before = pool.snapshot().limit;
    press(&pool, SECOND * 5, || {
        let (call, pool) = (backend.call(), pool.clone());
        async move {
            call.await;
            pool.report_overload();
        }
    })
    .await;
    sleep(SECOND * 60).await;
    let after = pool.snapshot().limit;
    assert!(after * 2 <= before, "{before} -> {after}");
    ends_exactly(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_falls_stops_nobody_and_evicts_nobody() {
    let (pool, backend) = (pool(Adaptive::between(1, 64)), Backend::new(64));
    press(&pool, SECOND * 60, || backend.call()).await;
    let heavy = Task::new(sleep(MS)).weight(weight(64));
    let heavy = pool.try_submit(heavy).unwrap();
    for _ in 0..500 {
        let hangs = Task::new(std::future::pending::<()>()).timeout(MS * 200);
        drop(pool.try_submit(hangs));
    }
    heavy.await.unwrap();
    let report = ends_exactly(&pool).await;
    assert_eq!(report.ledger.evicted, 0);
}

#[tokio::test(start_paused = true)]
async fn while_more_run_than_the_limit_nobody_starts() {
    let (pool, backend) = (pool(Adaptive::between(1, 200)), Backend::new(100));
    press(&pool, SECOND * 30, || backend.call()).await;
    let (mut last, mut above) = (pool.snapshot(), 0);
    for round in 0..20_000 {
        while pool.snapshot().queued() < 1_000 {
            let hangs = Task::new(std::future::pending::<()>()).timeout(MS * (50 + round % 100));
            drop(pool.try_submit(hangs).unwrap());
        }
        sleep(MS).await;
        let look = pool.snapshot();
        if look.busy > look.limit {
            above += 1;
            assert!(look.busy <= last.busy.max(look.limit), "{last:?} -> {look:?}");
        }
        last = look;
    }
    assert!(above > 10, "it fell below what ran: {above}");
    assert_eq!(last.limit, 1);
    pool.shutdown(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn reports_do_not_outlive_the_tasks_they_came_from() {
    let pool = pool(Adaptive::between(1, 64));
    let press = async |seconds: u32, reports: u32| {
        for _ in 0..10 * seconds {
            while pool.snapshot().queued() < 500 {
                let own = pool.clone();
                let call = async move {
                    (0..reports).for_each(|_| own.report_overload());
                    sleep(100 * MS).await;
                };
                drop(pool.try_submit(call).unwrap());
            }
            sleep(100 * MS).await;
        }
    };
    press(30, 20).await;
    assert!(pool.snapshot().limit < 8, "{}", pool.snapshot().limit);
    press(120, 0).await;
    assert!(pool.snapshot().limit > 8, "{}", pool.snapshot().limit);
}
