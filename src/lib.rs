//! Resilience building blocks for async Rust operators.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod blocks;
mod facade;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod gates;
mod ground;

pub use blocks::circuit_breaker::{self, CircuitBreaker};
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use blocks::http_transport::{
    self, Transport, TransportConfig, TransportError, TransportFactory,
};
pub use blocks::rate_limit::{self, RateLimiter, TieredRateLimiter};
pub use blocks::retry::{self, Retry};
pub use blocks::worker_pool::{self, TaskError, TaskHandle, WorkerPool, WorkerPoolConfig};
pub use facade::pipeline::{self, Intent, IntentPipeline, Phase, PhaseError, Step};
pub use gates::wait_queue::Thresholds;
pub use ground::config_error::ConfigError;
pub use ground::ending::{Ending, Ledger};
pub use ground::enforcement::Enforcement;
pub use ground::outcome::Outcome;
pub use ground::priority::Priority;
pub use ground::refused::{Reason, Refused, Scope};
