//! D7, inversion: tasks that submit to their own pool and await that, level by level, on fewer seats
//! than there are levels. Nothing is due.
//!
//! Every tree of tasks has a branch that is deeper than there are seats. What is awaited where it was
//! submitted runs on the seat of whoever awaits it, so every tree ends. The control awaits the same
//! tasks through another one of tokio's, where the pool can't see it: all seats are soon held by
//! tasks that wait for a seat. There only a deadline helps, as is documented.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headworks::worker_pool::{Concurrency, Task, TaskHandle, Thresholds, WorkerPoolConfig};
use headworks::{Priority, TaskError, WorkerPool};
use tokio::time::{sleep, timeout};

use crate::harness::claims::Claims;
use crate::harness::open_loop::within_limits;
use crate::harness::rng::Rng;
use crate::harness::{every_seed, ms, simulate, some_seeds};

/// Far more than all tasks of a trial take one after the other.
const LONG: Duration = Duration::from_secs(3_600);
const PATIENCE: Duration = Duration::from_secs(5);
const ROOTS: u64 = 8;

#[derive(Clone, Copy, PartialEq)]
enum Protection {
    /// Awaited where it was submitted.
    Whole,
    /// Awaited through another task, and due.
    Deadline,
    /// The control: through another task, and nothing is due.
    None,
}

#[test]
fn a_task_that_awaits_its_own_pool_never_waits_for_the_seat_it_sits_on() {
    every_seed(50, |seed| trial(seed, Protection::Whole).all_hold());
}

#[test]
fn through_another_task_the_deadline_ends_it() {
    every_seed(10, |seed| trial(seed, Protection::Deadline).all_hold());
}

#[test]
fn control_through_another_task_without_a_deadline_it_hangs() {
    some_seeds(|seed| trial(seed, Protection::None).breaks(&["ends", "result"]));
}

/// What all tasks of a trial share.
struct World {
    pool: WorkerPool,
    protection: Protection,
    seats: u64,
    ran: AtomicU64,
}

type Counted = Pin<Box<dyn Future<Output = u64> + Send>>;

fn trial(seed: u64, protection: Protection) -> Claims {
    simulate(async {
        let (mut rng, mut claims) = (Rng(seed), Claims::default());
        let seats = 1 + rng.below(3);
        let config = WorkerPoolConfig::default()
            .with_concurrency(Concurrency::Fixed(seats as usize))
            .with_queue_capacity(1 << 14)
            .with_thresholds(Thresholds::flat(1.0));
        let pool = WorkerPool::new(config).unwrap();
        let ran = AtomicU64::new(0);
        let world = Arc::new(World { pool: pool.clone(), protection, seats, ran });
        let roots: Vec<_> = (0..ROOTS).map(|_| submit(&world, &mut rng, 0)).collect();
        let (mut ended, mut counted) = (0, 0);
        let all = async {
            for root in roots {
                counted += root.await.unwrap_or(0);
                ended += 1;
            }
        };
        let _ = timeout(LONG, all).await;
        within_limits(&pool.snapshot());
        claims.check("ends", ended == ROOTS, format_args!("{ended} of {ROOTS}"));
        let ran = world.ran.load(Ordering::Relaxed);
        // Of what a deadline ended, nobody counts what ran below.
        let holds = counted == ran || (protection == Protection::Deadline && counted < ran);
        claims.check("result", holds && ended > 0, format_args!("{counted} counted of {ran}"));
        drop(world);
        let ledger = pool.shutdown(ms(100)).await.ledger;
        assert!(ledger.is_exact() && ledger.live == 0, "{ledger}");
        if protection == Protection::Whole {
            assert_eq!((ledger.accepted, ledger.completed), (ran, ran), "{ledger}");
        }
        claims
    })
}

/// A task that has what is below it run before it ends.
fn submit(world: &Arc<World>, rng: &mut Rng, level: u64) -> TaskHandle<u64> {
    let task = Task::new(body(Arc::clone(world), Rng(rng.next()), level))
        .priority(Priority::ALL[rng.below(4) as usize])
        .tenant(&rng.below(3));
    let task = if world.protection == Protection::Deadline { task.within(PATIENCE) } else { task };
    world.pool.try_submit(task).unwrap()
}

/// How many tasks ran, itself and below.
fn body(world: Arc<World>, mut rng: Rng, level: u64) -> Counted {
    Box::pin(async move {
        world.ran.fetch_add(1, Ordering::Relaxed);
        match rng.below(3) {
            0 => {}
            1 => tokio::task::yield_now().await,
            _ => sleep(ms(rng.below(20))).await,
        }
        // One branch at least, down to a level more than there are seats.
        let least = u64::from(level <= world.seats);
        let most = if level < 6 { 2 } else { 0 };
        let below: Vec<_> = (0..least.max(rng.below(most + 1)))
            .map(|_| submit(&world, &mut rng, level + 1))
            .collect();
        let mut counted = 1;
        for handle in below {
            counted += hear(world.protection, handle).await;
        }
        counted
    })
}

async fn hear(protection: Protection, handle: TaskHandle<u64>) -> u64 {
    let result = match protection {
        Protection::Whole => handle.await,
        _ => tokio::spawn(handle).await.unwrap_or(Err(TaskError::Cancelled)),
    };
    result.unwrap_or(0)
}
