//! D11, cancel storm: 100,000 tasks queued with `cancel_on_drop`, and 99 % of the handles dropped in
//! random order while the pool runs. Nothing is due. The short run queues 10,000.
//!
//! The memory is that of a pool that has had a hundred tasks, no flood: what a flood leaves behind
//! for good would show. It is looked at when those that were kept have had the time to run.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use headworks::worker_pool::{Concurrency, Task, TaskHandle, Thresholds, WorkerPoolConfig};
use headworks::{Priority, WorkerPool};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::harness::claims::Claims;
use crate::harness::heap::live_bytes;
use crate::harness::open_loop::within_limits;
use crate::harness::rng::Rng;
use crate::harness::{every_seed, is_long_run, ms, simulate, some_seeds};

const SEATS: usize = 64;
const S: Duration = Duration::from_millis(100);
/// Tasks of the warm-up.
const FEW: usize = 100;

#[derive(Clone, Copy, PartialEq)]
enum Protection {
    Whole,
    /// The control: a dropped handle leaves its task behind, as a dropped oneshot receiver does.
    None,
}

#[test]
fn the_dropped_give_their_places_back_at_once_and_the_rest_all_run() {
    every_seed(3, |seed| trial(seed, Protection::Whole).all_hold());
}

#[test]
fn control_detached_tasks_keep_their_places_and_their_memory() {
    some_seeds(|seed| {
        trial(seed, Protection::None).breaks(&["places", "gone", "the rest run", "memory"]);
    });
}

/// What the tasks count.
#[derive(Default)]
struct Counts {
    alive: AtomicUsize,
    ran: AtomicU64,
}

/// A future's presence.
struct Alive {
    counts: Arc<Counts>,
    has_begun: Arc<AtomicBool>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.counts.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Held {
    handle: TaskHandle<()>,
    has_begun: Arc<AtomicBool>,
}

fn trial(seed: u64, protection: Protection) -> Claims {
    let tasks = if is_long_run() { 100_000 } else { 10_000 };
    simulate(async {
        let mut claims = Claims::default();
        let pool = pool(tasks);
        // So that what stays warm is warm.
        storm(&mut claims, &pool, Rng(!seed), FEW, protection).await;
        let before = live_bytes();
        let after = storm(&mut claims, &pool, Rng(seed), tasks, protection).await;
        let figures = format_args!("{after} bytes, before it {before}");
        claims.check("memory", after as f64 <= 1.2 * before as f64, figures);
        let ledger = pool.shutdown(ms(100)).await.ledger;
        assert!(ledger.is_exact() && ledger.live == 0, "{ledger}");
        assert_eq!(ledger.accepted, (FEW + tasks) as u64);
        claims
    })
}

fn pool(tasks: usize) -> WorkerPool {
    let config = WorkerPoolConfig::default()
        .with_concurrency(Concurrency::Fixed(SEATS))
        .with_queue_capacity(tasks)
        .with_thresholds(Thresholds::flat(1.0));
    WorkerPool::new(config).unwrap()
}

/// Fills the queue, drops nearly all handles while the pool works, and waits for the rest. The heap
/// when those that were kept should have ended.
async fn storm(
    claims: &mut Claims,
    pool: &WorkerPool,
    mut rng: Rng,
    tasks: usize,
    protection: Protection,
) -> isize {
    let (counts, before) = (Arc::new(Counts::default()), pool.snapshot().ledger);
    let mut held: Vec<_> =
        (0..tasks).map(|_| submit(pool, &counts, &mut rng, protection)).collect();
    rng.shuffle(&mut held);
    let kept = held.split_off(tasks / 100 * 99);
    for (nth, dropped) in held.into_iter().enumerate() {
        if nth % (tasks / 100) == 0 {
            sleep(ms(1 + rng.below(20))).await;
        }
        drop_one(claims, pool, &counts, dropped);
    }
    // Who ran is gone at its next await point: one turn of every worker.
    sleep(ms(1)).await;
    let (alive, kept_by_us) = (counts.alive.load(Ordering::Relaxed), kept.len());
    claims.check("gone", alive <= kept_by_us, format_args!("{alive} futures, {kept_by_us} kept"));
    // Twice what they take on all seats, for a quarter weighs two; and the last of them to end.
    let by = Instant::now() + S * (4 + 3 * kept_by_us / SEATS) as u32;
    for Held { handle, .. } in kept {
        let result = timeout_at(by, handle).await;
        claims.check("the rest run", matches!(result, Ok(Ok(()))), format_args!("{result:?}"));
    }
    sleep_until(by).await;
    let heap = live_bytes();
    while pool.snapshot().ledger.live > 0 {
        sleep(S).await;
    }
    let after = pool.snapshot().ledger;
    let [accepted, completed, cancelled] = [
        after.accepted - before.accepted,
        after.completed - before.completed,
        after.cancelled - before.cancelled,
    ];
    assert_eq!((accepted, completed + cancelled), (tasks as u64, tasks as u64), "{after}");
    assert_eq!(completed, counts.ran.load(Ordering::Relaxed));
    assert_eq!(counts.alive.load(Ordering::Relaxed), 0, "a future was kept");
    heap
}

fn submit(pool: &WorkerPool, counts: &Arc<Counts>, rng: &mut Rng, protection: Protection) -> Held {
    counts.alive.fetch_add(1, Ordering::Relaxed);
    let has_begun = Arc::new(AtomicBool::new(false));
    let alive = Alive { counts: Arc::clone(counts), has_begun: Arc::clone(&has_begun) };
    let service = rng.around(S);
    let task = Task::new(async move {
        alive.has_begun.store(true, Ordering::Relaxed);
        sleep(service).await;
        alive.counts.ran.fetch_add(1, Ordering::Relaxed);
    });
    let task = task.priority(Priority::ALL[rng.below(4) as usize]).tenant(&rng.below(8));
    let task = task.weight(NonZeroU32::MIN.saturating_add(u32::from(rng.one_in(4))));
    let handle = pool.try_submit(task).unwrap();
    match protection {
        Protection::Whole => Held { handle: handle.cancel_on_drop(), has_begun },
        Protection::None => Held { handle, has_begun },
    }
}

/// Unless it has begun, its place is free at once, it is counted, and its future is gone.
fn drop_one(claims: &mut Claims, pool: &WorkerPool, counts: &Counts, held: Held) {
    let (before, alive) = (pool.snapshot(), counts.alive.load(Ordering::Relaxed));
    drop(held.handle);
    let (after, still_alive) = (pool.snapshot(), counts.alive.load(Ordering::Relaxed));
    within_limits(&after);
    let waited = usize::from(!held.has_begun.load(Ordering::Relaxed));
    let places = before.queued() - after.queued();
    let counted = (after.ledger.cancelled - before.ledger.cancelled) as usize;
    let holds = [places, counted, alive - still_alive] == [waited; 3];
    claims.check("places", holds, format_args!("{places} for {waited}: {after:?}"));
}
