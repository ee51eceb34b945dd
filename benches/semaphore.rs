//! `PrioritySemaphore` beside tokio's `Semaphore`, which has no classes, no bound on its line and
//! no eviction. Ids: `semaphore/<operation>/<condition>/<n>`; the peer's conditions end in
//! `_tokio`.

use std::collections::VecDeque;
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use headworks::semaphore::{PrioritySemaphore, SemaphoreConfig};
use headworks::{Priority, Thresholds};

/// A future that is ready at once, or is left waiting.
fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn ready<F: Future>(future: F) -> F::Output {
    match poll(std::pin::pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("permits are free"),
    }
}

fn ours(permits: usize) -> PrioritySemaphore {
    let config = SemaphoreConfig::default()
        .with_queue_capacity(1 << 20)
        .with_thresholds(Thresholds::flat(1.0));
    PrioritySemaphore::new(permits, config).expect("the configuration is possible")
}

fn uncontended(c: &mut Criterion) {
    let mut group = c.benchmark_group("semaphore/acquire_release");
    let (own, peer) = (ours(64), tokio::sync::Semaphore::new(64));
    group.bench_function(BenchmarkId::new("uncontended", 1), |b| {
        b.iter(|| drop(black_box(ready(own.acquire(Priority::Normal)))));
    });
    group.bench_function(BenchmarkId::new("uncontended_tokio", 1), |b| {
        b.iter(|| drop(black_box(ready(peer.acquire()))));
    });
    group.bench_function(BenchmarkId::new("uncontended_try", 1), |b| {
        b.iter(|| drop(black_box(own.try_acquire())));
    });
    group.bench_function(BenchmarkId::new("uncontended_try_tokio", 1), |b| {
        b.iter(|| drop(black_box(peer.try_acquire())));
    });
}

/// The time two threads take for `each` rounds each.
#[allow(clippy::disallowed_methods, reason = "a bench measures by the clock")]
fn two_threads(each: u64, round: impl Fn() + Sync) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..each).for_each(|_| round()));
        }
    });
    start.elapsed()
}

/// Enough permits for all, one word for all.
fn shared(c: &mut Criterion) {
    let mut group = c.benchmark_group("semaphore/acquire_release");
    let (own, peer) = (ours(64), tokio::sync::Semaphore::new(64));
    group.bench_function(BenchmarkId::new("shared", 2), |b| {
        b.iter_custom(|n| two_threads(n, || drop(ready(own.acquire(Priority::Normal)))));
    });
    group.bench_function(BenchmarkId::new("shared_tokio", 2), |b| {
        b.iter_custom(|n| two_threads(n, || drop(ready(peer.acquire()))));
    });
}

/// A line of 1,000: a release grants its head, which comes back as its last.
fn with_waiters(c: &mut Criterion) {
    const WAITERS: usize = 1000;
    let mut group = c.benchmark_group("semaphore/acquire_release");
    let (own, peer) = (ours(1), tokio::sync::Semaphore::new(1));
    group.bench_function(BenchmarkId::new("waiters", WAITERS), |b| {
        let class = |i: usize| Priority::ALL[i % 4];
        // By class, so that whoever is granted is at the front of its own.
        let mut lines: [VecDeque<_>; 4] = Default::default();
        let mut permit = ready(own.acquire(Priority::Low)).ok();
        for i in 0..WAITERS {
            let mut waiter = Box::pin(own.acquire(class(i)));
            assert!(poll(waiter.as_mut()).is_pending());
            lines[i % 4].push_back(waiter);
        }
        b.iter(|| {
            drop(permit.take());
            let served =
                lines.iter_mut().enumerate().rev().find_map(|(line, waiters)| {
                    match poll(waiters.front_mut()?.as_mut()) {
                        Poll::Ready(granted) => Some((line, granted)),
                        Poll::Pending => None,
                    }
                });
            let (line, granted) = served.expect("somebody is granted");
            permit = granted.ok();
            lines[line].pop_front();
            let mut waiter = Box::pin(own.acquire(class(line)));
            assert!(poll(waiter.as_mut()).is_pending());
            lines[line].push_back(waiter);
        });
    });
    group.bench_function(BenchmarkId::new("waiters_tokio", WAITERS), |b| {
        let mut line = VecDeque::new();
        let mut permit = ready(peer.acquire()).ok();
        for _ in 0..WAITERS {
            let mut waiter = Box::pin(peer.acquire());
            assert!(poll(waiter.as_mut()).is_pending());
            line.push_back(waiter);
        }
        b.iter(|| {
            drop(permit.take());
            let mut head = line.pop_front().expect("the line is never empty");
            let Poll::Ready(granted) = poll(head.as_mut()) else {
                unreachable!("its turn has come")
            };
            permit = granted.ok();
            drop(head);
            let mut waiter = Box::pin(peer.acquire());
            assert!(poll(waiter.as_mut()).is_pending());
            line.push_back(waiter);
        });
    });
}

/// What an offer costs that finds the line full.
fn refused(c: &mut Criterion) {
    let mut group = c.benchmark_group("semaphore/refuse");
    let config = SemaphoreConfig::default().with_queue_capacity(1);
    let own = PrioritySemaphore::new(1, config).expect("the configuration is possible");
    let _permit = own.try_acquire();
    let mut waiter = Box::pin(own.acquire(Priority::Urgent));
    assert!(poll(waiter.as_mut()).is_pending());
    group.bench_function(BenchmarkId::new("full", 1), |b| {
        b.iter(|| black_box(ready(own.acquire(Priority::Urgent)).is_err()));
    });
}

criterion_group!(benches, uncontended, shared, with_waiters, refused);
criterion_main!(benches);
