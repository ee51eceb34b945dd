//! Files that become intents, in real directories: scenario D20 and the disks that fail.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and brings its own clock"
)]

mod disks;
mod half_written;
mod harness;
mod permissions;
