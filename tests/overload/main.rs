//! The worst days of what stands before a backend: limiter, breaker, retry, hedge; each scenario
//! with the control that fails it.
//!
//! Every scenario runs on paused time in one thread and replays from one number. The *control* is
//! the same load with the protection switched off: it must break the claims that the scenario
//! stands for, or they would prove nothing.
//!
//! | variable | |
//! |---|---|
//! | `HEADWORKS_SEEDS=1000` | the long run: so many seeds of each (default: a few) |
//! | `HEADWORKS_SEED=17` | this one only |
//!
//! A failure names its seed:
//! `HEADWORKS_SEEDS=1000 cargo test --features test-util --test overload`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and brings its own clock"
)]

#[path = "../scenarios/harness/mod.rs"]
#[allow(dead_code, reason = "shared with the scenarios of the worker pool")]
mod harness;

mod brown_out;
mod cardinality;
mod circuit_breaker_ops;
mod circuit_breaker_seeds;
mod clock;
#[cfg(feature = "tower")]
mod forged_clients;
mod hedging;
mod hot_key;
mod in_flight;
mod probe_stampede;
mod rate_limit_ops;
mod rate_limit_seeds;
mod retry_storm;
mod retry_wave;
mod windows;
