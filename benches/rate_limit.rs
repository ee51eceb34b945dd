//! What a decision costs, with the crate's own clock.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a benchmark may stop on a wrong configuration")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use headworks::rate_limit::{Quota, RateLimiter, TieredQuota, TieredRateLimiter};

/// A quota that no run uses up.
fn plenty() -> Quota {
    Quota::per_second(10_000_000).with_burst(4_000_000_000)
}

fn spent() -> Quota {
    Quota::new(1, Duration::from_secs(86_400))
}

/// Time per operation of each of `threads` threads that do it together.
#[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn together(threads: u32, times: u64, operation: impl Fn(u64) + Sync) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..times).for_each(&operation));
        }
    });
    start.elapsed()
}

fn direct(c: &mut Criterion) {
    let mut group = c.benchmark_group("rate_limit/try_acquire");
    let open = RateLimiter::new(plenty()).unwrap();
    for threads in [1, 2] {
        group.bench_function(BenchmarkId::new("allowed", threads), |b| {
            b.iter_custom(|times| {
                together(threads, times, |_| {
                    let _ = black_box(open.try_acquire(1));
                })
            });
        });
    }
    let closed = RateLimiter::new(spent()).unwrap();
    let _ = closed.try_acquire(1);
    group.bench_function(BenchmarkId::new("refused", 1), |b| b.iter(|| closed.try_acquire(1)));
    group.finish();
}

fn tiered(c: &mut Criterion) {
    let mut group = c.benchmark_group("rate_limit/tiered");
    let quota = TieredQuota::default().with_global(plenty()).with_per_key(plenty());
    for keys in [1_000_u64, 100_000] {
        let limiter = TieredRateLimiter::<u64>::new(quota.clone()).unwrap();
        let mut at = 0_u64;
        group.bench_function(BenchmarkId::new("allowed", keys), |b| {
            b.iter(|| {
                at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                limiter.try_acquire(&((at >> 33) % keys), 1)
            });
        });
    }
    let limiter = TieredRateLimiter::<String>::new(quota.clone()).unwrap();
    group.bench_function(BenchmarkId::new("allowed_str", 1), |b| {
        b.iter(|| limiter.try_acquire(black_box("tenant/name"), 1));
    });
    let limiter = TieredRateLimiter::<u64>::new(quota.with_per_key(spent())).unwrap();
    let _ = limiter.try_acquire(&1, 1);
    group.bench_function(BenchmarkId::new("refused_by_key", 1), |b| {
        b.iter(|| limiter.try_acquire(&1, 1));
    });
    group.finish();
}

criterion_group!(benches, direct, tiered);
criterion_main!(benches);
