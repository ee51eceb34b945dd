//! `ObjectPool` and `BytesPool`. Ids: `object_pool/<operation>/<condition>/<n>`; the peers are in
//! `benches/versus`.

use std::hint::black_box;
use std::sync::Arc;

use bytes::BufMut;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use headworks::{BytesPool, ObjectPool};

fn pages() -> ObjectPool<Box<[u8; 4096]>> {
    ObjectPool::new(|| Box::new([0; 4096]), |_| true)
}

fn objects(c: &mut Criterion) {
    let mut group = c.benchmark_group("object_pool/take_return");
    let pool = Arc::new(pages());
    group.bench_function(BenchmarkId::new("guard", 1), |b| {
        b.iter(|| drop(black_box(pool.take())));
    });
    group.bench_function(BenchmarkId::new("owned", 1), |b| {
        b.iter(|| drop(black_box(pool.take_owned())));
    });
    group.bench_function(BenchmarkId::new("guard", 100), |b| {
        b.iter(|| drop(black_box([(); 100].map(|()| pool.take()))));
    });
    let checked = pages().with_validate(|page| page[0] == 0);
    group.bench_function(BenchmarkId::new("validated", 1), |b| {
        b.iter(|| drop(black_box(checked.take())));
    });
}

fn buffers(c: &mut Criterion) {
    let mut group = c.benchmark_group("object_pool/bytes");
    let pool = BytesPool::new();
    for size in [1_024, 65_536] {
        group.bench_function(BenchmarkId::new("take_return", size), |b| {
            b.iter(|| drop(black_box(pool.take(size))));
        });
        group.bench_function(BenchmarkId::new("freeze", size), |b| {
            b.iter(|| {
                let mut buf = pool.take(size);
                buf.put_u8(1);
                drop(black_box(buf.freeze()));
            });
        });
        group.bench_function(BenchmarkId::new("secret", size), |b| {
            b.iter(|| drop(black_box(pool.take_secret(size))));
        });
    }
}

criterion_group!(benches, objects, buffers);
criterion_main!(benches);
