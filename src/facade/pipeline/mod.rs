//! The façade: one admission decision, typed phases, an exact ledger.
//!
//! An author writes [`Phase`]s; an [`IntentPipeline`] decides which [`Intent`]s run now, which
//! wait, which are refused and when to come back, runs them, retries them, and accounts for every
//! single one.
//!
//! # Admission
//! One decision under one lock, in this order: (1) closed, or what the key's live runs say;
//! (2) a look at the breakers of the phases and at the deadline, which takes nothing; (3) a plan
//! for a place in the queue: there is room, somebody less important is evicted, or no; (4) the
//! ingress limiter, the last step that can fail; (5) the plan is carried out. So nothing is ever
//! rolled back, and a refusal changes nothing anywhere. While admission is not
//! [enforced](PipelineConfig::enforcement) in full, what (2) and (3) ask for is counted and spared.
//!
//! Who waits to be admitted stands in a room, whose head tries. Refused for its tenant's quota, it
//! is *held* with all of its tenant: the others go on, and it tries again when its token is due or
//! one of its tenant comes back. Refused for everybody's, it stays head, for nobody could pass.
//!
//! # Keys
//! Two runs of one key never overlap. An intent whose generation and content equal a live run's
//! joins it (and raises it to the higher class and the later deadline); with other or no content
//! it is a `Conflict`; of a lower generation than the newest live one, `Stale` (also where it equals
//! one that a newer one waits behind). A newer one, or one without generation,
//! takes the place of a run that waits, whose tickets end `Superseded`, or becomes the one
//! successor of a run that is inside an attempt: its turn comes when that one ends, or would wait
//! for another attempt.
//!
//! # Gates and seats
//! Each phase has a gate: a line, a concurrency, perhaps a breaker and an egress limiter. A seat
//! polls one attempt; a free seat goes to a starvation turn, else to the highest class, else to
//! the latest phase, over all open gates. A gate whose breaker or limiter says no is closed until
//! they say they will answer otherwise: its head stays head, and that is no failure. Between
//! phases, in backoff and after [`Step::Again`] a run has no seat, keeps its place in the order,
//! and counts against the queue's cap.
//!
//! # Failure
//! A retryable error is repeated as the phase's policy and the pipeline's one budget allow; then
//! the run waits for its key's backoff and begins a new round, until its deadline. Success resets
//! the backoff. A permanent error, or a panic, ends it `Failed`. What a limiter, breaker or pool on
//! this side refused is no failure: it is waited out, and costs neither attempt nor budget. The
//! budget earns once for each run that completes.
//!
//! When a run fails for good in a later phase, by a permanent error or a panic, the phases before it
//! are undone ([`Phase::undo`]), the last one first, on the seat of the one that failed.
//!
//! A key whose runs end again and again with the same content, or a phase that says `Again` and
//! again, goes round in a reconciliation loop ([`PipelineConfig::loop_after`]): that is reported,
//! once by an event of `tracing` and in [`PipelineSnapshot::loops`], and slowed by the key's backoff.
//!
//! # What outlives the process
//! With [`checkpoints`](Builder::checkpoints) (feature `json`) an intent is on disk before its first
//! phase begins, and the output of a [`durable_phase`](Builder::durable_phase) before the next one
//! does. After a restart [`restore`](IntentPipeline::restore) accepts again what had not ended; a
//! durable phase whose output is on disk does not run again.
//!
//! # Shared work
//! [`Batched`] puts the inputs of several runs together for one call, by count, bytes and age, with a
//! result for each. `Phase::cached` (feature `cache`) keeps a phase's outputs, and lets runs share
//! an attempt.
//!
//! # While it runs
//! [`pause`](IntentPipeline::pause) stops admission and starts; seats, concurrency, capacity and
//! [ingress](IntentPipeline::ingress) quotas can be changed; [`outcomes`](IntentPipeline::outcomes) tells how every run ended, and
//! [`Ticket::progress`] where one is. Several pipelines
//! may share breakers, egress limiters, transports and a retry budget.

// Invariants
// 1. The core (`core.rs`, `progress.rs`) is pure and behind one lock; whatever it decides about
//    wakers, tickets and values of the user's happens after the unlock (`delivery.rs`), and so
//    does the waking of whoever listens to a phase's breaker. Lock order: core → limiter or
//    breaker; never the other way.
// 2. A run is exactly one of queued (in one gate's line), parked, or inside an attempt; `busy`
//    is the weight of the last kind, `parked` the number of the second.
// 3. Work never waits beside an idle seat: every operation ends in `settle`, which rouses a
//    worker when the core has work and somebody rests.
// 4. accepted = the sum of all endings + live, in tickets and in runs. Each ticket is counted
//    where its ending is decided, under the lock.
// 5. Depth ≤ queue capacity + seats: what was accepted stays within the capacity, and what comes
//    back from an attempt had a seat. (What is restored had a place in a former life.)
// 6. With checkpoints: a run whose page is not written is parked, and no phase of it begins
//    (`checkpoints/mod.rs`).
// 7. Whoever waits for the end of all goes when the last ending is told, not when it is decided
//    (`telling.rs`).
// 8. A coroutine is in its run's body or with one worker, never both; only a worker polls it.

mod batch;
mod builder;
#[cfg(feature = "cache")]
mod cached;
mod chain;
mod change;
#[cfg(feature = "json")]
mod checkpoints;
#[cfg(not(feature = "json"))]
#[path = "checkpoints/none.rs"]
mod checkpoints;
mod config;
mod context;
mod control;
mod core;
mod delivery;
mod dormant;
mod drain;
mod dyn_phase;
mod gate;
mod ingress;
mod intent;
mod keys;
mod limit;
#[cfg(all(test, headworks_loom))]
mod loom_tests;
mod metrics;
mod outcomes;
mod phase;
#[allow(clippy::module_inception, reason = "the file is named for the noun in it")]
mod pipeline;
mod progress;
mod run;
mod seat;
#[cfg(feature = "tower")]
mod service;
mod shared;
mod stage;
mod submit;
mod telling;
#[cfg(all(test, not(headworks_loom)))]
mod tests;
mod ticket;
mod trace;

pub use crate::ground::metrics::{Metric, MetricValue};
pub use batch::{BatchConfig, BatchPhase, Batched};
pub use builder::Builder;
pub use chain::{Chain, Start, Then};
#[cfg(all(feature = "json", fuzzing))]
pub(crate) use checkpoints::claims;
#[cfg(feature = "json")]
#[cfg_attr(docsrs, doc(cfg(feature = "json")))]
pub use checkpoints::{
    CheckpointError, Checkpoints, CheckpointsSnapshot, FileCheckpoints, FileCheckpointsConfig,
    Loaded, MemoryCheckpoints, NotPersisted, RestoreError, Restored, Resumed, SetAside,
};
pub use config::{PhaseConfig, PipelineConfig};
pub use context::PhaseContext;
pub use drain::{DrainReport, Returned};
pub use dyn_phase::DynPhase;
pub use ingress::Ingress;
pub use intent::Intent;
pub use metrics::{PhaseSnapshot, PipelineSnapshot};
pub use outcomes::{Outcome, Outcomes};
pub use phase::{Phase, PhaseError, PhaseFn, Step, phase_fn};
pub use pipeline::IntentPipeline;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use service::{Completion, ServiceError};
pub use stage::{Progress, Stage};
pub use ticket::{Done, Ended, Failure, Ticket};
pub use trace::{PhaseTrace, PhaseTraces, Trace};
