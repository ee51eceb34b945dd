//! D16, shutdown under fire: a pool of random size and rules is drained at a random instant, in the
//! midst of submits, evictions, retries, cancels, timers and panics. A random half of the tasks has
//! a deadline, and a third a callback. Of the pools a third has a limit of each kind.
//!
//! The same runs on real threads, with tasks that block: there chance is not the seed's alone, and
//! what takes no time on the paused clock may take some.

mod bodies;
mod fire;

use std::cell::RefCell;
use std::collections::HashSet;

use crate::harness::claims::Claims;
use crate::harness::{every_seed, seeds, simulate};
use bodies::quiet_bombs;
use fire::{Fire, Limit, Scene, alive_tasks};

/// Enough for everything that can happen to have happened.
const SEEDS: u64 = 300;
const REAL_SEEDS: u64 = 12;

#[derive(Clone, Copy, PartialEq)]
enum End {
    Shutdown,
    /// The last handle of the pool is dropped.
    Drop,
    /// The control: closed, and then only waited for.
    CloseOnly,
}

#[test]
fn whenever_it_is_shut_down_everything_accepted_has_ended_and_was_told() {
    let met = RefCell::new(HashSet::new());
    every_seed(SEEDS, |seed| {
        let end = end(seed);
        let (claims, words) = simulated(seed, end);
        claims.all_hold();
        met.borrow_mut().extend(words);
    });
    if seeds(SEEDS).count() as u64 >= SEEDS {
        // The load is what it says.
        for word in MET {
            assert!(met.borrow().contains(word), "{word} never came up: {met:?}");
        }
    }
}

#[test]
fn on_real_threads_as_well() {
    let met = RefCell::new(HashSet::new());
    every_seed(REAL_SEEDS, |seed| {
        quiet_bombs();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(3).enable_time().build().unwrap();
        let (claims, words) = runtime.block_on(trial(seed, end(seed), scene(seed, true)));
        claims.all_hold();
        met.borrow_mut().extend(words);
    });
    if seeds(REAL_SEEDS).count() as u64 >= REAL_SEEDS {
        for word in ["a thread", "Completed", "Failed", "Cancelled", "a panic in a callback"] {
            assert!(met.borrow().contains(word), "{word} never came up: {met:?}");
        }
    }
}

const MET: [&str; 14] = [
    "Completed",
    "Failed",
    "Cancelled",
    "Expired",
    "Evicted",
    "Returned",
    "QueueFull",
    "Closed",
    "DeadlineInfeasible",
    "RunEvicted",
    "a child",
    "a retry",
    "in run",
    "a panic in a callback",
];

#[test]
fn control_a_pool_that_is_only_closed_leaves_some_alive_and_untold() {
    for claim in ["in time", "told", "nobody lives on"] {
        let breaks = |seed| simulated(seed, End::CloseOnly).0.is_broken(claim);
        assert!((0..20).any(breaks), "{claim} holds without a shutdown");
    }
}

fn end(seed: u64) -> End {
    if seed % 5 == 4 { End::Drop } else { End::Shutdown }
}

fn scene(seed: u64, is_real: bool) -> Scene {
    let limit = [Limit::Fixed, Limit::Autoscale, Limit::Adaptive][seed as usize % 3];
    // A task that holds a handle would keep the pool from ending with the last of ours.
    Scene { limit, is_real, has_children: end(seed) != End::Drop }
}

fn simulated(seed: u64, end: End) -> (Claims, HashSet<String>) {
    quiet_bombs();
    simulate(trial(seed, end, scene(seed, false)))
}

/// One life of one pool; what it met.
async fn trial(seed: u64, end: End, scene: Scene) -> (Claims, HashSet<String>) {
    let (mut fire, pool) = Fire::light(seed, scene);
    for _ in 0..10 + fire.rng.below(120) {
        fire.step(&pool).await;
    }
    let mut claims = Claims::default();
    match end {
        End::Shutdown | End::CloseOnly => {
            fire.put_out(&mut claims, &pool, end == End::Shutdown).await;
            if end == End::Shutdown {
                fire.comes(|| pool.snapshot().ledger.live == 0).await;
                fire.account(pool.snapshot().ledger);
            }
        }
        End::Drop => {
            fire.leave();
            let look = pool.snapshot();
            drop(pool);
            fire.settles().await;
            fire.hear(&mut claims).await;
            fire.account_dropped(&look);
        }
    }
    let is_over = fire.comes(|| alive_tasks() == 0).await;
    claims.check("nobody lives on", is_over, format_args!("{}", alive_tasks()));
    if end == End::CloseOnly {
        return (claims, HashSet::new());
    }
    assert!(fire.comes(|| fire.has_let_go()).await, "a future or a result was kept");
    fire.comes(|| fire.has_called()).await;
    fire.account_calls();
    (claims, fire.into_met())
}
