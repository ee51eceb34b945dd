//! Who waits may bring a waker of any making: one that comes back into the very room it waits in,
//! at every clone, wake-up and drop; a key of any making, and spans of any subscriber. Nothing of theirs runs under a
//! lock, so nothing locks up.

#![allow(unsafe_code, reason = "only a raw waker can run code in its clone")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::{Arc, Weak, mpsc};
use std::task::{Context, RawWaker, RawWakerVTable, Waker};
use std::thread;
use std::time::Duration;

use headworks::pipeline::{PhaseConfig, PhaseContext, PipelineConfig, phase_fn};
use headworks::rate_limit::{Quota, TieredQuota};
use headworks::semaphore::SemaphoreConfig;
use headworks::worker_pool::{Concurrency, Task, WorkerPoolConfig};
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

/// A key whose drop comes back into its limiter.
#[derive(Clone)]
struct Key(u32, Weak<TieredRateLimiter<Key>>);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Drop for Key {
    fn drop(&mut self) {
        if let Some(limiter) = self.1.upgrade() {
            let _ = (limiter.peek(&Key(self.0, Weak::new())), limiter.snapshot());
        }
    }
}

#[test]
fn a_key_may_come_back_in_its_drop() {
    in_time(async || {
        let quota = TieredQuota::default()
            .with_global(Quota::new(22, Duration::from_secs(86_400)))
            .with_per_key(Quota::per_second(1_000_000))
            .with_max_keys(NonZeroUsize::MIN)
            .with_idle_key(Duration::ZERO);
        let limiter = Arc::new(TieredRateLimiter::<Key>::new(quota).unwrap());
        let key = |number| Key(number, Arc::downgrade(&limiter));
        for number in 0..22 {
            // Each is forgotten for the next.
            limiter.try_acquire(&key(number), 1).unwrap();
        }
        let cx = &mut Context::from_waker(Waker::noop());
        let (one, two) = (key(100), key(101));
        assert!(pin!(limiter.acquire(&one, 1, Priority::High)).poll(cx).is_pending());
        let mut waits = pin!(limiter.acquire(&two, 1, Priority::High));
        assert!(waits.as_mut().poll(cx).is_pending());
        limiter.close();
        assert!(waits.await.is_err());
    });
}

/// Visits whenever one of its spans is made, cloned or closed. All spans are one.
struct Visited(Visit, std::sync::OnceLock<&'static tracing::Metadata<'static>>);

impl tracing::Subscriber for Visited {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        self.1.get_or_init(|| span.metadata());
        (self.0)();
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}

    fn clone_span(&self, id: &tracing::span::Id) -> tracing::span::Id {
        (self.0)();
        id.clone()
    }

    fn try_close(&self, _: tracing::span::Id) -> bool {
        (self.0)();
        false
    }

    fn current_span(&self) -> tracing_core::span::Current {
        match self.1.get() {
            Some(metadata) => {
                tracing_core::span::Current::new(tracing::span::Id::from_u64(1), metadata)
            }
            None => tracing_core::span::Current::none(),
        }
    }
}

#[test]
fn a_subscriber_may_come_back_into_a_pipeline() {
    in_time(async || {
        let end = phase_fn(|_: &(), _: &PhaseContext| std::future::ready(Ok(())));
        let config = PipelineConfig::default().with_queue_capacity(2);
        let pipeline = IntentPipeline::builder::<()>(config)
            .phase("end", PhaseConfig::remote(), end)
            .build()
            .unwrap();
        let visits = pipeline.clone();
        let visit: Visit = Arc::new(move || _ = visits.snapshot());
        let _guard = tracing::subscriber::set_default(Visited(visit, std::sync::OnceLock::new()));
        let _span = tracing::info_span!("a caller's").entered();
        let first = pipeline.try_submit(Intent::new("a", ())).unwrap();
        let _second = pipeline.try_submit(Intent::new("b", ())).unwrap();
        assert!(pipeline.try_submit(Intent::new("c", ())).is_err());
        let third = pipeline.submit(Intent::new("d", ()));
        let (third, first) = tokio::join!(third, first);
        first.unwrap();
        third.unwrap().await.unwrap();
    });
}

#[test]
fn a_subscriber_may_come_back_into_a_pool() {
    in_time(async || {
        let config = WorkerPoolConfig::default()
            .with_concurrency(Concurrency::Fixed(1))
            .with_queue_capacity(2);
        let pool = WorkerPool::new(config).unwrap();
        let visits = pool.clone();
        let visit: Visit = Arc::new(move || _ = visits.snapshot());
        let _guard = tracing::subscriber::set_default(Visited(visit, std::sync::OnceLock::new()));
        let _span = tracing::info_span!("a caller's").entered();
        let first = pool.try_submit(std::future::ready(())).unwrap();
        let second = pool.try_submit(std::future::ready(())).unwrap();
        // Twice: the first refusal gives the task back, the second makes none.
        assert!(pool.try_submit(std::future::ready(())).is_err());
        assert!(pool.try_submit(std::future::ready(())).is_err());
        let third = pool.submit(std::future::ready(()));
        let (third, second) = tokio::join!(third, second);
        second.unwrap();
        third.unwrap().await.unwrap();
        first.await.unwrap();
        let urgent = Task::new(std::future::ready(())).priority(Priority::Urgent);
        let [last, lost] = [pool.try_submit(urgent).unwrap(), pool.try_submit(async {}).unwrap()];
        lost.cancel();
        last.await.unwrap();
        pool.shutdown(Duration::ZERO).await;
    });
}
