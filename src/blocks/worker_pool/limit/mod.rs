//! How many seats a pool has, where that is not fixed. Pure: samples and times in, a limit out.
//!
//! `Autoscaler` looks at the queue. `Tuner` looks at what tasks take and how they end: a `Window`
//! gathers them under one limit, a `Rule` says by their latency what it would like, and the tuner
//! tries that and keeps what throughput bears out. The simulation compares the rule with others.

mod autoscaler;
mod rule;
#[cfg(all(test, not(headworks_loom)))]
mod simulation;
#[cfg(all(test, not(headworks_loom)))]
mod tests;
mod tuner;
mod window;

pub(super) use autoscaler::{Autoscaler, Load};
pub(super) use rule::Vegas;
pub(super) use tuner::Tuner;
pub(super) use window::Sample;
