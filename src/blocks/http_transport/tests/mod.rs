//! The core by tables and against a naive model, with explicit time.

mod addresses;
mod ceiling;
mod config;
mod model;
mod muxed;
mod pieces;
mod proxies;
mod smuggling;
mod table;
