//! A seed's history: its configuration, and one life after the other.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use headworks::cache::{Cache, CacheConfig};
use headworks::circuit_breaker::{CircuitBreaker, CircuitBreakerConfig};
use headworks::pipeline::{
    BatchConfig, Batched, DrainReport, IntentPipeline, Phase, PhaseConfig, PipelineConfig,
};
use headworks::rate_limit::{Quota, RateLimiter, TieredQuota};
use headworks::retry::Backoff;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::Instant;

use super::disk::Disk;
use super::life::{Asker, Life, Limits, Sut, settled};
use super::ms;
use super::phases::{Batch, Commit, First, Look, NAMES, Plan, Store, topic};
use super::rng::Rng;
use super::world::{Load, Met, World};

/// What the simulation is told.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// Few keys, everything allowed.
    Wild,
    /// Each intent has its own key, and nothing is kept on disk: the order of starts can be told.
    Ordered,
    /// A negative control: the pipeline is not told the true keys.
    Unkeyed,
    /// A negative control: the store says that it has what it has not.
    Forgetful,
}

/// How a life ends.
enum End {
    /// All of it is over.
    Over,
    /// In the middle of everything.
    Crash(Box<Life>),
}

/// Scribes of one pipeline.
const SCRIBES: usize = 8;

/// One history; what was wrong with it, and what it met.
pub(crate) fn run(seed: u64, mode: Mode) -> (Vec<String>, Met) {
    let world = World::new(seed);
    let mut rng = Rng(seed);
    let has_disk = match mode {
        Mode::Wild => rng.one_in(2),
        Mode::Ordered | Mode::Unkeyed => false,
        Mode::Forgetful => true,
    };
    let mut disk = has_disk.then(|| Disk::new(&world, mode == Mode::Forgetful));
    let lives = if has_disk { 1 + rng.below(3) } else { 1 };
    let setup = rng.next();
    let mut asker = Asker::new(rng, mode, &world);
    for _ in 0..lives {
        one_life(&mut asker, setup, &mut disk, false);
    }
    if let Some(left) = disk.as_ref().map(Disk::keys) {
        // What is left comes to its end, whatever went before.
        world.is_calm.store(true, Ordering::Relaxed);
        let resumed = one_life(&mut asker, setup, &mut disk, true);
        world.claim(resumed >= left.len(), || format!("{resumed} resumed of {left:?}"));
        let left = disk.map(|disk| disk.keys()).unwrap_or_default();
        world.claim(left.is_empty(), || format!("{left:?} stays on disk for ever"));
    }
    drop(asker);
    let met = || world.met.lock().unwrap().clone();
    assert!(world.alive().is_empty(), "payloads were kept: {:?}; {:?}", world.alive(), met());
    let wrong = world.wrong.lock().unwrap().clone();
    let met: BTreeSet<String> = world.met.lock().unwrap().clone();
    (wrong, met)
}

/// How many came back from the disk.
fn one_life(asker: &mut Asker, setup: u64, disk: &mut Option<Disk>, is_last: bool) -> usize {
    let runtime = paused();
    let mut resumed = 0;
    let end = runtime.block_on(async {
        let (pipeline, limits) = build(setup, asker, disk.clone());
        let mut life = Life::begin(pipeline, limits, disk.clone());
        if disk.is_some() {
            life.restore(&asker.world).await;
            resumed = life.resumed;
        }
        if is_last {
            tokio::time::sleep(ms(3_600_000)).await;
            shut_down(life, asker, Some(20_000)).await;
            return End::Over;
        }
        for _ in 0..20 + asker.rng.below(130) {
            life.step(asker).await;
        }
        match asker.rng.below(10) {
            0 | 1 => dropped(life, asker).await,
            2..6 if disk.is_some() => return End::Crash(Box::new(life)),
            _ => shut_down(life, asker, None).await,
        }
        End::Over
    });
    if let End::Crash(mut life) = end {
        asker.world.meet("crash");
        let next = disk.as_ref().map(Disk::next_life);
        if let Some(disk) = &next {
            life.crash(&asker.world, disk);
        }
        drop(runtime);
        life.bury();
        *disk = next;
    } else {
        *disk = disk.as_ref().map(Disk::next_life);
    }
    if let Some(disk) = disk {
        *asker.world.kept.lock().unwrap() = disk.runs();
    }
    asker.world.turn_over();
    resumed
}

fn paused() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn alive_tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// It is dropped without a word, with whoever waits to be accepted.
async fn dropped(mut life: Life, asker: &mut Asker) {
    let world = Arc::clone(&asker.world);
    world.meet("dropped");
    life.forget_the_room();
    life.drop_pipeline();
    // For attempts that can't be stopped, undoings that take their time, and a slow store.
    tokio::time::sleep(ms(60_000)).await;
    assert_eq!(alive_tasks(), 0, "somebody lives on");
    life.hear(&world, false).await;
}

