//! Buffers by size classes.

mod buf;
mod config;
mod pool;

pub use buf::PooledBuf;
pub use config::BytesPoolConfig;
pub use pool::BytesPool;
