//! Values by key, loaded once for all who want them.
//!
//! A [`Cache`] keeps values within a weight, for a time, and shares loads: while one is under way,
//! whoever wants its key waits for it. A load has no task of its own. Those who wait drive it, so it
//! goes on when the one who brought it is cancelled, and ends with the last of them.
//!
//! Values expire by age ([`CacheConfig::ttl`], with jitter) and by idling ([`CacheConfig::idle`]);
//! stale ones may be given out while they are renewed ([`CacheConfig::stale_for`]); errors may be
//! remembered for a shorter time ([`CacheBuilder::negative`]). What has expired makes room when
//! somebody looks at it, or when it is evicted; until then it counts.
//!
//! Behind it there may be a second tier ([`SecondTier`]: Redis, say), which no load fails by;
//! `PackedBytes` (feature `compression`) are compressed above a size, here and there.
//!
//! It is not for what must not be lost (it keeps nothing that it can't evict), nor for what must be
//! the newest (several processes each have their own).
//!
//! The table is quick_cache's (S3-FIFO with a CLOCK; Yang and others, "FIFO queues are all you need
//! for cache eviction", 2023). Expiry, sharing and renewal are ours: a hit costs it 107 instructions,
//! of which the entry's own times are 11; moka, which brings expiry, takes 1,072 for the same
//! (callgrind, 10,000 keys, all there).

// Invariants
// 1. A key has at most one load that is kept (`table.rs`, `flights`). One that was begun before a
//    `set` or `remove` of its key is not kept.
// 2. A load that is kept puts its value in before it leaves the flights, under their lock; who finds
//    no flight looks at the entries again under that lock. So no load begins beside a value that has
//    just come.
// 3. A flight is in the table as long as somebody waits for it: joining and leaving happen under
//    that lock (`flight.rs`). How those who wait share a load is `ground/joint.rs`.
// 4. Lock order: flights → a part of the entries, or a joint. Values, errors, futures and wakers of
//    the user's leave all of them before they are dropped or called; of keys `Hash` and `Eq` run
//    under locks.
// 5. Loads begun = loaded + failed + abandoned + loading.
// 6. Tasks there are only for renewals, at most `revalidations`; the last handle's drop aborts them.

mod builder;
#[allow(clippy::module_inception, reason = "the file is named for the noun in it")]
mod cache;
mod config;
mod core;
mod entry;
mod error;
mod flight;
mod lead;
mod memory_tier;
mod metrics;
#[cfg(feature = "compression")]
mod packed;
mod renewals;
mod table;
#[cfg(all(test, not(headworks_loom)))]
mod tests;
mod tier;

pub use builder::CacheBuilder;
pub use cache::Cache;
pub use config::CacheConfig;
pub use error::LoadError;
pub use lead::{Lead, Lookup};
pub use memory_tier::MemoryTier;
pub use metrics::CacheSnapshot;
#[cfg(feature = "compression")]
#[cfg_attr(docsrs, doc(cfg(feature = "compression")))]
pub use packed::{PackedBytes, UnpackError};
pub use tier::{Codec, SecondTier, SecondTierConfig, Stored, TierError};

pub use crate::ground::metrics::{Metric, MetricValue};
