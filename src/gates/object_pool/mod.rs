//! Values kept for the next who needs one: [`ObjectPool`] for any type, [`BytesPool`] for buffers.
//!
//! A value that comes back lies with the thread that gave it back, in one of two *magazines* that
//! are its own; whole magazines are exchanged over a shared depot, under one lock (J. Bonwick and J.
//! Adams, "Magazines and Vmem", USENIX 2001). So to take a value and give it back costs about as
//! much as a thread-local stack would, also where one thread takes and another gives back.
//!
//! # When it pays, and when not
//!
//! A pool wins where making a value costs more than some 15 ns: buffers from about 1 KiB that must
//! be zeroed, anything that has grown to its size, handles of libraries. The allocator's own
//! caches beat it for small plain values, and for large ones that need not be initialised as long
//! as one thread makes and drops them; between threads the pool wins again.
//!
//! # Guarantees
//!
//! - Who has a [`Pooled`] has the value, and nobody else: it comes back by being moved out of its
//!   guard, so it can't be given out again while anything borrows from it.
//! - At most [`max_idle`](ObjectPoolConfig::max_idle) values are idle, with all threads together.
//! - Steady use allocates nothing.
//! - `create`, `reset`, `validate` and the drop of a value may use the same pool, and may panic: the
//!   counts stay exact. A value whose `reset` panicked, or that comes back while its thread panics,
//!   is dropped.
//! - A pool that is used shrinks to its [`floor`](ObjectPoolConfig::floor) by itself: what nobody
//!   needed for an epoch is dropped in the next, a magazine at a time, by whoever gives values back.
//!
//! # What it does not do
//!
//! - Nobody waits: if no value is idle, one is made. To bound how many there are, take a
//!   [`PrioritySemaphore`](crate::PrioritySemaphore) before it.
//! - It has no task and no timer. A pool that nobody touches keeps what it has until somebody does,
//!   or calls [`trim`](ObjectPool::trim). That reaches all of the depot, but of what lies with
//!   threads only the caller's own: with each thread that does not come back to the pool two
//!   magazines stay, of at most 32 values each, until the pool is dropped or a new thread gets its
//!   place. They count towards `max_idle`.
//! - Up to 64 threads of a process at a time keep values at hand: those that came to any block of
//!   this crate first. The others share one place behind a lock: slower, not wrong.

// Invariants
// 1. *User code* (create, reset, validate, the drop of a value) runs in `pool.rs` and `pooled.rs`
//    only, where nothing is locked and nothing borrowed. `Stock` and all below it move values and
//    never look at them. So any of it may come back into the pool.
// 2. *Where a value is.* In exactly one of: a guard, a part of a slot, the depot, a magazine that is
//    under way between those, the hands of whoever drops it. It is moved, never copied.
// 3. *Bound.* At most `Limits::magazines` magazines exist, counted under the depot's lock before one
//    is made. Parts begin without any, and exchange one for one but for the first two. Idle values
//    lie in magazines, so there are never more than those hold.
// 4. *Locks*: one, the depot's. Under it, magazines are moved in and out of parts (`slots.rs`, 2),
//    and nothing is allocated: its lists have room for all magazines from the start.
// 5. Victims are the oldest values of the depot; whoever takes values takes the newest, and makes
//    them fewer (`Depot::needed`). So a trim never takes what somebody needed in the last epoch.

mod bytes;
mod config;
mod depot;
#[cfg(all(test, headworks_loom))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod loom_tests;
mod magazine;
mod metrics;
mod places;
mod pool;
mod pooled;
mod slots;
mod stock;
#[cfg(all(test, not(headworks_loom)))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;

pub use bytes::{BytesPool, BytesPoolConfig, PooledBuf};
pub use config::ObjectPoolConfig;
pub use metrics::ObjectPoolSnapshot;
pub use pool::ObjectPool;
pub use pooled::{OwnedPooled, Pooled};

pub use crate::ground::metrics::{Metric, MetricValue};
