//! The transport against servers that do what they like, over real sockets.

mod cancel;
mod caps;
mod errors;
mod requests;
mod reuse;
mod server;
mod timeouts;
#[cfg(feature = "tls")]
mod tls;
