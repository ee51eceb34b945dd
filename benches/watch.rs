//! Files end to end: written, taken, run, and put away; and how long a file waits for its admission
//! once it is closed.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark may stop on a wrong configuration, and reads the clock"
)]

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use headworks::intake::{
    DirectoryWatcher, Durability, JsonDecode, JsonDecodeConfig, Origin, WatchConfig, Watching,
};
use headworks::{Intent, IntentPipeline, PhaseConfig, PhaseContext, PipelineConfig, phase_fn};

const FILES: u64 = 2_000;

#[derive(serde::Deserialize)]
struct Ask {
    target: String,
    replicas: u32,
}

/// When each file's intent began to run: at its admission, or after it.
type Begun = Arc<Mutex<Vec<Option<Instant>>>>;

fn watch(path: &Path, durability: Durability, begun: &Begun) -> Watching {
    let begun = Arc::clone(begun);
    let phase = phase_fn(move |n: &u32, _: &PhaseContext| {
        if let Some(begun) = begun.lock().unwrap().get_mut(*n as usize) {
            *begun = Some(Instant::now());
        }
        async { Ok(()) }
    });
    let pipeline = IntentPipeline::builder::<u32>(PipelineConfig::default())
        .phase("run", PhaseConfig::remote(), phase)
        .build()
        .unwrap();
    let decode = JsonDecode::new(JsonDecodeConfig::default(), |ask: Ask, _: &Origin| {
        Ok(Intent::new(ask.target, ask.replicas))
    });
    let config = WatchConfig::default().with_directory(path).with_durability(durability);
    DirectoryWatcher::new(config).unwrap().start(pipeline, decode.unwrap()).unwrap()
}

fn write(path: &Path, n: u64) {
    let text = format!(r#"{{"target": "ns/{n}", "replicas": {n}}}"#);
    fs::write(path.join(format!("{n}.json")), text).unwrap();
}

fn end_to_end(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut group = c.benchmark_group("watch/end_to_end");
    group.throughput(Throughput::Elements(FILES)).sample_size(10);
    for (name, durability) in [("process", Durability::Process), ("power", Durability::Power)] {
        group.bench_function(BenchmarkId::new(name, FILES), |b| {
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let directory = tempfile::tempdir().unwrap();
                    runtime.block_on(async {
                        let watching = watch(directory.path(), durability, &Begun::default());
                        let start = Instant::now();
                        (0..FILES).for_each(|n| write(directory.path(), n));
                        watching.drained().await;
                        spent += start.elapsed();
                        assert_eq!(watching.snapshot().processed, FILES);
                    });
                }
                spent
            });
        });
    }
    group.finish();
}

/// 500 files a second, each written when it is due, whatever became of the others.
fn admission(_: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let begun = Begun::new(Mutex::new(vec![None; FILES as usize]));
    let closed = runtime.block_on(async {
        let watching = watch(directory.path(), Durability::Process, &begun);
        watching.drained().await;
        let path = directory.path().to_owned();
        let writer = tokio::task::spawn_blocking(move || {
            let start = Instant::now();
            let close = |n: u64| {
                let due = start + Duration::from_millis(2) * u32::try_from(n).unwrap();
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                write(&path, n);
                Instant::now()
            };
            (0..FILES).map(close).collect::<Vec<_>>()
        });
        let closed = writer.await.unwrap();
        watching.drained().await;
        closed
    });
    let begun = begun.lock().unwrap();
    let waits = closed.iter().zip(begun.iter());
    let mut waits: Vec<_> =
        waits.map(|(closed, begun)| begun.unwrap().saturating_duration_since(*closed)).collect();
    waits.sort();
    let quantile = |ratio: f64| waits[((waits.len() - 1) as f64 * ratio) as usize];
    println!(
        "watch/close_to_first_phase at 500 files/s: p50 {:?}, p99 {:?}, worst {:?}",
        quantile(0.5),
        quantile(0.99),
        quantile(1.0)
    );
}

criterion_group!(benches, end_to_end, admission);
criterion_main!(benches);
