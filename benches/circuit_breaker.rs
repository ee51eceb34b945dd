//! What a guarded call costs beside the call, with the crate's own clock.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a benchmark may stop on a wrong configuration")]

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use headworks::circuit_breaker::{CircuitBreaker, CircuitBreakerConfig, Window};

/// Time per operation of each of `threads` threads that do it together.
#[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn together(threads: u32, times: u64, operation: impl Fn() + Sync) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..times).for_each(|_| operation()));
        }
    });
    start.elapsed()
}

fn closed(c: &mut Criterion) {
    let mut group = c.benchmark_group("circuit_breaker/success");
    let config = CircuitBreakerConfig::default;
    let hundred = NonZeroU32::new(100).unwrap();
    let consecutive = config().with_window(Window::Off).with_consecutive_failures(Some(hundred));
    for (name, config) in [
        ("closed_time_window", config()),
        ("closed_count_window", config().with_window(Window::Calls(hundred))),
        ("closed_consecutive", consecutive),
    ] {
        let breaker = CircuitBreaker::new(config).unwrap();
        for threads in [1, 2] {
            group.bench_function(BenchmarkId::new(name, threads), |b| {
                b.iter_custom(|times| {
                    together(threads, times, || {
                        if let Ok(permit) = breaker.try_acquire() {
                            permit.success();
                        }
                    })
                });
            });
        }
    }
    group.finish();
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("circuit_breaker/try_acquire");
    let breaker = CircuitBreaker::new(CircuitBreakerConfig::default()).unwrap();
    for _ in 0..10 {
        breaker.try_acquire().unwrap().failure();
    }
    group.bench_function(BenchmarkId::new("open", 1), |b| {
        b.iter(|| breaker.try_acquire().is_err());
    });
    group.finish();
}

criterion_group!(benches, closed, open);
criterion_main!(benches);
