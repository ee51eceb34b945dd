//! Floor 2: the blocks, each usable alone.

pub mod worker_pool;
