//! What a pipeline and its phases may be told.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::limit::Limit;
use crate::circuit_breaker::CircuitBreaker;
use crate::gates::wait_queue::{Rules, Thresholds};
use crate::rate_limit::{RateLimiter, TieredQuota};
use crate::retry::{Backoff, RetryBudgetConfig, RetryPolicy};
use crate::{ConfigError, Enforcement};

/// Everything about a pipeline that is plain data.
///
/// ```
/// use headworks::pipeline::PipelineConfig;
///
/// let config = PipelineConfig::default().with_name("orders").with_seats(16);
/// assert_eq!(config.queue_capacity, 2000);
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct PipelineConfig {
    /// Label in metrics and logs. Default: `"pipeline"`.
    pub name: Cow<'static, str>,
    /// Runs that may wait: queued, in backoff, or behind a run of the same key. Runs that have a
    /// seat come on top. `submit` has a waiting room of the same size before it. Default: 2000.
    pub queue_capacity: usize,
    /// How much of the queue each class may fill. Default: 0.80, 0.90, 0.95, 1.
    pub thresholds: Thresholds,
    /// Grants in a row that may go above a waiting class before it gets one. Default: 32.
    pub starvation_bound: u32,
    /// How much of what thresholds, their evictions, open breakers and infeasible deadlines ask for
    /// is carried out at admission. With less than `Full`, what is spared is counted in
    /// [`would_refuse`](super::PipelineSnapshot::would_refuse) and accepted. What can't be spared:
    /// the queue's capacity, with eviction for its places, the rules of keys, `TooLarge`, `Closed`,
    /// and deadlines that have passed. The ingress limiter has a setting of its own. Default:
    /// `Full`.
    pub enforcement: Enforcement,
    /// Attempts that run at once, by weight, over all phases. Default: 64: a remote wait costs no
    /// processor.
    pub seats: usize,
    /// How often tenants may submit: global, and per tenant. Default: `None`, no limit.
    pub ingress: Option<TieredQuota>,
    /// How long a key whose attempts are used up waits for its next round: doubling from the
    /// first to the most, forgotten by a success. Default: 1 s ×2 up to 60 s.
    pub key_backoff: Backoff,
    /// Keys without a live run whose backoff is remembered, and as many more whose last content
    /// is; beyond, the oldest is forgotten. Default: 10,000.
    pub remembered_keys: usize,
    /// Runs of a key that ended in a row with the same content, or `Again`s of one phase in a row,
    /// that make a reconciliation loop: it is reported, and slowed by the key's backoff. A pause
    /// of more than twice the longest backoff breaks the row, however long the runs themselves take. `None`: nobody looks. Default: 10.
    pub loop_after: Option<NonZeroU32>,
    /// Retries that the whole pipeline may spend. A success here is a run that completed: it earns
    /// once, however many phases it has. Default: 0.2 of the successes and 3 per second.
    pub retry_budget: RetryBudgetConfig,
    /// How long a critical attempt is waited for beyond its timeout, deadline or cancel, before
    /// the intent ends indeterminate. Default: 10 s.
    pub critical_grace: Duration,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("pipeline"),
            queue_capacity: 2000,
            thresholds: Thresholds::default(),
            starvation_bound: Rules::STARVATION_BOUND,
            enforcement: Enforcement::Full,
            seats: 64,
            ingress: None,
            key_backoff: Backoff {
                first: Duration::from_secs(1),
                factor: 2.0,
                most: Duration::from_secs(60),
            },
            remembered_keys: 10_000,
            loop_after: NonZeroU32::new(10),
            retry_budget: RetryBudgetConfig::default(),
            critical_grace: Duration::from_secs(10),
        }
    }
}

