//! Putting phases together.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::chain::{AttemptRules, Chain, Start, Then};
use super::config::{PhaseConfig, PipelineConfig};
use super::core::{Core, Limits};
use super::gate::Gate;
use super::outcomes::Outlets;
use super::phase::Phase;
use super::pipeline::IntentPipeline;
use super::seat;
use super::shared::Shared;
use super::telling::Telling;
use crate::ConfigError;
use crate::blocks::worker_pool::crew::Crew;
use crate::ground::primitives::Mutex;
use crate::ground::rng::Rng;
use crate::rate_limit::TieredRateLimiter;
use crate::retry::RetryBudget;

/// Takes the phases in order; [`build`](Self::build) starts the pipeline.
#[derive(Debug)]
pub struct Builder<P, C = Start> {
    config: PipelineConfig,
    phases: Vec<(&'static str, PhaseConfig)>,
    chain: C,
    /// One that others spend too.
    budget: Option<RetryBudget>,
    rng: Rng,
    payload: PhantomData<fn(P)>,
}

impl<P: Send + Sync + 'static> Builder<P, Start> {
    pub(super) fn new(config: PipelineConfig) -> Self {
        Self {
            config,
            phases: Vec::new(),
            chain: Start,
            budget: None,
            rng: Rng::from_entropy(),
            payload: PhantomData,
        }
    }
}

impl<P: Send + Sync + 'static, C: Chain<P>> Builder<P, C> {
    /// The next phase: its input is what the one before makes, first of all the payload.
    pub fn phase<X: Phase<C::Out>>(
        mut self,
        name: &'static str,
        config: PhaseConfig,
        phase: X,
    ) -> Builder<P, Then<C, X>> {
        let rules = AttemptRules { name, limit: config.limit(), critical: config.critical };
        self.phases.push((name, config));
        Builder {
            config: self.config,
            phases: self.phases,
            chain: Then { before: self.chain, phase, rules },
            budget: self.budget,
            rng: self.rng,
            payload: PhantomData,
        }
    }

    /// A retry budget that is shared: with other pipelines, or with calls beside them. Then
    /// [`PipelineConfig::retry_budget`] is not used.
    #[must_use]
    pub fn retry_budget(self, budget: RetryBudget) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// All jitter comes from this number, so that a test can be replayed.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        Self { rng: Rng::seeded(seed), ..self }
    }

    /// Checks everything and starts the pipeline's tasks on the current tokio runtime: one per
    /// seat, and one that keeps the time.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] names the field, what it is and what it may be;
    /// [`ConfigError::NoRuntime`] outside of a tokio runtime.
    ///
    /// # Panics
    /// When that runtime was built without its timer (`enable_time`).
    pub fn build(self) -> Result<IntentPipeline<P, C::Out>, ConfigError> {
        let Self { config, phases, chain, budget, rng, .. } = self;
        config.check()?;
        ConfigError::unless(!phases.is_empty(), "pipeline.phases", 0, "at least 1")?;
        for (position, (name, phase)) in phases.iter().enumerate() {
            phase.check()?;
            let is_first = phases.iter().position(|(other, _)| other == name) == Some(position);
            let shown = format_args!("{name:?}");
            let allowed = "another one in each phase";
            ConfigError::unless(is_first, "pipeline.phase.name", shown, allowed)?;
        }
        let runtime = Handle::try_current().map_err(|_| ConfigError::NoRuntime)?;
        // Here rather than in a worker, where nobody would see it.
        drop(tokio::time::sleep(Duration::ZERO));
        let budget = match budget {
            Some(shared) => shared,
            None => RetryBudget::new(config.retry_budget.clone())?,
        };
        let ingress = config.ingress.clone().map(TieredRateLimiter::new).transpose()?;
        let rules = config.rules();
        let gate = |(name, phase): &(&'static str, PhaseConfig)| Gate::new(name, phase, rules);
        let limits = Limits::of(&config);
        let gates = phases.iter().map(gate).collect();
        let core = Core::new(limits, gates, budget, rng);
        let shared = Arc::new(Shared {
            name: config.name,
            phases: phases.iter().map(|(name, _)| *name).collect(),
            runs: Arc::new(chain),
            core: Mutex::new(core),
            ingress,
            crew: Crew::new(),
            clock: Notify::new(),
            emptied: Notify::new(),
            outlets: Outlets::new(),
            telling: Telling::new(),
            returned: Mutex::new(None),
        });
        // At most 2^16, checked.
        Crew::start(&shared, config.seats as u32, &runtime);
        runtime.spawn(seat::keep_time(Crew::enlist(&shared)));
        Ok(IntentPipeline::new(shared))
    }
}
