//! Object pools as their users see them: random operations, and what they allocate.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod allocations;
mod ops;
mod ops_seeds;
mod panics;
mod secrets;
