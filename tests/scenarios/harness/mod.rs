//! What the scenarios share: seeds, chance, arrivals, the open loop that drives a pool with them,
//! and the claims that are checked at its end.

pub(crate) mod claims;
pub(crate) mod heap;
pub(crate) mod load;
pub(crate) mod open_loop;
pub(crate) mod rng;
pub(crate) mod stats;

use std::env;
use std::future::Future;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Runs it on a thread and a clock of its own; the clock jumps whenever nobody has anything to do.
pub(crate) fn simulate<F: Future>(simulation: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(simulation)
}

fn asked(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// Whether the seeds are those of the long run.
pub(crate) fn is_long_run() -> bool {
    asked("HEADWORKS_SEED").or_else(|| asked("HEADWORKS_SEEDS")).is_some()
}

/// So many unless somebody asks for others.
pub(crate) fn seeds(unasked: u64) -> Range<u64> {
    match asked("HEADWORKS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..asked("HEADWORKS_SEEDS").unwrap_or(unasked),
    }
}

/// Runs the trial with each seed, and names the one that failed.
pub(crate) fn every_seed(unasked: u64, trial: impl Fn(u64)) {
    each(seeds(unasked), trial);
}

/// For controls: what fails without protection fails plainly, a few seeds tell.
pub(crate) fn some_seeds(trial: impl Fn(u64)) {
    each(0..if is_long_run() { 20 } else { 1 }, trial);
}

fn each(seeds: Range<u64>, trial: impl Fn(u64)) {
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| trial(seed))) {
            eprintln!("failed: HEADWORKS_SEED={seed}");
            resume_unwind(panic);
        }
    }
}
