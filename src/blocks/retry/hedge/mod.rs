//! Hedging: a second attempt for a call that takes unusually long; the first answer wins.
//!
//! After Dean and Barroso, "The Tail at Scale" (CACM 56(2), 2013), "hedged requests": the second
//! request is sent once the first has been outstanding for longer than a high quantile of what is
//! usual. Here the quantile is measured, of the last one to two thousand calls; and two things are
//! added, for the day on which everything is slow: the delay is at least some medians of the last
//! 64 calls, and hedges are earned by calls that were answered in time.
//!
//! # Invariants
//! 1. Hedges ≤ `extra_ratio` × calls answered before their delay + 3. So when all calls are slow,
//!    at most three are sent that were earned before.
//! 2. Each hedge is also paid from the [`RetryBudget`](super::RetryBudget).
//! 3. At most two attempts of one call are under way; the loser is dropped before the winner's
//!    result is returned.
//! 4. What must not be done twice is never hedged.

mod config;
mod core;
mod handle;
mod latencies;
#[cfg(feature = "tower")]
mod layer;

#[cfg(all(test, not(headworks_loom)))]
mod tests;

pub use self::config::HedgeConfig;
pub use self::handle::{Hedge, HedgeSnapshot};
#[cfg(feature = "tower")]
pub use self::layer::{HedgeLayer, Hedged};
