//! The handle.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::builder::Builder;
use super::chain::Start;
use super::config::PipelineConfig;
use super::drain::DrainReport;
use super::ingress::Ingress;
use super::intent::Intent;
use super::metrics::PipelineSnapshot;
use super::outcomes::Outcomes;
use super::shared::Shared;
use super::submit;
use super::ticket::Ticket;
use crate::ground::quiet::drop_quietly;
use crate::{ConfigError, Refused};

/// Admits intents by one decision, runs them through typed phases, and accounts for every one.
///
/// Cheap to clone. When the last clone is dropped without a [`shutdown`](Self::shutdown), what
/// waits ends `Returned`, what runs is dropped at its next await point and ends `Cancelled` (a
/// critical attempt goes on to its end), and the pipeline's tasks leave. (What waits in a
/// [`WorkerPool`](crate::WorkerPool) then ends `Cancelled`: nobody is left to take it back, where a
/// ticket gives its intent back.)
///
/// ```
/// use headworks::pipeline::{phase_fn, Intent, IntentPipeline, PhaseConfig, PipelineConfig};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let measure = phase_fn(|text: &String, _| {
///     let length = text.len();
///     async move { Ok(length) }
/// });
/// let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
///     .phase("measure", PhaseConfig::local(), measure)
///     .build()?;
/// let ticket = pipeline.try_submit(Intent::new("default/web", "five!".to_owned()))?;
/// assert_eq!(*ticket.await?.output, 5);
/// let report = pipeline.shutdown(Duration::from_secs(1)).await;
/// assert!(report.ledger.is_exact());
/// # Ok(())
/// # }
/// ```
pub struct IntentPipeline<P: Send + Sync + 'static, O: Send + Sync + 'static> {
    owner: Arc<Owner<P, O>>,
}

/// Ends the pipeline when the last handle is gone.
struct Owner<P: Send + Sync + 'static, O: Send + Sync + 'static>(Arc<Shared<P, O>>);

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Drop for Owner<P, O> {
    fn drop(&mut self) {
        // A shutdown that was dropped collects no more: the tickets get what comes back.
        let collected = self.0.returned.lock().take();
        self.0.close();
        self.0.cut();
        self.0.abandon();
        drop_quietly(collected);
    }
}

