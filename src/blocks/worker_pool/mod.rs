//! A priority worker pool with one cap, graded backpressure and an exact ledger.
//!
//! A [`WorkerPool`] runs futures on so many seats, fixed or found by itself, in order of class,
//! behind one bounded queue. It says no at once and why, instead of growing; it tells every
//! submitter how its task ended; and at shutdown it accounts for every one.
//!
//! Use it where work costs something scarce (a remote call, a connection, a core) and arrives
//! faster than it can be done. To run everything at once without a bound, `tokio::spawn` is
//! simpler. Work that blocks a thread is a task of its own kind: [`Task::blocking`].
//!
//! # What is where
//!
//! | you want | here |
//! |---|---|
//! | to hand a task in | [`try_submit`](WorkerPool::try_submit), [`submit`](WorkerPool::submit), [`try_submit_many`](WorkerPool::try_submit_many), [`try_submit_blocking`](WorkerPool::try_submit_blocking) |
//! | to run something here, in its turn | [`run`](WorkerPool::run); before a tower service: `WorkerPoolLayer` (feature `tower`) |
//! | one result; many, as they come; to be called | [`TaskHandle`]; [`Completions`]; [`Task::on_end`] |
//! | to send less before you are refused | [`pressure`](WorkerPool::pressure), [`Refused::retry_after`](crate::Refused::retry_after) |
//! | to try a limit out | [`enforcement`](WorkerPoolConfig::enforcement) |
//! | numbers, under names | [`snapshot`](WorkerPool::snapshot), [`metrics`](WorkerPoolSnapshot::metrics) |
//!
//! # Guarantees
//!
//! - *Cap.* Never more than [`queue_capacity`](WorkerPoolConfig::queue_capacity) wait, over all
//!   classes together, and never more seats are taken than there are. Lower classes may fill
//!   only their share ([`Thresholds`]); in a full queue the newest of the lowest class gives its
//!   place to a higher one, and the newest of a tenant that holds more gives it to one that
//!   holds less.
//! - *Limit.* [`Concurrency`] alone decides how many seats there are. A limit that falls stops
//!   nobody: those who run go on, and nobody starts until fewer run. A task that weighs more than
//!   the limit just now, though not more than it may become, runs when nobody else does.
//! - *Order.* The highest class first; a class passed over
//!   [`starvation_bound`](WorkerPoolConfig::starvation_bound) times in a row gets the next turn.
//!   Tenants of a class take turns by seats; first in, first out inside a tenant. The task is
//!   chosen when a seat is free, never before.
//! - *Endings.* Every accepted task ends once: completed, failed (panic, timeout), cancelled,
//!   expired, evicted or returned. Its handle is told, and [`Ledger`](crate::Ledger) counts it
//!   before the handle is told. An expired or evicted task was never started. A callback
//!   ([`Task::on_end`]) is called once, as the last part of its task, however that ends.
//! - *Spans.* While somebody listens to `tracing`, a task is polled and dropped in the span that
//!   its submitter was in.
//! - *Turns.* A worker goes on from task to task for 200 us or 128 tasks at most, then all else on
//!   its thread has a turn; a task that computes for longer is the last of its turn. No task that
//!   could run waits in the hands of a worker that does not.
//! - *Isolation.* A panic in a task, in its `Drop` or in the `Drop` of its result costs neither a
//!   worker nor a seat.
//! - *Shutdown.* [`WorkerPool::shutdown`] returns 100 ms after `within` at the latest, given a
//!   runtime worker that still runs.
//!
//! # What it does not do
//!
//! A task that never comes to an await point can't be stopped, by anybody; it is listed. A task
//! that submits to its own pool and awaits that runs it on its own seat if need be; but one that
//! waits for it through a third, which holds no seat or one of another pool, or inside a `run` on
//! another runtime, is not seen to: the deadline of what waits ends that. Tasks that run so are beside
//! the seats: one seat is no mutual exclusion among a task and those it awaits. Tasks that come from
//! several threads at once, while nobody waits, have no order among each other. Tasks need the
//! runtime that was entered in [`WorkerPool::new`]: when that ends, running tasks end cancelled and
//! waiting ones returned.

// Invariants
//
// 1. One lock guards queue, room, seats, roster and ledger (`core.rs`, pure). Under it nothing of
//    a user's is run, woken or dropped: that is collected as errands and done after it. No other
//    lock is taken while it is held.
// 2. Whoever takes a task out of the queue under that lock owns its body: polls it, drops it,
//    and publishes its result. Nobody else touches it (`node.rs`, the only unsafe code).
// 3. An ending is booked under the lock before it is published. A callback belongs to the task: of
//    one that ran, it is called before that, on its seat; of one that left the queue, after it, and
//    the pool has not ended before (`untold`).
// 4. After every change the core settles: expired heads leave, callers of `run` get their seats,
//    one worker is roused when a task could start, the room's head hears of a free place. So
//    nothing waits beside a free seat.
// 5. Workers hold the shared part, handles of the pool hold its owner: the last handle's drop halts
//    the pool, the last worker's end closes it. Handles of tasks hold neither.
// 6. Leased seats, tasks in slots, helpers and nested tasks keep to the same order and cap
//    (`lease.rs`, `node/slot.rs`, `help.rs`, `nested.rs`).
// 7. A limit that is not fixed is changed under the lock, where an end is booked or a resting worker
//    looks (`core/scaling.rs`); there are always as many workers as tasks could run.
// 8. After every verb the level of pressure is compared with the depth; a change is announced after
//    the unlock, with its number, so that the newest stays (`pressure.rs`).
// 9. The clock is read when a verb first asks for it: a task without a deadline, that is ready at
//    its first poll and not timed, costs no look at all, but for one in 32 that leave a queue in
//    which others wait (`drain.rs`), and each while something with a deadline waits (`pace.rs`). A
//    worker looks when a turn of its begins and when a task ends (`crew.rs`).

mod alarm;
mod beside;
mod blocking;
mod completions;
mod config;
mod core;
pub(crate) mod crew;
mod drain;
mod errands;
mod error;
mod handle;
mod help;
#[cfg(feature = "tower")]
mod layer;
mod lease;
mod limit;
#[cfg(all(test, headworks_loom))]
mod loom_tests;
mod many;
mod meters;
mod metrics;
mod nested;
mod node;
mod pace;
mod pool;
mod pressure;
mod run;
mod seats;
mod shared;
mod submit;
mod task;
#[cfg(all(test, not(headworks_loom)))]
mod tests;

pub use crate::gates::wait_queue::Thresholds;
pub use crate::ground::metrics::{Histogram, Metric, MetricValue};
pub use blocking::Blocking;
pub use completions::Completions;
pub use config::{Adaptive, Autoscale, Concurrency, Timing, WorkerPoolConfig};
pub use error::{Panic, TaskError};
pub use handle::TaskHandle;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use layer::{Prioritized, ServiceError, WorkerPoolLayer};
pub use metrics::{DrainReport, Refusals, WorkerPoolSnapshot};
pub use pool::WorkerPool;
pub use pressure::Pressure;
pub use task::{Task, TaskId};