async fn shut_down(mut life: Life, asker: &mut Asker, within: Option<u64>) {
    let world = Arc::clone(&asker.world);
    world.meet("shutdown");
    let within = within.unwrap_or_else(|| [0, 20, 300, 20_000][asker.rng.below(4) as usize]);
    if asker.rng.one_in(2) || asker.world.is_calm() {
        life.resume(&world);
    }
    let start = Instant::now();
    let DrainReport { ledger, runs, returned, indeterminate, unresponsive, .. } =
        life.sut().shutdown(ms(within)).await;
    assert!(start.elapsed() <= ms(within + 102), "{:?} of {within} ms", start.elapsed());
    let undone = world.undone.lock().unwrap().clone();
    world.claim(unresponsive.iter().all(|key| undone.contains(&**key)), || {
        format!("{unresponsive:?} don't yield, {undone:?} were undone")
    });
    if !indeterminate.is_empty() {
        world.meet("indeterminate");
    }
    life.is_closed(asker);
    life.empty_the_room(&world);
    settled().await;
    let scribes = if life.disk.is_some() { SCRIBES } else { 0 };
    let most = indeterminate.len() + unresponsive.len() + scribes;
    assert!(alive_tasks() <= most, "{} tasks", alive_tasks());
    assert_eq!(runs.returned, returned.len() as u64);
    let tickets: usize = returned.iter().map(|returned| returned.tickets).sum();
    assert_eq!(tickets as u64, ledger.returned);
    returned.iter().for_each(|returned| life.came_back(&returned.intent));
    drop(returned);
    tokio::time::sleep(ms(60_000)).await;
    life.is_as_told_on_disk(&world);
    assert_eq!(alive_tasks(), 0, "somebody lives on");
    life.hear(&world, true).await;
    // What was undone at the end of the time has ended since.
    let snapshot = life.sut().snapshot();
    assert!(ledger.is_exact() && runs.is_exact(), "{ledger}, {runs}");
    life.compare(snapshot.ledger);
    life.told.compare(&world, snapshot.ledger, snapshot.runs);
    if asker.mode == Mode::Ordered {
        life.check_order(&world);
    }
    life.bury();
}

/// The same for each life of a seed.
fn build(setup: u64, asker: &Asker, disk: Option<Disk>) -> (Sut, Limits) {
    let (mut rng, world) = (Rng(setup), &asker.world);
    let (capacity, seats) = (1 + rng.below(20) as usize, 2 + rng.below(6) as usize);
    let mut config = PipelineConfig::default()
        .with_queue_capacity(capacity)
        .with_seats(seats)
        .with_starvation_bound(1 + rng.below(6) as u32)
        .with_key_backoff(Backoff::new(ms(20), ms(200)))
        .with_critical_grace(ms(1 + rng.below(300)));
    if rng.one_in(3) {
        let quota = TieredQuota::default()
            .with_global(Quota::per_second(200).with_burst(20))
            .with_per_key(Quota::per_second(100).with_burst(4));
        config = config.with_ingress(quota);
    }
    let mut phases: [PhaseConfig; NAMES.len()] =
        std::array::from_fn(|_| PhaseConfig::remote().with_timeout(ms(100)));
    let mut concurrency = [64; NAMES.len()];
    for (phase, concurrency) in phases.iter_mut().zip(&mut concurrency) {
        if rng.one_in(3) {
            *concurrency = 2 + rng.below(3) as usize;
            *phase = phase.clone().with_concurrency(*concurrency);
        }
    }
    let [mut first, batch, store, look, mut commit] = phases;
    if rng.one_in(3) {
        let breaker = CircuitBreakerConfig::default()
            .with_consecutive_failures(NonZeroU32::new(3))
            .with_open_for(ms(50))
            .with_open_jitter_ratio(0.0)
            .with_call_timeout(ms(500))
            .with_probes(NonZeroU32::MIN);
        first = first.with_breaker(CircuitBreaker::new(breaker).unwrap());
    }
    commit = commit.with_timeout(ms(200));
    if rng.one_in(2) {
        commit = commit.critical();
    }
    let egress = rng.one_in(3).then(|| {
        let quota = Quota::per_second(100).with_burst(2);
        (Arc::new(RateLimiter::new(quota).unwrap()), 100, 2)
    });
    if let Some((egress, ..)) = &egress {
        commit = commit.with_egress(Arc::clone(egress));
    }
    let waits = BatchConfig::default().with_max_items(2 + rng.below(3) as usize);
    let batched = Batched::new(waits.with_max_age(ms(10)), Batch(Arc::clone(world))).unwrap();
    let kept = CacheConfig::default().with_ttl(Some(ms(100))).with_stale_for(ms(rng.below(100)));
    let kept: Cache<u64, Plan> = Cache::builder(kept).seeded(rng.next()).build().unwrap();
    let look = (look, Look.cached(topic, kept));
    let commit = (commit, Commit(Arc::clone(world)));
    let limits = Limits { seats, capacity, concurrency, egress };
    let (seed, last_is_durable) = (rng.next(), rng.one_in(2));
    let builder = IntentPipeline::builder::<Load>(config).seeded(seed);
    let pipeline = match disk {
        None => builder
            .phase(NAMES[0], first, First)
            .phase(NAMES[1], batch, batched)
            .phase(NAMES[2], store, Store)
            .phase(NAMES[3], look.0, look.1)
            .phase(NAMES[4], commit.0, commit.1)
            .build(),
        Some(disk) => {
            let before = builder
                .checkpoints(disk)
                .durable_phase(NAMES[0], 1, first, First)
                .phase(NAMES[1], batch, batched)
                .durable_phase(NAMES[2], 1, store, Store)
                .phase(NAMES[3], look.0, look.1);
            if last_is_durable {
                before.durable_phase(NAMES[4], 1, commit.0, commit.1).build()
            } else {
                before.phase(NAMES[4], commit.0, commit.1).build()
            }
        }
    };
    (pipeline.unwrap(), limits)
}
