//! Resilience building blocks for async Rust operators: controllers, gateways, agents that call
//! slow and fallible backends.
//!
//! You hand an [`IntentPipeline`] *intents*; it decides in one place which of them run now, which
//! wait, which are refused and when to come back, runs them through your typed [`Phase`]s, and
//! accounts for every single one. Each block below it is usable alone:
//!
//! | you need | room |
//! |---|---|
//! | one admission decision, phases, retries, an exact ledger, checkpoints on disk | [`pipeline`] |
//! | a priority worker pool with one cap and backpressure | [`worker_pool`] |
//! | permits handed out by priority | [`semaphore`] |
//! | values and buffers used again | [`object_pool`] |
//! | a rate limit, global and per key | [`rate_limit`] |
//! | to stop calling what is down | [`circuit_breaker`] |
//! | retries that can't become a storm | [`retry`] |
//! | values by key, loaded once for all who want them | `cache` (feature `cache`) |
//! | pooled HTTP with a cap on open connections | `http_transport` (feature `http`) |
//! | intents over HTTP, with tickets to ask for | `intake::http` (feature `ingest`) |
//! | intents of JSON documents, and of a directory's files | `intake` (features `json`, `watch`) |
//!
//! Here at the root stand the words that rooms share, each room's handle, and what a first pipeline
//! is made of. All else, the configurations of the other rooms first, stands in its room.
//!
//! # Example
//! ```
//! use std::time::Duration;
//!
//! use headworks::{
//!     Intent, IntentPipeline, PhaseConfig, PhaseContext, PipelineConfig, Priority, phase_fn,
//! };
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let measure = phase_fn(|text: &String, _: &PhaseContext| {
//!         let length = text.len();
//!         async move { Ok(length) }
//!     });
//!     let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
//!         .phase("measure", PhaseConfig::local(), measure)
//!         .build()?;
//!     let intent = Intent::new("default/web", "scale web to 5".to_owned()).priority(Priority::High);
//!     let done = pipeline.try_submit(intent)?.await?;
//!     println!("{}", done.output);
//!     println!("{}", pipeline.shutdown(Duration::from_secs(5)).await.ledger);
//!     Ok(())
//! }
//! ```
//!
//! It needs tokio's runtime with its timer, as `#[tokio::main]` makes it (by hand:
//! `Builder::enable_all`, or `enable_time`); of tokio's features that example needs `macros` and
//! `rt-multi-thread`. A `WorkerPool` and a pipeline are made inside of it; an `ObjectPool`, and what
//! is named `try_…` of limiter, breaker and semaphore, need none.
//!
//! From there to settings that hold in production: the [`guide`]. What its numbers mean at three in the
//! morning: the [`runbook`]. From a stack made by hand: the [`migration`].
//!
//! # Words
//! A *deadline* is when something must be finished; a *timeout* is how long it may run. `try_x`
//! never waits, `x().await` waits in order of priority in a bounded room. `close` starts the end,
//! `shutdown(within).await` is the end, and reports. A breaker is *Closed* when calls flow, *Open*
//! when they are refused, *HalfOpen* while it probes.
//!
//! # Features
//! None by default. `full` is all of: `cache`, `compression`, `http`, `ingest`, `json`, `native-roots`,
//! `schema`, `serde`, `tls`, `tower`, `watch`. `test-util` makes every block follow tokio's paused clock; switch it on in
//! dev-dependencies only.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::disallowed_methods,
        reason = "a test fails by panicking, and brings its own clock"
    )
)]

mod blocks;
#[cfg(feature = "json")]
mod edges;
mod facade;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod gates;
mod ground;

#[cfg(feature = "cache")]
#[cfg_attr(docsrs, doc(cfg(feature = "cache")))]
pub use blocks::cache::{self, Cache};
pub use blocks::circuit_breaker::{self, CircuitBreaker};
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use blocks::http_transport::{self, Transport, TransportError, TransportFactory};
pub use blocks::rate_limit::{self, RateLimiter, TieredRateLimiter};
pub use blocks::retry::{self, Retry};
pub use blocks::worker_pool::{self, TaskError, TaskHandle, WorkerPool};
#[cfg(feature = "json")]
#[cfg_attr(docsrs, doc(cfg(feature = "json")))]
pub use edges::intake;
pub use facade::pipeline::{
    self, Intent, IntentPipeline, Phase, PhaseConfig, PhaseContext, PhaseError, PipelineConfig,
    Step, phase_fn,
};
pub use gates::object_pool::{self, BytesPool, ObjectPool};
pub use gates::semaphore::{self, PrioritySemaphore};
pub use gates::wait_queue::{CoDel, Overload, Thresholds};
pub use ground::config_error::ConfigError;
pub use ground::ending::{Ending, Ledger};
pub use ground::enforcement::Enforcement;
pub use ground::outcome::{Classify, Outcome, Verdict};
pub use ground::priority::Priority;
pub use ground::refused::{Reason, Refused, Scope};
pub use ground::time::Instant;

#[cfg(any(doc, doctest))]
#[doc = include_str!("guide.md")]
pub mod guide {}

#[cfg(any(doc, doctest))]
#[doc = include_str!("runbook.md")]
pub mod runbook {}

#[cfg(any(doc, doctest))]
#[doc = include_str!("migration.md")]
pub mod migration {}

/// The README's examples run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
