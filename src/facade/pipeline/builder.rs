//! Putting phases together.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::chain::{AttemptRules, Chain, Fleeting, Start, Then};
use super::checkpoints::{self, Keeper};
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
    pub(super) phases: Vec<(&'static str, PhaseConfig)>,
    chain: C,
    /// Which phases are durable, by place.
    pub(super) durable: Vec<usize>,
    pub(super) keeper: Option<Keeper<P>>,
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
            durable: Vec::new(),
            keeper: None,
            budget: None,
            rng: Rng::from_entropy(),
            payload: PhantomData,
        }
    }
}

impl<P: Send + Sync + 'static, C: Chain<P>> Builder<P, C> {
    /// The next phase: its input is what the one before makes, first of all the payload.
    pub fn phase<X: Phase<C::Out>>(
        self,
        name: &'static str,
        config: PhaseConfig,
        phase: X,
    ) -> Builder<P, Then<C, X>> {
        self.then(name, config, phase, Fleeting)
    }

    pub(super) fn then<X: Phase<C::Out>, K>(
        mut self,
        name: &'static str,
        config: PhaseConfig,
        phase: X,
        keeps: K,
    ) -> Builder<P, Then<C, X, K>> {
        let place = self.phases.len();
        let rules = AttemptRules { name, place, limit: config.limit(), critical: config.critical };
        self.phases.push((name, config));
        Builder {
            config: self.config,
            phases: self.phases,
            chain: Then { before: self.chain, phase, rules, keeps },
            durable: self.durable,
            keeper: self.keeper,
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
        let Self { config, phases, chain, durable, keeper, budget, rng, .. } = self;
        config.check()?;
        ConfigError::unless(!phases.is_empty(), "pipeline.phases", 0, "at least 1")?;
        for (position, (name, phase)) in phases.iter().enumerate() {
            phase.check().map_err(|error| error.of(name))?;
            let is_first = phases.iter().position(|(other, _)| other == name) == Some(position);
            let shown = format_args!("{name:?}");
            let allowed = "another one in each phase";
            ConfigError::unless(is_first, "pipeline.phase.name", shown, allowed)?;
        }
        let is_kept = keeper.is_some() || durable.is_empty();
        let allowed = "set where a phase is durable";
        ConfigError::unless(is_kept, "pipeline.checkpoints", "none", allowed)?;
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
        let mut gates: Vec<_> = phases.iter().map(gate).collect();
        durable.iter().for_each(|place| gates[*place].durable = true);
        let mut core = Core::new(limits, gates, budget, rng);
        core.pages = checkpoints::pages(keeper.as_ref());
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
            keeper,
        });
        // At most 2^16, checked.
        Crew::start(&shared, config.seats as u32, &runtime);
        runtime.spawn(seat::keep_time(Crew::enlist(&shared)));
        checkpoints::start(&shared, &runtime);
        Ok(IntentPipeline::new(shared))
    }
}
