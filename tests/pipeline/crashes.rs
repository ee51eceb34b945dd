//! A pipeline that crashes at every await, and lives again on what its store had by then.
//!
//! Store and phases stop at *points*, before and after what they do; at the point that a life is
//! told to crash at, everything stands still, and the life is dropped with its runtime. The next one
//! begins with what the store held. Held to a naive model: what was said to be on disk comes to its
//! end in some life, and what was kept when a life ended does not run in a later one.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use headworks::pipeline::{CheckpointError, Checkpoints, Loaded, MemoryCheckpoints};
use proptest::test_runner::{RngAlgorithm, TestRng};
use tokio::sync::Notify;

use super::*;

/// Counts points, and stops everything at one of them.
#[derive(Default)]
struct Fate {
    points: AtomicUsize,
    crash_at: Option<usize>,
    crashed: Notify,
}

impl Fate {
    async fn point(&self) {
        let point = self.points.fetch_add(1, Ordering::SeqCst);
        if self.crash_at.is_some_and(|crash| point >= crash) {
            self.crashed.notify_one();
            std::future::pending().await
        }
    }
}

struct Doomed {
    inside: MemoryCheckpoints,
    fate: Arc<Fate>,
}

#[async_trait]
impl Checkpoints for Doomed {
    async fn load(&self) -> Result<Loaded, CheckpointError> {
        self.fate.point().await;
        self.inside.load().await
    }

