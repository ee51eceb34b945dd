//! Phases that take many inputs at once. What [`Batched`] does stands there.

// Invariants
// 1. An input is in line or in one batch. Whoever is dropped in line, or in a batch that nobody has
//    begun to drive, takes its input along; after that its result is dropped.
// 2. There is no task: a batch is driven by those who wait for it (`ground/joint.rs`) and dropped
//    with the last of them. Ages are watched by timers of those in line, each its own.
// 3. In line are at most `max_waiting`; what is in batches waits at seats of the pipeline.
// 4. Inputs, results and wakers leave the lock before they are dropped or woken.

mod batched;
mod config;
mod core;
mod send;
#[cfg(all(test, not(headworks_loom)))]
mod tests;

pub use batched::{BatchPhase, Batched};
pub use config::BatchConfig;
