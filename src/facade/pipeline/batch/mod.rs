//! Phases that take many inputs at once.
//!
//! [`Batched`] makes a [`Phase`](super::Phase) of a [`BatchPhase`]: each run's attempt puts its input
//! in line and waits at its seat; a batch goes when there are enough of them
//! ([`BatchConfig::max_items`], [`max_bytes`](BatchConfig::max_bytes)), when one has waited for
//! [`max_age`](BatchConfig::max_age), or at once when an `Urgent` one comes. The highest class goes
//! first, and inside a class the first that came.
//!
//! Everyone has a result of its own. A batch that panics, or fails for good as a whole, is halved
//! and run again until the one that is to blame is alone; so one bad input fails nobody else, and
//! costs about twice its size's logarithm in calls.

// Invariants
// 1. An input is in line or in one batch. Whoever is dropped in line takes its input along; whoever
//    is dropped in a batch has been sent, and its result is dropped.
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
