//! D16, shutdown under fire: a pool of random size and rules is drained at a random instant, in the
//! midst of submits, evictions, retries, cancels, timers and panics. A random half of the tasks has
//! a deadline.

mod bodies;
mod fire;

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use crate::harness::claims::Claims;
use crate::harness::{every_seed, seeds, simulate};
use bodies::quiet_bombs;
use fire::{Fire, alive_tasks};

/// Enough for everything that can happen to have happened.
const SEEDS: u64 = 300;

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
        let end = if seed % 5 == 4 { End::Drop } else { End::Shutdown };
        let (claims, words) = trial(seed, end);
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

const MET: [&str; 13] = [
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
];

#[test]
fn control_a_pool_that_is_only_closed_leaves_some_alive_and_untold() {
    for claim in ["in time", "told", "nobody lives on"] {
        let breaks = |seed| trial(seed, End::CloseOnly).0.is_broken(claim);
        assert!((0..20).any(breaks), "{claim} holds without a shutdown");
    }
}

/// One life of one pool; what it met.
fn trial(seed: u64, end: End) -> (Claims, HashSet<String>) {
    quiet_bombs();
    simulate(async {
        let (mut fire, pool) = Fire::light(seed);
        for _ in 0..10 + fire.rng.below(120) {
            fire.step(&pool).await;
        }
        let mut claims = Claims::default();
        match end {
            End::Shutdown | End::CloseOnly => {
                fire.put_out(&mut claims, &pool, end == End::Shutdown).await;
                if end == End::Shutdown {
                    fire.account(&pool.snapshot());
                }
            }
            End::Drop => {
                fire.leave();
                drop(pool);
                tokio::time::sleep(Duration::from_secs(10)).await;
                fire.hear(&mut claims).await;
            }
        }
        claims.check("nobody lives on", alive_tasks() == 0, format_args!("{}", alive_tasks()));
        if end == End::CloseOnly {
            return (claims, HashSet::new());
        }
        (claims, fire.into_met())
    })
}
