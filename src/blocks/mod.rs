//! Floor 2: the blocks, each usable alone.

pub mod circuit_breaker;
pub mod rate_limit;
pub mod retry;
pub mod worker_pool;
