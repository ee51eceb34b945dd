//! Floor 1: who waits, in which order, and who is shown the door.

pub mod object_pool;
pub mod semaphore;
pub(crate) mod wait_queue;
