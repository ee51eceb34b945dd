//! The transport against servers that do what they like, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod allocations;
mod cancel;
mod caps;
mod ceiling;
mod cold;
#[cfg(feature = "compression")]
mod compressed;
mod ends;
mod errors;
mod expect;
mod faults;
mod gates;
mod h2;
mod h2_frames;
mod lifecycle;
#[cfg(feature = "native-roots")]
mod native_roots;
mod proxies;
mod proxy;
mod request_bodies;
mod requests;
mod resets;
mod reuse;
mod safeguards;
mod server;
mod statistics;
mod storms;
mod timeouts;
#[cfg(feature = "tls")]
mod tls;
