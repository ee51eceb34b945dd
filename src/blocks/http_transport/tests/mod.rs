//! The core by tables and against a naive model, with explicit time.

mod config;
mod model;
mod muxed;
mod table;
#[cfg(feature = "tls")]
mod tls;
