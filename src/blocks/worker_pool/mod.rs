//! A priority worker pool with one cap, graded backpressure and an exact ledger.
//!
//! A [`WorkerPool`] runs futures on a fixed number of seats, in order of class, behind one bounded
//! queue. It says no at once and why, instead of growing; it tells every submitter how its task
//! ended; and at shutdown it accounts for every one.
//!
//! Use it where work costs something scarce (a remote call, a connection, a core) and arrives
//! faster than it can be done. To run everything at once without a bound, `tokio::spawn` is
//! simpler. Work that blocks a thread belongs on `tokio::task::spawn_blocking`, awaited by a
//! task here.
//!
//! # Guarantees
//!
//! - *Cap.* Never more than [`queue_capacity`](WorkerPoolConfig::queue_capacity) wait, over all
//!   classes together, and never more seats are taken than there are. Lower classes may fill
//!   only their share ([`Thresholds`]); in a full queue the newest of the lowest class gives its
//!   place to a higher one, and the newest of a tenant that holds more gives it to one that
//!   holds less.
//! - *Order.* The highest class first; a class passed over
//!   [`starvation_bound`](WorkerPoolConfig::starvation_bound) times in a row gets the next turn.
//!   Tenants of a class take turns by seats; first in, first out inside a tenant. The task is
//!   chosen when a seat is free, never before.
//! - *Endings.* Every accepted task ends once: completed, failed (panic, timeout), cancelled,
//!   expired, evicted or returned. Its handle is told, and [`Ledger`](crate::Ledger) counts it
//!   before the handle is told. An expired or evicted task was never started.
//! - *Isolation.* A panic in a task, in its `Drop` or in the `Drop` of its result costs neither a
//!   worker nor a seat.
//! - *Shutdown.* [`WorkerPool::shutdown`] returns 100 ms after `within` at the latest, given a
//!   runtime worker that still runs.
//!
//! # What it does not do
//!
//! A task that never comes to an await point can't be stopped, by anybody; it is listed. A task
//! that submits to its own pool and awaits that runs it on its own seat if need be; but one that
//! waits for it through a third, which holds no seat, is not seen to: the deadline of what waits ends
//! that. Tasks that come from several threads at once, while nobody waits, have no order among each
//! other. Tasks need the runtime that was entered in [`WorkerPool::new`]:
//! when that ends, running tasks end cancelled and waiting ones returned.

// Invariants
//
// 1. One lock guards queue, room, seats, roster and ledger (`core.rs`, pure). Under it nothing of
//    a user's is run, woken or dropped: that is collected as errands and done after it. No other
//    lock is taken while it is held.
// 2. Whoever takes a task out of the queue under that lock owns its body: polls it, drops it,
//    and publishes its result. Nobody else touches it (`node.rs`, the only unsafe code).
// 3. An ending is booked under the lock before it is published.
// 4. After every change the core settles: expired heads leave, callers of `run` get their seats,
//    one worker is roused when a task could start, the room's head hears of a free place. So
//    nothing waits beside a free seat.
// 5. Workers hold the shared part, handles of the pool hold its owner: the last handle's drop halts
//    the pool, the last worker's end closes it. Handles of tasks hold neither.
// 6. Leased seats, tasks in slots, helpers and nested tasks keep to the same order and cap
//    (`lease.rs`, `node/slot.rs`, `help.rs`, `nested.rs`).
// 7. The clock is read when a verb first asks for it: a task without a deadline, that is ready at
//    its first poll and not timed, costs no look at all.

mod beside;
mod config;
mod core;
pub(crate) mod crew;
mod errands;
mod error;
mod handle;
mod help;
mod lease;
#[cfg(all(test, headworks_loom))]
mod loom_tests;
mod many;
mod metrics;
mod nested;
mod node;
mod pool;
mod run;
mod seats;
mod shared;
mod submit;
mod task;
#[cfg(all(test, not(headworks_loom)))]
mod tests;

pub use crate::gates::wait_queue::Thresholds;
pub use config::{Concurrency, Timing, WorkerPoolConfig};
pub use error::{Panic, TaskError};
pub use handle::TaskHandle;
pub use metrics::{DrainReport, Refusals, WorkerPoolSnapshot};
pub use pool::WorkerPool;
pub use task::{Task, TaskId};