impl PipelineConfig {
    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(self, name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Sets [`queue_capacity`](Self::queue_capacity).
    #[must_use]
    pub fn with_queue_capacity(self, queue_capacity: usize) -> Self {
        Self { queue_capacity, ..self }
    }

    /// Sets [`thresholds`](Self::thresholds).
    #[must_use]
    pub fn with_thresholds(self, thresholds: Thresholds) -> Self {
        Self { thresholds, ..self }
    }

    /// Sets [`starvation_bound`](Self::starvation_bound).
    #[must_use]
    pub fn with_starvation_bound(self, starvation_bound: u32) -> Self {
        Self { starvation_bound, ..self }
    }

    /// Sets [`enforcement`](Self::enforcement).
    #[must_use]
    pub fn with_enforcement(self, enforcement: Enforcement) -> Self {
        Self { enforcement, ..self }
    }

    /// Sets [`seats`](Self::seats).
    #[must_use]
    pub fn with_seats(self, seats: usize) -> Self {
        Self { seats, ..self }
    }

    /// Sets [`ingress`](Self::ingress).
    #[must_use]
    pub fn with_ingress(self, ingress: TieredQuota) -> Self {
        Self { ingress: Some(ingress), ..self }
    }

    /// Sets [`key_backoff`](Self::key_backoff).
    #[must_use]
    pub fn with_key_backoff(self, key_backoff: Backoff) -> Self {
        Self { key_backoff, ..self }
    }

    /// Sets [`remembered_keys`](Self::remembered_keys).
    #[must_use]
    pub fn with_remembered_keys(self, remembered_keys: usize) -> Self {
        Self { remembered_keys, ..self }
    }

    /// Sets [`loop_after`](Self::loop_after).
    #[must_use]
    pub fn with_loop_after(self, loop_after: Option<NonZeroU32>) -> Self {
        Self { loop_after, ..self }
    }

    /// Sets [`retry_budget`](Self::retry_budget).
    #[must_use]
    pub fn with_retry_budget(self, retry_budget: RetryBudgetConfig) -> Self {
        Self { retry_budget, ..self }
    }

    /// Sets [`critical_grace`](Self::critical_grace).
    #[must_use]
    pub fn with_critical_grace(self, critical_grace: Duration) -> Self {
        Self { critical_grace, ..self }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless(
            (1..=1 << 24).contains(&self.queue_capacity),
            "pipeline.queue_capacity",
            self.queue_capacity,
            "1..=16777216",
        )?;
        ConfigError::unless(
            (1..=1 << 16).contains(&self.seats),
            "pipeline.seats",
            self.seats,
            "1..=65536",
        )?;
        ConfigError::unless(
            self.starvation_bound >= 1,
            "pipeline.starvation_bound",
            self.starvation_bound,
            "at least 1",
        )?;
        ConfigError::unless(
            self.remembered_keys <= 1 << 24,
            "pipeline.remembered_keys",
            self.remembered_keys,
            "at most 16777216",
        )?;
        self.thresholds.check("pipeline.thresholds")?;
        self.enforcement.check("pipeline.enforcement")?;
        self.key_backoff.check([
            "pipeline.key_backoff.first",
            "pipeline.key_backoff.factor",
            "pipeline.key_backoff.most",
        ])
    }

    pub(super) fn rules(&self) -> Rules {
        Rules {
            thresholds: self.thresholds,
            starvation_bound: self.starvation_bound,
            ..Rules::new(self.queue_capacity)
        }
    }
}

/// How one phase is run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PhaseConfig {
    /// Attempts of this phase at once, by weight. Default: 64 for [`remote`](Self::remote), the
    /// machine's parallelism for [`local`](Self::local).
    pub concurrency: usize,
    /// The longest one attempt may run; then it is dropped and counts as a retryable failure.
    /// Default: 60 s.
    pub timeout: Option<Duration>,
    /// The share of the time left until the intent's deadline that one attempt may take, in
    /// `0.0..=1.0` without the 0; then as for `timeout`, whichever is sooner. So what fails slowly
    /// leaves time for another attempt, or for the phases after it. Default: `None`.
    pub deadline_share: Option<f64>,
    /// See [`critical`](Self::critical). Default: `false`.
    pub critical: bool,
    /// How failed attempts are repeated before the key's backoff. Where a backend asks for a longer
    /// wait than `retry_after_most` the round ends at once: the next one begins after that wait or
    /// the key's backoff, whichever is longer, but at most 1.5 h later. What a block on this side
    /// refuses inside an attempt ([`PhaseError::refused`](super::PhaseError::refused)) is waited
    /// out until the deadline, and counts neither as an attempt nor against the budget. Default: 3
    /// attempts, 100 ms ×2 up to 30 s with full jitter.
    pub retry: RetryPolicy,
    /// Opens when the backend fails; attempts then wait for its next probe. Default: `None`.
    pub breaker: Option<CircuitBreaker>,
    /// Every attempt costs one token; attempts wait until there is one. Default: `None`.
    pub egress: Option<Arc<RateLimiter>>,
}

