//! Intents over HTTP (feature `ingest`): an [`HttpIntake`] takes bodies, has the operator's
//! [`Decode`](super::Decode) make intents of them, and tells what became of each.
//!
//! | request | answer |
//! |---|---|
//! | `POST /intent` | 202 and a ticket, once the intent is on disk (at once where nothing is kept); of several documents in one body, a list |
//! | `GET /intent/{id}` | where its run is, or what it came to |
//! | `GET /intent/{id}/events` | its phases, as server-sent events: `queued`, `phase`, `ended` |
//! | `GET /healthz` | 200 while it answers |
//! | `GET /readyz` | 200, or 503 while the pipeline is paused, closed or nearly full, or the intake closed |
//!
//! A ticket that has ended can be read for [`ended_for`](HttpIntakeConfig::ended_for), 1 h, unless
//! [`ended_tickets`](HttpIntakeConfig::ended_tickets), 10,000, ended after it. They are in memory: after
//! a restart the pipeline has the intents (with checkpoints), and nobody the tickets, nor the idempotency
//! keys below.
//!
//! `Idempotency-Key` (1 to 255 visible ASCII characters) makes a `POST` safe to repeat: among a
//! tenant's requests the same key with the same body has the same tickets, with
//! `Idempotency-Replayed: true`; with another body it is 422, while the first is being worked on 409.
//! A request of which nothing was accepted, or nothing could be kept on disk, is not remembered.
//!
//! # What goes wrong
//! Everything that is refused is a problem document (RFC 9457, `application/problem+json`) with the type
//! `urn:headworks:intake:…`, and with `Retry-After` where coming back makes sense:
//!
//! | status | types |
//! |---|---|
//! | 400 | `bad-request` |
//! | 401, 403 | `unauthorized`; `forbidden`, `foreign-origin` |
//! | 404, 405 | `not-found`, `unknown-ticket`; `method-not-allowed` |
//! | 408 | `header-timeout`, `body-timeout` |
//! | 409 | `conflict`, `stale`, `idempotency-key-in-use` |
//! | 413 | `body-too-large`, `too-large` |
//! | 422 | `rejected` (with the decoder's `pointer` and rule), `not-an-intent`, `no-document`, `too-many-documents`, `idempotency-key-reused` |
//! | 429 | `too-many-requests` (of a client), `rate-limited` (by the pipeline) |
//! | 431 | `head-too-large` |
//! | 500 | `internal-error`: the operator's code panicked |
//! | 503 | `queue-full`, `circuit-open`, `deadline-infeasible`, `paused`, `closed`, `not-persisted`, `busy`, `not-ready` |
//!
//! Where a request is no HTTP at all the library that reads it answers, with a bare 400 or 414, and with
//! a bare 431 where its head is far too long.
//! Of several documents in one body each has its own answer; the whole is 202 if any was accepted.
//!
//! # Layers
//! Outermost first: metrics and a cache of answers that won't change; the limit of a body; the log,
//! one event of `tracing` for each answer that is not out of the cache, and nothing in it of bodies,
//! header fields or queries;
//! security headers; CORS; the [rate limit](crate::rate_limit::http); the [`Bearer`] token; the
//! handler. Health and readiness are answered before the rate limit. No answer is kept for others:
//! the cache knows who asked.
//!
//! # Event streams
//! A client that reads slowly holds up nobody and nothing is kept for it: it is told where the run is
//! when it takes the next event, and a client that takes nothing for
//! [`write_timeout`](HttpIntakeConfig::write_timeout) is cut off. A stream begins with where the run
//! is, so a client that comes back has missed nothing but attempts; `ended` has them all.
//!
//! # Not for
//! TLS, HTTP/2, a share of the connections (and of the event streams) for each client, and whatever else a
//! proxy or a server of yours does: mount [`HttpIntake::service`] there. Media types are the decoder's
//! matter: what it does not read it rejects (422, never 415). Nothing of the libraries behind this shows, but `http` and
//! `http_body`. (No web framework is behind it: five paths are a `match`, and axum would bring six
//! crates more; of tower-http it takes CORS and the setting of headers, two crates.)

// Invariants
// 1. `core.rs` is pure: paths, keys, tickets and times are arguments. One lock each for tickets and
//    keys, never both; what they forget is dropped after the unlock.
// 2. From an idempotency key's `begin` to its `keep` or `release` nothing is awaited, and `release` is
//    a `Drop`: no key stays in use.
// 3. What was submitted is in the table before anything is awaited again: whoever goes away loses the
//    answer, not the ticket.
// 4. A ticket's task sets `saved` before `ended`, and `ended` before the table counts it as ended:
//    who finds it ended finds what it came to.
// 5. Every task is in `State::servers` or `State::keepers`, and ends with `State::cut`.
// 6. Memory: `connections` × (a head, and what `bodies_bytes` allows for all together),
//    `live_tickets` + `ended_tickets` tickets, `idempotency_keys` documents, 4,096 cached answers.

mod backend;
mod bearer;
mod body;
#[cfg(all(any(test, fuzzing), not(headworks_loom)))]
pub(crate) mod claims;
mod config;
mod core;
mod error;
mod events;
mod handler;
mod intake;
mod layers;
mod metrics;
mod paced;
mod problem;
mod server;
mod service;
mod state;
#[cfg(all(test, not(headworks_loom)))]
mod tests;
mod ticket;

pub use bearer::{Bearer, Caller, Denied, StaticTokens};
pub use body::IntakeBody;
pub use config::{Bind, HttpIntakeConfig};
pub use error::HttpIntakeError;
pub use intake::{HttpIntake, HttpIntakeBuilder, HttpIntakeReport};
pub use metrics::{HttpIntakeSnapshot, RouteSnapshot};
pub use service::{HttpIntakeService, IntakeFuture};
