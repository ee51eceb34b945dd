//! A stand-in for a language model's server, on loopback: real HTTP/1.1 over real sockets with
//! keep-alive, in OpenAI style (`POST …/v1/chat/completions`) and Ollama style
//! (`POST /api/generate`), as slow and as faulty as told.
//!
//! - The answer follows fixed rules ([`rules`]) and is never a refusal.
//! - Header and body are sent when "generation" ends, after a lognormal latency.
//! - Latency and fault are a pure function of the seed, the request's content and how often that
//!   content was asked before: a run replays from one number, whatever runs beside it.
//! - Nothing outlives [`StandIn::shutdown`]: listener and connections are one set of tasks.
//!
//! At most 1,024 connections, requests of 1 MiB, and the attempts at 65,536 contents are kept.

mod attempts;
mod body;
mod config;
mod counts;
mod fate;
mod reply;
mod rules;
mod server;
mod socket;
#[cfg(test)]
mod tests;

pub(crate) use config::{FaultRates, MAX_SIGMA, StandInConfig};
pub(crate) use counts::Counts;
pub(crate) use server::{StandIn, StandInError};
