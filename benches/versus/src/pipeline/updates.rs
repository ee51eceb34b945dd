//! Updates of objects that come faster than they can be worked off: only the newest version of each
//! is worth a run.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use headworks::pipeline::{PhaseContext, PhaseError};
use headworks::{Intent, IntentPipeline, PhaseConfig, PipelineConfig, phase_fn};
use tokio::sync::Semaphore;

use super::runtime;
use crate::harness::Measure;
use crate::pin::Cores;

pub const MEASURES: [Measure; 2] =
    [Measure { suffix: "", unit: "of the ideal time" }, Measure { suffix: "/runs", unit: "runs" }];

const OBJECTS: usize = 1_000;
const WIDTH: usize = 64;
const TAKES: Duration = Duration::from_millis(20);

/// Beside what so many runs take at least, so many at once.
fn figures(start: Instant, runs: &AtomicUsize) -> Vec<f64> {
    let took = start.elapsed().as_secs_f64();
    let runs = runs.load(Ordering::Relaxed);
    let ideal = runs.div_ceil(WIDTH) as f64 * TAKES.as_secs_f64();
    vec![took / ideal, runs as f64]
}

pub fn ours(updates: usize) -> Vec<f64> {
    runtime(Cores::Two).block_on(async {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let phase = phase_fn(move |_: &u64, _: &PhaseContext| {
            let runs = Arc::clone(&counted);
            async move {
                runs.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(TAKES).await;
                Ok::<_, PhaseError>(())
            }
        });
        let config = PipelineConfig::default().with_seats(WIDTH).with_queue_capacity(1 << 14);
        let pipeline = IntentPipeline::builder::<u64>(config)
            .phase("update", PhaseConfig::remote().with_concurrency(WIDTH), phase)
            .build()
            .expect("every value is in range");
        let start = Instant::now();
        for update in 0..updates {
            let (object, version) = (update % OBJECTS, (update / OBJECTS) as u64);
            let intent = Intent::new(format!("object-{object}"), version).generation(version);
            drop(pipeline.try_submit(intent).expect("there is room"));
        }
        let report = pipeline.shutdown(Duration::from_secs(60)).await;
        assert!(report.ledger.is_exact() && report.returned.is_empty(), "{}", report.ledger);
        figures(start, &runs)
    })
}

/// What is known of an object: its newest version, and that of the run it has.
#[derive(Default)]
struct Known {
    newest: u64,
    runs: bool,
}

/// A map of the newest versions, and a task for each object that has one to work off.
pub fn by_hand(updates: usize) -> Vec<f64> {
    runtime(Cores::Two).block_on(async {
        let runs = Arc::new(AtomicUsize::new(0));
        let objects: Arc<Mutex<HashMap<String, Known>>> = Arc::default();
        let permits = Arc::new(Semaphore::new(WIDTH));
        let mut tasks = tokio::task::JoinSet::new();
        let start = Instant::now();
        for update in 0..updates {
            let (object, version) = (update % OBJECTS, (update / OBJECTS) as u64);
            let name = format!("object-{object}");
            let mut all = objects.lock().expect("nobody panics");
            let known = all.entry(name.clone()).or_default();
            known.newest = version;
            if std::mem::replace(&mut known.runs, true) {
                continue;
            }
            drop(all);
            let (objects, permits) = (Arc::clone(&objects), Arc::clone(&permits));
            let runs = Arc::clone(&runs);
            tasks.spawn(async move {
                loop {
                    let _permit = permits.acquire().await.expect("never closed");
                    let newest = |name: &str| {
                        let all = objects.lock().expect("nobody panics");
                        all.get(name).map_or(0, |known| known.newest)
                    };
                    let version = newest(&name);
                    runs.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(TAKES).await;
                    let mut all = objects.lock().expect("nobody panics");
                    let Some(known) = all.get_mut(&name) else { return };
                    if known.newest == version {
                        known.runs = false;
                        return;
                    }
                }
            });
        }
        tasks.join_all().await;
        figures(start, &runs)
    })
}
