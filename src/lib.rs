//! Resilience building blocks for async Rust operators.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod blocks;
mod gates;
mod ground;

pub use blocks::circuit_breaker::{self, CircuitBreaker};
pub use blocks::rate_limit::{self, Quota, RateLimiter, TieredQuota, TieredRateLimiter};
pub use blocks::retry::{self, Retry};
pub use ground::config_error::ConfigError;
pub use ground::ending::{Ending, Ledger};
pub use ground::enforcement::Enforcement;
pub use ground::outcome::Outcome;
pub use ground::priority::Priority;
pub use ground::refused::{Reason, Refused, Scope};
