//! The transport against servers that do what they like, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod allocations;
mod cancel;
mod caps;
mod errors;
mod requests;
mod reuse;
mod server;
mod timeouts;
#[cfg(feature = "tls")]
mod tls;
