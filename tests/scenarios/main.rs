//! The worst days of a worker pool, simulated: overload and fault scenarios, each with the control
//! that fails it.
//!
//! Every scenario runs on paused time in one thread and replays from one number; only the shutdown
//! under fire runs on real threads as well. Arrivals do not wait for answers; latency counts from
//! the instant an arrival was meant for. In every run the ledger is compared with what each
//! submitter's handle heard, and the queue with its limit. The *control* is the same load with the
//! protection switched off: it must break the claims that the
//! scenario stands for, or they would prove nothing.
//!
//! | variable | |
//! |---|---|
//! | `HEADWORKS_SEEDS=1000` | the long run: so many seeds of each, at full size (default: a few, scaled where the scenario says so) |
//! | `HEADWORKS_SEED=17` | this one only, at full size |
//!
//! A failure names its seed. The long run wants `--release` or patience:
//! `HEADWORKS_SEEDS=1000 cargo test --features test-util --test scenarios`, and
//! `HEADWORKS_SEEDS=10000 cargo test --features test-util --test scenarios shutdown`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and brings its own clock"
)]

mod harness;

mod cancel_storm;
mod elephants;
mod inversion;
mod panics;
mod shutdown_under_fire;
mod starvation;
mod step_overload;
