//! Floor 0: what every room stands on. Words (priority, ending, refusal), time and chance as
//! arguments, and the primitives that loom can model.

#[cfg(all(test, not(headworks_loom)))]
pub(crate) mod cases;
pub(crate) mod config_error;
pub(crate) mod deadlines;
pub(crate) mod ending;
pub(crate) mod enforcement;
pub(crate) mod exponential;
pub(crate) mod handoff;
pub(crate) mod joint;
pub(crate) mod list;
#[cfg(all(test, headworks_loom))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(crate) mod loom_tests;
pub(crate) mod metrics;
#[cfg(feature = "tower")]
pub(crate) mod network;
#[cfg(any(feature = "http", test))]
pub(crate) mod orders;
pub(crate) mod outcome;
pub(crate) mod primitives;
pub(crate) mod priority;
pub(crate) mod quiet;
pub(crate) mod refused;
#[cfg(feature = "tower")]
pub(crate) mod retry_after;
pub(crate) mod rng;
pub(crate) mod slab;
pub(crate) mod stripe;
pub(crate) mod tally;
pub(crate) mod tenant;
#[cfg(all(test, not(headworks_loom)))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
pub(crate) mod thread_number;
pub(crate) mod time;
