//! Regressions of the pipeline, on one thread: what it adds to phases that do nothing.
//! Ids: `<room>/<operation>/<condition>/<n>`.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use headworks::IntentPipeline;
use headworks::pipeline::{Intent, PhaseConfig, PipelineConfig, phase_fn};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

const KEYS: usize = 1_024;
const SUBMITTERS: usize = 64;

type Pipeline = IntentPipeline<u64, u64>;

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(future)
}

fn one_phase() -> Pipeline {
    IntentPipeline::builder::<u64>(PipelineConfig::default())
        .phase("only", PhaseConfig::local(), phase_fn(|n: &u64, _| std::future::ready(Ok(*n))))
        .build()
        .expect("a config in range")
}

fn five_phases() -> Pipeline {
    IntentPipeline::builder::<u64>(PipelineConfig::default())
        .phase("one", PhaseConfig::local(), phase_fn(|n: &u64, _| std::future::ready(Ok(*n))))
        .phase("two", PhaseConfig::local(), phase_fn(|n: &u64, _| std::future::ready(Ok(*n))))
        .phase("three", PhaseConfig::local(), phase_fn(|n: &u64, _| std::future::ready(Ok(*n))))
        .phase("four", PhaseConfig::local(), phase_fn(|n: &u64, _| std::future::ready(Ok(*n))))
        .phase("five", PhaseConfig::local(), phase_fn(|n: &u64, _| std::future::ready(Ok(*n))))
        .build()
        .expect("a config in range")
}

fn keys() -> Vec<Arc<str>> {
    (0..KEYS).map(|key| format!("default/web-{key}").into()).collect()
}

async fn one_by_one(pipeline: Pipeline, intents: u64) -> Duration {
    let keys = keys();
    let start = Instant::now();
    for (n, key) in (0..intents).zip(keys.iter().cycle()) {
        let ticket = pipeline.submit(Intent::new(Arc::clone(key), n)).await;
        let done = ticket.expect("room for one").await.expect("nothing fails");
        black_box(done.output);
    }
    start.elapsed()
}

async fn from_many(pipeline: Pipeline, intents: u64) -> Duration {
    let keys = Arc::new(keys());
    let mut submitters = JoinSet::new();
    let start = Instant::now();
    for submitter in 0..SUBMITTERS {
        let (pipeline, keys) = (pipeline.clone(), Arc::clone(&keys));
        submitters.spawn(async move {
            // Keys of its own, so that nobody joins or replaces another's.
            let own = keys.iter().skip(submitter).step_by(SUBMITTERS).cycle();
            for (n, key) in (0..intents.div_ceil(SUBMITTERS as u64)).zip(own) {
                let ticket = pipeline.submit(Intent::new(Arc::clone(key), n)).await;
                ticket.expect("room for all").await.expect("nothing fails");
            }
        });
    }
    submitters.join_all().await;
    start.elapsed()
}

fn pipeline(c: &mut Criterion) {
    c.bench_function("pipeline/submit_await/one_phase/1", |b| {
        b.iter_custom(|intents| block_on(async { one_by_one(one_phase(), intents).await }));
    });
    c.bench_function("pipeline/submit_await/five_phases/1", |b| {
        b.iter_custom(|intents| block_on(async { one_by_one(five_phases(), intents).await }));
    });
    c.bench_function("pipeline/submit_await/five_phases/64", |b| {
        b.iter_custom(|intents| block_on(async { from_many(five_phases(), intents).await }));
    });
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
