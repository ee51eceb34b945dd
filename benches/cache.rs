//! What a hit, a miss and a write cost, with the crate's own clock.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a benchmark may stop on a wrong configuration")]

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use headworks::cache::{Cache, CacheConfig};

const KEYS: u64 = 10_000;

fn filled(config: CacheConfig) -> Cache<u64, u64> {
    let cache = Cache::new(config.with_capacity(2 * KEYS)).unwrap();
    cache.set_many((0..KEYS).map(|key| (key, key)));
    cache
}

/// Keys without an order.
fn keys() -> impl FnMut() -> u64 {
    let mut state = 1_u64;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % KEYS
    }
}

fn hits(c: &mut Criterion) {
    let mut group = c.benchmark_group("cache/get");
    let config = CacheConfig::default;
    let idle = Some(Duration::from_secs(600));
    for (name, config) in [
        ("timeless", config().with_ttl(None)),
        ("ttl", config()),
        ("ttl_and_idle", config().with_idle(idle)),
    ] {
        let (cache, mut key) = (filled(config), keys());
        group.bench_function(BenchmarkId::new(name, KEYS), |b| {
            b.iter(|| cache.get(&key()).unwrap());
        });
    }
    group.finish();
}

/// What is ready at its first poll.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("its load is ready"),
    }
}

fn loads(c: &mut Criterion) {
    let mut group = c.benchmark_group("cache/get_or_load");
    let load = |value| move || std::future::ready(Ok::<u64, Infallible>(value));
    let (cache, mut key) = (filled(CacheConfig::default()), keys());
    group.bench_function(BenchmarkId::new("hit", KEYS), |b| {
        b.iter(|| {
            let key = key();
            at_once(cache.get_or_load(&key, load(key))).unwrap()
        });
    });
    let mut next = KEYS;
    group.bench_function(BenchmarkId::new("miss_no_op_load", KEYS), |b| {
        b.iter(|| {
            next += 1;
            at_once(cache.get_or_load(&next, load(next))).unwrap()
        });
    });
    group.finish();
}

fn writes(c: &mut Criterion) {
    let mut group = c.benchmark_group("cache/set");
    let (cache, mut key) = (filled(CacheConfig::default()), keys());
    group.bench_function(BenchmarkId::new("replaced", KEYS), |b| b.iter(|| cache.set(key(), 1)));
    group.finish();
}

criterion_group!(benches, hits, loads, writes);
criterion_main!(benches);
