//! A priority worker pool with one cap, graded backpressure and an exact ledger.

mod config;
mod core;
pub(crate) mod crew;
mod errands;
mod error;
mod handle;
mod metrics;
mod node;
mod pool;
mod quiet;
mod run;
mod seats;
mod shared;
mod stop;
mod submit;
mod task;

pub use crate::gates::wait_queue::Thresholds;
pub use config::{Concurrency, WorkerPoolConfig};
pub use error::{Panic, TaskError};
pub use handle::TaskHandle;
pub use metrics::{DrainReport, Refusals, WorkerPoolSnapshot};
pub use pool::WorkerPool;
pub use task::{Task, TaskId};