impl IntentPipeline<(), ()> {
    /// Begins a pipeline for intents with this payload.
    ///
    /// (It is found as `IntentPipeline::builder::<P>(…)`: the output comes from the phases.)
    pub fn builder<P: Send + Sync + 'static>(config: PipelineConfig) -> Builder<P, Start> {
        Builder::new(config)
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> IntentPipeline<P, O> {
    pub(super) fn new(shared: Arc<Shared<P, O>>) -> Self {
        Self { owner: Arc::new(Owner(shared)) }
    }

    /// Admits the intent now, or says why not and gives it back.
    ///
    /// All or nothing, over: closed, the key's other versions, the breakers of the phases, the
    /// deadline, a place in the queue, and the ingress limiter, in this order. A refusal leaves
    /// every one of them as it was.
    ///
    /// # Errors
    /// [`Refused`] with the [`Reason`](crate::Reason) and, where one is known, a time to come
    /// back. `QueueFull` also while a [`submit`](Self::submit) of its class or above waits for its
    /// turn, `RateLimited` while one of its tenant waits for that one's next token: nobody overtakes
    /// who waits.
    ///
    /// # Cost
    /// One lock; O(phases) and the key's look-up. Two small allocations when admitted.
    pub fn try_submit(&self, intent: Intent<P>) -> Result<Ticket<P, O>, Refused<Intent<P>>> {
        self.shared().try_submit(intent)
    }

    /// Waits for a queue place and an ingress token (with checkpoints: then until the intent is on
    /// disk), holding neither, in order of priority, in a
    /// room as large as the queue. Who waits only because its own tenant's ingress quota is spent
    /// keeps its place and holds up nobody but its tenant, until a token of that is due or comes
    /// back. (Of more than 1,024 tenants that wait in a class, some share their turns and are held
    /// together.)
    ///
    /// # Errors
    /// What no waiting mends is refused at once: `Conflict`, `Stale`, `TooLarge`, `CircuitOpen`,
    /// `DeadlineInfeasible`, `Paused`, `Closed`; and, in a pipeline with checkpoints, `NotPersisted`,
    /// of which the ledger says that it was accepted and `Failed` (where it had joined a run, the intent
    /// that comes back is that run's, its equal). While it waits: `Evicted` by something more
    /// important, `Expired` at its deadline, `Closed`. `QueueFull` when even the room is full.
    ///
    /// # Panics
    /// If it has to wait, for its deadline or for the ingress limiter, outside of a tokio runtime
    /// whose timer is enabled. (The pipeline itself runs on the one it was built in.)
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing was accepted and the intent is dropped. (With checkpoints
    /// it may be on its way to the disk by then: that is cancelled.) It takes its
    /// turn when it is polled: one that is kept and not polled keeps those of its class and below,
    /// or those of its tenant, waiting behind it.
    pub async fn submit(&self, intent: Intent<P>) -> Result<Ticket<P, O>, Refused<Intent<P>>> {
        submit::submit(self.shared(), intent).await
    }

    /// What becomes of every run from now on, for who writes status back; so many may wait unread.
    /// The capacity is 1,048,576 at most. Nobody's listening slows the pipeline: what finds it full
    /// is counted, and not kept.
    ///
    /// # Cost
    /// Each listener costs every ending a clone of its [`Outcome`](super::Outcome).
    pub fn outcomes(&self, capacity: NonZeroUsize) -> Outcomes<O> {
        self.shared().outlets.listen(capacity)
    }

    /// Accepts and starts nothing until [`resume`](Self::resume). Attempts that run go on to their
    /// end; deadlines and backoffs go on passing. New intents are refused as
    /// [`Paused`](crate::Reason::Paused); who waits in [`submit`](Self::submit)'s room goes on
    /// waiting. A shutdown of a paused pipeline returns what waits when its time is up.
    pub fn pause(&self) {
        self.shared().pause(true);
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.shared().pause(false);
    }

    /// Other numbers of seats, from the next attempt on: as many as the pipeline was built with at
    /// most.
    ///
    /// # Errors
    /// Too many, none, or too few for the weight of a live run; nothing changes then.
    ///
    /// # Cost
    /// A walk over everything live, under the lock.
    pub fn set_seats(&self, seats: usize) -> Result<(), ConfigError> {
        self.shared().set_seats(seats)
    }

    /// Another [`concurrency`](super::PhaseConfig::concurrency) of this phase, from its next attempt
    /// on.
    ///
    /// # Errors
    /// There is no such phase, or it is too narrow for the weight of a live run; nothing changes
    /// then.
    ///
    /// # Cost
    /// A walk over everything live, under the lock.
    pub fn set_concurrency(&self, phase: &str, concurrency: usize) -> Result<(), ConfigError> {
        self.shared().set_concurrency(phase, concurrency)
    }

    /// Another [`queue_capacity`](super::PipelineConfig::queue_capacity), for the waiting room too,
    /// from the next admission on. Nobody who waits loses the place.
    ///
    /// # Errors
    /// What a configuration may not say either.
    pub fn set_queue_capacity(&self, capacity: usize) -> Result<(), ConfigError> {
        self.shared().set_queue_capacity(capacity)
    }

    /// Its ingress limiter, whose quotas can be changed; `None` where it was built without one.
    #[must_use]
    pub fn ingress(&self) -> Option<Ingress<'_, P, O>> {
        Ingress::of(self.shared())
    }

    /// The pipeline at this moment.
    ///
    /// # Cost
    /// One lock, held for a walk over everything live.
    pub fn snapshot(&self) -> PipelineSnapshot {
        self.shared().snapshot()
    }

    /// Accepts nothing more; what was accepted goes on. Those who wait in the room are refused.
    pub fn close(&self) {
        self.shared().close();
    }

    /// Closes, lets everything accepted end, and reports, after `within` + 100 ms at the latest.
    ///
    /// Where there are critical phases, the last part of `within` (their grace, at most half) is
    /// theirs alone. When the time of the others is up, whatever waits is returned by value and
    /// what runs is dropped at its next await point, `Cancelled`; critical attempts that outlive
    /// their grace end indeterminate and are listed by key. What does not yield even then, and what
    /// undoes, is listed as unresponsive. Of several shutdowns at once one reports what came back.
    ///
    /// With checkpoints, what did not complete or fail stays on disk, for the next process, though it
    /// is returned as well; and every page is written by then, if the store keeps up.
    ///
    /// # Cancel safety
    /// Dropped, the pipeline stays closed; call it again. What came back is in the next report.
    pub async fn shutdown(&self, within: Duration) -> DrainReport<P> {
        self.shared().shutdown(within).await
    }

    pub(super) fn shared(&self) -> &Arc<Shared<P, O>> {
        &self.owner.0
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Clone for IntentPipeline<P, O> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner) }
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> fmt::Debug for IntentPipeline<P, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntentPipeline").field("name", &self.shared().name).finish_non_exhaustive()
    }
}
