//! What a retry policy costs an operation that needs no second attempt, and one that is denied it.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a benchmark may stop on a wrong configuration")]

use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Waker};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use headworks::Verdict;
use headworks::retry::{Idempotency, Retry, RetryBudget, RetryBudgetConfig, RetryPolicy};

/// Pays for no retry at all.
fn empty_budget() -> RetryBudget {
    let config = RetryBudgetConfig::default().with_ratio(0.0).with_floor_per_second(0);
    RetryBudget::new(config).unwrap()
}

fn policy(budget: RetryBudget) -> Retry {
    let policy = RetryPolicy::default().with_attempt_timeout(None).with_total_timeout(None);
    Retry::new(policy, budget).unwrap()
}

/// One poll, which is all that these need.
fn once(future: impl Future) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    pin!(future).poll(&mut cx).is_ready()
}

fn run(c: &mut Criterion) {
    let mut group = c.benchmark_group("retry/run");
    let retry = policy(RetryBudget::new(RetryBudgetConfig::default()).unwrap());
    let judge =
        |result: &Result<u32, u32>| result.map_or(Verdict::failure(), |_| Verdict::success());
    group.bench_function(BenchmarkId::new("success", 1), |b| {
        b.iter(|| {
            once(
                retry.run(Idempotency::Idempotent, judge, |attempt| ready(Ok::<u32, u32>(attempt))),
            )
        });
    });
    let denied = policy(empty_budget());
    group.bench_function(BenchmarkId::new("denied", 1), |b| {
        b.iter(|| {
            once(
                denied
                    .run(Idempotency::Idempotent, judge, |attempt| ready(Err::<u32, u32>(attempt))),
            )
        });
    });
    group.finish();
}

fn budget(c: &mut Criterion) {
    let mut group = c.benchmark_group("retry/budget");
    let budget = RetryBudget::new(RetryBudgetConfig::default()).unwrap();
    group.bench_function(BenchmarkId::new("success", 1), |b| b.iter(|| budget.success()));
    let empty = empty_budget();
    group.bench_function(BenchmarkId::new("try_withdraw_denied", 1), |b| {
        b.iter(|| empty.try_withdraw().is_err());
    });
    group.finish();
}

criterion_group!(benches, run, budget);
criterion_main!(benches);
