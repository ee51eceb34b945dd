//! Who waits may bring a waker of any making: one that comes back into the very room it waits in,
//! at every clone, wake-up and drop. Nothing of it runs under a lock, so nothing locks up.

#![allow(unsafe_code, reason = "only a raw waker can run code in its clone")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};
use std::thread;
use std::time::Duration;

use headworks::pipeline::{PhaseConfig, PhaseContext, PipelineConfig, phase_fn};
use headworks::rate_limit::{Quota, TieredQuota};
use headworks::semaphore::SemaphoreConfig;
use headworks::worker_pool::{Concurrency, WorkerPoolConfig};
use headworks::{
    Intent, IntentPipeline, Priority, PrioritySemaphore, RateLimiter, TieredRateLimiter, WorkerPool,
};

type Visit = Arc<dyn Fn() + Send + Sync>;

/// A waker that visits at every clone, wake-up and drop.
fn visiting(visit: Visit) -> Waker {
    const VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_visit);

    fn raw(visit: Visit) -> RawWaker {
        RawWaker::new(Box::into_raw(Box::new(visit)).cast(), &VTABLE)
    }
    // SAFETY, here and below: `data` is the box that `raw` leaked, alive until `wake` or
    // `drop_visit` takes it back, which the contract of a waker lets happen once.
    fn clone(data: *const ()) -> RawWaker {
        let visit = unsafe { &*data.cast::<Visit>() };
        visit();
        raw(Arc::clone(visit))
    }
    fn wake(data: *const ()) {
        drop_visit(data);
    }
    fn wake_by_ref(data: *const ()) {
        (unsafe { &*data.cast::<Visit>() })();
    }
    fn drop_visit(data: *const ()) {
        let visit = unsafe { Box::from_raw(data.cast::<Visit>().cast_mut()) };
        visit();
    }
    // SAFETY: the functions keep the contract; a visit is `Send` and `Sync`.
    unsafe { Waker::from_raw(raw(visit)) }
}

/// Two wait in the room by `wait`, each polled twice; the first is dropped waiting; then `free`
/// lets the second in.
fn comes_back<F: Future>(visit: Visit, wait: impl Fn() -> F, free: impl FnOnce()) {
    let waker = visiting(visit);
    let cx = &mut Context::from_waker(&waker);
    let mut second = pin!(wait());
    {
        let mut first = pin!(wait());
        for _ in 0..2 {
            assert!(first.as_mut().poll(cx).is_pending());
            assert!(second.as_mut().poll(cx).is_pending());
        }
    }
    assert!(second.as_mut().poll(cx).is_pending());
    free();
    assert!(second.as_mut().poll(cx).is_ready());
}

/// Fails, rather than hangs, when `test` locks up.
fn in_time(test: impl AsyncFnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_secs(30)).expect("it locked up, or failed");
}

#[test]
fn a_waker_may_come_back_into_a_semaphore() {
    in_time(async || {
        let semaphore = Arc::new(PrioritySemaphore::new(1, SemaphoreConfig::default()).unwrap());
        let permit = semaphore.try_acquire().unwrap();
        let visit: Visit = Arc::new({
            let semaphore = Arc::clone(&semaphore);
            move || _ = semaphore.snapshot()
        });
        comes_back(visit, || semaphore.acquire(Priority::High), || drop(permit));
    });
}

#[test]
fn a_waker_may_come_back_into_a_limiter() {
    in_time(async || {
        let quota = Quota::new(1, Duration::from_secs(86_400));
        let limiter = Arc::new(RateLimiter::new(quota).unwrap());
        limiter.try_acquire(1).unwrap();
        let visit: Visit = Arc::new({
            let limiter = Arc::clone(&limiter);
            move || _ = limiter.snapshot()
        });
        comes_back(visit, || limiter.acquire(1, Priority::High), || limiter.refund(1));
    });
}

#[test]
fn a_waker_may_come_back_into_both_rooms_of_a_tiered_limiter() {
    let day = Quota::new(1, Duration::from_secs(86_400));
    let second = Quota::per_second(1_000_000);
    for (global, per_key) in [(day, second), (second, day)] {
        in_time(async move || {
            let quota = TieredQuota::default().with_global(global).with_per_key(per_key);
            let limiter = Arc::new(TieredRateLimiter::<String>::new(quota).unwrap());
            limiter.try_acquire("a", 1).unwrap();
            let visit: Visit = Arc::new({
                let limiter = Arc::clone(&limiter);
                move || _ = limiter.snapshot()
            });
            comes_back(
                visit,
                || limiter.acquire("a", 1, Priority::High),
                || limiter.refund("a", 1),
            );
        });
    }
}

#[test]
fn a_waker_may_come_back_into_the_room_of_a_pool() {
    in_time(async || {
        let config = WorkerPoolConfig::default()
            .with_queue_capacity(2)
            .with_concurrency(Concurrency::Fixed(1));
        let pool = WorkerPool::new(config).unwrap();
        let _other = pool.try_submit(std::future::pending::<()>()).unwrap();
        let queued = pool.try_submit(std::future::pending::<()>()).unwrap();
        let visit: Visit = Arc::new({
            let pool = pool.clone();
            move || _ = pool.snapshot()
        });
        comes_back(visit, || pool.submit(async {}), || queued.cancel());
    });
}

#[test]
fn a_waker_may_come_back_into_the_room_of_a_pipeline() {
    in_time(async || {
        let wait = phase_fn(|_: &(), _: &PhaseContext| std::future::pending::<Result<(), _>>());
        let pipeline =
            IntentPipeline::builder::<()>(PipelineConfig::default().with_queue_capacity(2))
                .phase("wait", PhaseConfig::remote(), wait)
                .build()
                .unwrap();
        let _other = pipeline.try_submit(Intent::new("other", ())).unwrap();
        let queued = pipeline.try_submit(Intent::new("a", ())).unwrap();
        let visit: Visit = Arc::new({
            let pipeline = pipeline.clone();
            move || _ = pipeline.snapshot()
        });
        comes_back(visit, || pipeline.submit(Intent::new("b", ())), || queued.cancel());
    });
}