impl PhaseConfig {
    /// A phase that waits for somebody else: 64 at once.
    #[must_use]
    pub fn remote() -> Self {
        Self {
            concurrency: 64,
            timeout: Some(Duration::from_secs(60)),
            deadline_share: None,
            critical: false,
            retry: RetryPolicy::default(),
            breaker: None,
            egress: None,
        }
    }

    /// A phase that computes: as many at once as the machine has parallelism.
    #[must_use]
    pub fn local() -> Self {
        let parallelism = std::thread::available_parallelism().map_or(1, usize::from);
        Self { concurrency: parallelism, ..Self::remote() }
    }

    /// An attempt of this phase is never dropped half-way: timeout, deadline, cancel and shutdown
    /// tell it ([`PhaseContext::cancelled`](super::PhaseContext::cancelled)) and wait for it, up to [`PipelineConfig::critical_grace`]; then the intent ends `Failed` and
    /// is listed as indeterminate, while the attempt goes on, keeping its key, seat and breaker
    /// permit until it really ends. Such a phase must be idempotent.
    #[must_use]
    pub fn critical(self) -> Self {
        Self { critical: true, ..self }
    }

    /// Sets [`concurrency`](Self::concurrency).
    #[must_use]
    pub fn with_concurrency(self, concurrency: usize) -> Self {
        Self { concurrency, ..self }
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Sets [`deadline_share`](Self::deadline_share).
    #[must_use]
    pub fn with_deadline_share(self, share: f64) -> Self {
        Self { deadline_share: Some(share), ..self }
    }

    /// Sets [`retry`](Self::retry).
    #[must_use]
    pub fn with_retry(self, retry: RetryPolicy) -> Self {
        Self { retry, ..self }
    }

    /// Sets [`breaker`](Self::breaker). A clone of one breaker may stand before several phases.
    #[must_use]
    pub fn with_breaker(self, breaker: CircuitBreaker) -> Self {
        Self { breaker: Some(breaker), ..self }
    }

    /// Sets [`egress`](Self::egress). One limiter may stand before several phases, and be used
    /// beside the pipeline too. A gate that it closed opens when it said that a token is due; of
    /// tokens that somebody gives back before then, and of another quota, it learns within a second.
    /// Who stands in the limiter's own line goes before every run of the pipeline, whatever its
    /// class: share it with what asks by `try_acquire`, or does not always wait.
    #[must_use]
    pub fn with_egress(self, egress: impl Into<Arc<RateLimiter>>) -> Self {
        Self { egress: Some(egress.into()), ..self }
    }

    pub(super) fn limit(&self) -> Limit {
        Limit { timeout: self.timeout, deadline_share: self.deadline_share }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless(
            (1..=1 << 16).contains(&self.concurrency),
            "pipeline.phase.concurrency",
            self.concurrency,
            "1..=65536",
        )?;
        ConfigError::unless(
            self.timeout.is_none_or(|timeout| !timeout.is_zero()),
            "pipeline.phase.timeout",
            "0ns",
            "more than 0, or `None`",
        )?;
        ConfigError::unless(
            self.deadline_share.is_none_or(|share| share > 0.0 && share <= 1.0),
            "pipeline.phase.deadline_share",
            self.deadline_share.unwrap_or_default(),
            "more than 0, at most 1",
        )?;
        let unsaid = [self.retry.attempt_timeout, self.retry.total_timeout];
        ConfigError::unless(
            unsaid == [None, None],
            "pipeline.phase.retry",
            "with a timeout",
            "without: the phase's timeout limits an attempt, the intent's deadline all of them",
        )?;
        self.retry.check()
    }
}
