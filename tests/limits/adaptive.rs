//! Seats by what the backend can do with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use headworks::WorkerPool;
use headworks::worker_pool::{Adaptive, Autoscale, Concurrency, Task};
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::flap::{Chance, seeds};
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

/// Scenario D15, through a pool: a backend with a knee and a pace of this seed's, in which from some
/// instant on every call takes exactly its timeout of 5 s for ten minutes. The limit before, the
/// limit after, and the workers that are left.
async fn drift(concurrency: impl Into<Concurrency>, seed: u64) -> (u32, u32, usize) {
    let mut chance = Chance(seed);
    let knee = 60 + (80.0 * chance.unit()) as u32;
    let before = Handle::current().metrics().num_alive_tasks();
    let (pool, backend) = (pool(concurrency), Backend::new(knee));
    press(&pool, SECOND * 60 + SECOND.mul_f64(20.0 * chance.unit()), || backend.call()).await;
    let found = pool.snapshot().limit;
    let hangs = || std::future::pending::<()>();
    let end = tokio::time::Instant::now() + SECOND * 600;
    while tokio::time::Instant::now() < end {
        while pool.snapshot().queued() < 1_000 {
            drop(pool.try_submit(Task::new(hangs()).timeout(SECOND * 5)).unwrap());
        }
        sleep(SECOND.mul_f64(0.5 + chance.unit())).await;
    }
    let fell_to = pool.snapshot().limit;
    let workers = Handle::current().metrics().num_alive_tasks() - before;
    let ledger = pool.shutdown(Duration::ZERO).await.ledger;
    assert!(ledger.is_exact() && ledger.live == 0, "{ledger}");
    println!("seed {seed}, knee {knee}: {found} -> {fell_to}");
    assert!(f64::from(found) >= 0.8 * f64::from(knee), "seed {seed}: {found} of {knee}");
    (found, fell_to, workers)
}

#[tokio::test(start_paused = true)]
async fn when_every_call_takes_its_timeout_the_limit_falls_to_its_minimum() {
    for seed in seeds(3) {
        let min = 1 + seed as usize % 4;
        let (_, fell_to, workers) = drift(Adaptive::between(min, 1_000), seed).await;
        assert_eq!(fell_to as usize, min, "seed {seed}");
        assert_eq!(workers, min, "seed {seed}: retired with their seats");
    }
}

/// The control: whoever looks only at who waits takes more of what hangs.
#[tokio::test(start_paused = true)]
async fn control_a_limit_by_the_wait_in_the_queue_does_not_fall() {
    for seed in seeds(1) {
        let (found, fell_to, _) = drift(Autoscale::between(2, 1_000), seed).await;
        assert!(fell_to >= found && fell_to > 2, "seed {seed}: {found} -> {fell_to}");
    }
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