    async fn save(&self, key: &str, page: Bytes) -> Result<(), CheckpointError> {
        self.fate.point().await;
        self.inside.save(key, page).await?;
        self.fate.point().await;
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<(), CheckpointError> {
        self.fate.point().await;
        self.inside.remove(key).await?;
        self.fate.point().await;
        Ok(())
    }

    async fn set_aside(&self, key: &str) -> Result<String, CheckpointError> {
        self.inside.set_aside(key).await
    }
}

/// A key's version in a phase.
type Done = (String, u64, &'static str);

/// What really happened, over all lives.
#[derive(Default)]
struct World {
    /// Effects of durable phases in this life.
    effects: Vec<Done>,
    /// Versions whose last phase was done.
    finished: BTreeSet<(String, u64)>,
    /// Versions that somebody was told are on disk.
    promised: BTreeSet<(String, u64)>,
}

impl World {
    fn had(&mut self, key: String, version: u64, phase: &'static str) {
        if phase == "four" {
            self.finished.insert((key.clone(), version));
        }
        self.effects.push((key, version, phase));
    }
}

struct Effect {
    name: &'static str,
    fate: Arc<Fate>,
    world: Arc<Mutex<World>>,
}

impl Phase<u64> for Effect {
    type Out = u64;

    async fn run(&self, input: &u64, cx: &PhaseContext) -> Result<Step<u64>, PhaseError> {
        self.fate.point().await;
        // Not all that is done is done at once.
        match (input + u64::from(cx.attempt())) % 4 {
            0 if cx.attempt() < 3 => return Ok(Step::Again { after: ms(5) }),
            1 if cx.attempt() < 3 => return Err(PhaseError::retryable("not now")),
            _ => {}
        }
        let (key, version) = (cx.key().to_owned(), cx.generation().unwrap());
        self.world.lock().unwrap().had(key, version, self.name);
        self.fate.point().await;
        Ok(Step::Done(*input))
    }
}

/// Every checkpoint that the store has.
async fn kept(store: &MemoryCheckpoints) -> BTreeSet<Done> {
    let mut kept = BTreeSet::new();
    for (key, page) in store.load().await.unwrap().pages {
        let page: serde_json::Value = serde_json::from_slice(&page).unwrap();
        for run in page["runs"].as_array().unwrap() {
            let version = run["generation"].as_u64().unwrap();
            for checkpoint in run["checkpoints"].as_array().unwrap() {
                let name = ["one", "three"].into_iter();
                let phase = name.clone().find(|name| checkpoint["phase"] == **name).unwrap();
                kept.insert((key.to_string(), version, phase));
            }
        }
    }
    kept
}

/// One life on this store. How many points it came by; whether it came to its end.
fn live(
    store: &MemoryCheckpoints,
    world: &Arc<Mutex<World>>,
    crash_at: Option<usize>,
    submits: &[(u8, u64)],
) -> (usize, bool) {
    let fate = Arc::new(Fate { crash_at, ..Fate::default() });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let ended = runtime.block_on(async {
        let whole = a_life(store, world, &fate, submits);
        tokio::select! {
            biased;
            () = fate.crashed.notified() => false,
            () = whole => true,
        }
    });
    drop(runtime);
    (fate.points.load(Ordering::SeqCst), ended)
}

async fn a_life(
    store: &MemoryCheckpoints,
    world: &Arc<Mutex<World>>,
    fate: &Arc<Fate>,
    submits: &[(u8, u64)],
) {
    let before = kept(store).await;
    let effect = |name| {
        let (fate, world) = (Arc::clone(fate), Arc::clone(world));
        Effect { name, fate, world }
    };
    let config = PipelineConfig::default().with_seats(3);
    let pipeline = IntentPipeline::builder::<u64>(config)
        .seeded(1)
        .checkpoints(Doomed { inside: store.clone(), fate: Arc::clone(fate) })
        .durable_phase("one", 1, PhaseConfig::remote(), effect("one"))
        .phase("two", PhaseConfig::remote(), effect("two"))
        .durable_phase("three", 1, PhaseConfig::remote(), effect("three"))
        .phase("four", PhaseConfig::remote(), effect("four"))
        .build()
        .unwrap();
    let restored = pipeline.restore().await.unwrap();
    assert!(restored.set_aside.is_empty() && restored.refused.is_empty());
    let mut tickets: Vec<_> = restored.resumed.into_iter().map(|it| it.ticket).collect();
    for &(key, version) in submits {
        let key = format!("key {key}");
        let intent = Intent::new(key.as_str(), version * 7).generation(version);
        if let Ok(ticket) = pipeline.submit(intent).await {
            // One that a newer version has already taken the place of is on disk no more.
            if ticket.persisted().await.is_ok() {
                world.lock().unwrap().promised.insert((key, version));
            }
            tickets.push(ticket);
        }
        tokio::task::yield_now().await;
    }
    for ticket in tickets {
        let ended = ticket.await.map(drop).map_err(|ended| ended.ending());
        assert!(matches!(ended, Ok(()) | Err(Ending::Superseded)), "{ended:?}");
    }
    pipeline.shutdown(Duration::from_secs(60)).await;
    let again: Vec<_> = {
        let world = world.lock().unwrap();
        world.effects.iter().filter(|done| before.contains(*done)).cloned().collect()
    };
    assert!(again.is_empty(), "kept, and ran again: {again:?}");
}

/// A world of several lives; the last one comes to its end. How many points its first one had.
fn lives(crashes: &[usize], submits: &[(u8, u64)]) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (store, world) = (MemoryCheckpoints::new(), Arc::new(Mutex::new(World::default())));
    let mut points = None;
    let mut rest = submits;
    for crash in crashes.iter().copied().map(Some).chain([None]) {
        let before = runtime.block_on(kept(&store));
        world.lock().unwrap().effects.clear();
        let (came_by, ended) = live(&store, &world, crash, rest);
        points.get_or_insert(came_by);
        let effects = std::mem::take(&mut world.lock().unwrap().effects);
        let again: Vec<_> = effects.iter().filter(|done| before.contains(*done)).collect();
        assert!(again.is_empty(), "crashes {crashes:?}: kept, and ran again: {again:?}");
        rest = &[];
        if ended {
            break;
        }
    }
    let world = world.lock().unwrap();
    let mut newest: HashMap<&str, u64> = HashMap::new();
    for (key, version) in &world.promised {
        let known = newest.entry(key).or_default();
        *known = (*known).max(*version);
    }
    for (key, version) in newest {
        let done = world.finished.iter().any(|(k, v)| k == key && *v >= version);
        assert!(done, "crashes {crashes:?}: {key} {version} was on disk, and never done");
    }
    assert!(store.is_empty(), "crashes {crashes:?}: everything ended");
    points.unwrap_or_default()
}

#[test]
fn a_crash_at_any_point_loses_nothing_and_repeats_nothing_that_is_kept() {
    let submits = [(1, 1), (2, 1), (1, 2), (3, 1), (1, 3), (2, 2), (3, 1)];
    let points = lives(&[], &submits);
    assert!(points > 50, "{points}");
    for crash in 0..points {
        lives(&[crash], &submits);
        // And once more, soon after it began again.
        lives(&[crash, crash % 7], &submits);
    }
}

#[test]
fn any_script_with_any_crashes_ends_as_it_should() {
    let seeds: u64 = std::env::var("SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    for seed in 0..seeds {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8] = 1;
        let mut rng = TestRng::from_seed(RngAlgorithm::XorShift, &bytes);
        let mut below = |n: u32| {
            use proptest::prelude::Rng;
            rng.next_u32() % n
        };
        let submits: Vec<_> =
            (0..4 + below(12)).map(|_| (below(3) as u8, 1 + u64::from(below(5)))).collect();
        let crashes: Vec<_> = (0..below(5)).map(|_| below(80) as usize).collect();
        println!("seed {seed}: {crashes:?} {submits:?}");
        lives(&crashes, &submits);
    }
}
