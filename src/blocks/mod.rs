//! Floor 2: the blocks, each usable alone.

#[cfg(feature = "cache")]
pub mod cache;
pub mod circuit_breaker;
#[cfg(feature = "http")]
pub mod http_transport;
pub mod rate_limit;
pub mod retry;
pub mod worker_pool;
