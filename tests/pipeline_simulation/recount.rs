//! Adds without generation, beside the runs of the same keys (D18): none is lost, and none causes more
//! than one run.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headworks::pipeline::{
    Intent, IntentPipeline, Phase, PhaseConfig, PhaseContext, PhaseError, PipelineConfig, Step,
};

use super::life::settled;
use super::ms;
use super::rng::Rng;

/// Counts the runs of each key, with a moment between the look and the end.
struct Recount {
    /// By key: runs begun, and the number of adds that the last one to begin has seen.
    runs: Mutex<HashMap<String, (u64, u64)>>,
    adds: Mutex<HashMap<String, u64>>,
    inside: Mutex<HashSet<String>>,
    overlaps: AtomicUsize,
}

struct Reader(Arc<Recount>);

impl Phase<()> for Reader {
    type Out = ();

    async fn run(&self, (): &(), cx: &PhaseContext) -> Result<Step<()>, PhaseError> {
        let world = &*self.0;
        // The control's keys have a number behind them.
        let key = cx.key().split('#').next().unwrap_or_default();
        if !world.inside.lock().unwrap().insert(key.to_owned()) {
            world.overlaps.fetch_add(1, Ordering::Relaxed);
        }
        let seen = world.adds.lock().unwrap().get(key).copied().unwrap_or(0);
        {
            let mut runs = world.runs.lock().unwrap();
            let (begun, latest) = runs.entry(key.to_owned()).or_default();
            *begun += 1;
            *latest = seen;
        }
        for _ in 0..seen % 4 {
            tokio::task::yield_now().await;
        }
        world.inside.lock().unwrap().remove(key);
        Ok(Step::Done(()))
    }
}

/// D18: adds without generation, from several threads, while workers run the same keys.
#[test]
fn an_add_after_a_start_always_causes_exactly_one_more_run() {
    const KEYS: u64 = 50;
    let world = Arc::new(Recount {
        runs: Mutex::default(),
        adds: Mutex::default(),
        inside: Mutex::default(),
        overlaps: AtomicUsize::new(0),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    let report = runtime.block_on(async {
        let pipeline = IntentPipeline::builder::<()>(PipelineConfig::default().with_seats(8))
            .phase("read", PhaseConfig::remote(), Reader(Arc::clone(&world)))
            .build()
            .unwrap();
        let adders = (0..4_u64).map(|adder| {
            let (pipeline, world) = (pipeline.clone(), Arc::clone(&world));
            tokio::spawn(async move {
                let mut rng = Rng(adder);
                for _ in 0..2500 {
                    let key = format!("k/{}", rng.below(KEYS));
                    *world.adds.lock().unwrap().entry(key.clone()).or_default() += 1;
                    drop(pipeline.submit(Intent::new(key, ())).await.unwrap());
                    if rng.one_in(8) {
                        tokio::task::yield_now().await;
                    }
                }
            })
        });
        for adder in adders.collect::<Vec<_>>() {
            adder.await.unwrap();
        }
        pipeline.shutdown(Duration::from_secs(60)).await
    });
    assert!(report.ledger.is_exact(), "{}", report.ledger);
    assert_eq!(report.ledger.accepted, 10_000);
    assert_eq!(report.ledger.completed + report.ledger.superseded, 10_000);
    assert_eq!(world.overlaps.load(Ordering::Relaxed), 0);
    // The last run of every key began after the last add to it: no add is lost.
    let (runs, adds) = (world.runs.lock().unwrap(), world.adds.lock().unwrap());
    for (key, added) in &*adds {
        assert_eq!(runs[key].1, *added, "{key}: an add after the last start");
    }
    let begun: u64 = runs.values().map(|(begun, _)| begun).sum();
    assert_eq!(begun, report.runs.completed, "no run but those that were added");
}

/// The control: where each add has a key of its own, runs of one object overlap, and none is spared.
#[tokio::test(start_paused = true)]
async fn control_without_the_key_rule_runs_overlap_and_none_is_spared() {
    let world = Arc::new(Recount {
        runs: Mutex::default(),
        adds: Mutex::new([("k".to_owned(), 3)].into()),
        inside: Mutex::default(),
        overlaps: AtomicUsize::new(0),
    });
    let pipeline = IntentPipeline::builder::<()>(PipelineConfig::default())
        .phase("read", PhaseConfig::remote(), Reader(Arc::clone(&world)))
        .build()
        .unwrap();
    for n in 0..100 {
        drop(pipeline.try_submit(Intent::new(format!("k#{n}"), ())).unwrap());
    }
    let report = pipeline.shutdown(ms(1_000)).await;
    assert_eq!(report.runs.completed, 100);
    assert!(world.overlaps.load(Ordering::Relaxed) > 0);
}

/// The same on one thread, where every add can be told from the next: an add before the start is
/// part of it, the first one after it causes exactly one more.
#[tokio::test(start_paused = true)]
async fn adds_between_two_starts_are_one_run() {
    let world = Arc::new(Recount {
        runs: Mutex::default(),
        adds: Mutex::default(),
        inside: Mutex::default(),
        overlaps: AtomicUsize::new(0),
    });
    world.adds.lock().unwrap().insert("k".to_owned(), 3);
    let pipeline = IntentPipeline::builder::<()>(PipelineConfig::default())
        .phase("read", PhaseConfig::remote(), Reader(Arc::clone(&world)))
        .build()
        .unwrap();
    let add = || pipeline.try_submit(Intent::new("k", ())).unwrap();
    let begun = || world.runs.lock().unwrap().get("k").map_or(0, |&(begun, _)| begun);
    for round in 1..100_u64 {
        let before: Vec<_> = (0..1 + round % 3).map(|_| add()).collect();
        while begun() < 2 * round - 1 {
            tokio::task::yield_now().await;
        }
        let after: Vec<_> = (0..1 + round % 4).map(|_| add()).collect();
        settled().await;
        assert_eq!(begun(), 2 * round);
        drop((before, after));
    }
    let report = pipeline.shutdown(ms(100)).await;
    assert_eq!((report.runs.completed, report.ledger.live), (198, 0));
}
