//! What the scenarios share: seeds, chance, paused time, and the claims that are checked at the
//! end of a run.

#[allow(dead_code, reason = "shared with the scenarios of the pool, which need more of it")]
#[path = "../scenarios/harness/claims.rs"]
pub(crate) mod claims;
#[allow(dead_code, reason = "shared with the scenarios of the pool, which need more of it")]
#[path = "../scenarios/harness/rng.rs"]
pub(crate) mod rng;

use std::env;
use std::future::Future;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs it on a thread and a clock of its own; the clock jumps whenever nobody has anything to do.
pub(crate) fn simulate<F: Future>(simulation: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(simulation)
}

fn asked(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// Runs the trial with so many seeds unless somebody asks for others, and names one that failed.
pub(crate) fn every_seed(unasked: u64, trial: impl Fn(u64)) {
    each(
        match asked("HEADWORKS_SEED") {
            Some(seed) => seed..seed + 1,
            None => 0..asked("HEADWORKS_SEEDS").unwrap_or(unasked),
        },
        trial,
    );
}

/// For controls: what fails without protection fails plainly, a few seeds tell.
pub(crate) fn some_seeds(trial: impl Fn(u64)) {
    let is_long = asked("HEADWORKS_SEED").or_else(|| asked("HEADWORKS_SEEDS")).is_some();
    each(0..if is_long { 20 } else { 1 }, trial);
}

fn each(seeds: Range<u64>, trial: impl Fn(u64)) {
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| trial(seed))) {
            eprintln!("failed: HEADWORKS_SEED={seed}");
            resume_unwind(panic);
        }
    }
}
