//! The worst days of limiter, breaker and retry, simulated: overload and fault scenarios, each with
//! the control that fails it. How they are made, seeded and replayed: see `tests/scenarios/main.rs`.
//!
//! The long run: `HEADWORKS_SEEDS=1000 cargo test --features test-util --test overload`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and brings its own clock"
)]

#[path = "../scenarios/harness/mod.rs"]
#[allow(dead_code, reason = "shared with the scenarios of the worker pool")]
mod harness;

mod clock;
mod hot_key;
mod rate_limit_ops;
mod rate_limit_seeds;
