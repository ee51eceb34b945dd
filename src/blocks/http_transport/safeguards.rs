//! What stands before the requests to each host: a circuit breaker, retries from a budget, hedges.

use std::collections::HashMap;
use std::sync::Arc;

use super::host::HostKey;
use crate::circuit_breaker::{BreakerRegistry, CircuitBreaker, CircuitBreakerSnapshot};
use crate::ground::config_error::ConfigError;
use crate::ground::primitives::{Hashing, Mutex};
use crate::retry::{
    Hedge, HedgeConfig, HedgeSnapshot, Retry, RetryBudget, RetryBudgetConfig, RetryBudgetSnapshot,
    RetryPolicy, RetrySnapshot,
};

/// Which requests are sent again, and from what that is paid. Plain data; checked by
/// [`Safeguards::new`].
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct SafeguardsConfig {
    /// How often a request that failed is sent again, and when. Default: `None`, never.
    pub retry: Option<RetryPolicy>,
    /// Which requests are sent a second time because they take unusually long. Default: `None`,
    /// none.
    pub hedge: Option<HedgeConfig>,
    /// What pays for both, for each host apart. Default: its own default.
    pub budget: RetryBudgetConfig,
}

impl SafeguardsConfig {
    /// Sets [`retry`](Self::retry).
    #[must_use]
    pub fn with_retry(self, retry: Option<RetryPolicy>) -> Self {
        Self { retry, ..self }
    }

    /// Sets [`hedge`](Self::hedge).
    #[must_use]
    pub fn with_hedge(self, hedge: Option<HedgeConfig>) -> Self {
        Self { hedge, ..self }
    }

    /// Sets [`budget`](Self::budget).
    #[must_use]
    pub fn with_budget(self, budget: RetryBudgetConfig) -> Self {
        Self { budget, ..self }
    }
}

/// A circuit breaker, retries and hedges for each host, put before a transport by
/// [`Transport::with_safeguards`](super::Transport::with_safeguards). Clones are the same.
///
/// Each attempt asks the breaker of its host, and tells it how the attempt went: by the status of
/// the answer and its `Retry-After` ([`Verdict::of_response`](crate::Verdict::of_response)), or by
/// the error. A refusal is [`TransportError::CircuitOpen`](super::TransportError::CircuitOpen).
/// What goes wrong in the body of an answer comes too late for all three.
///
/// Sent again, or twice at the same time, is only what may be done twice, by its method or by the
/// [`Idempotency`](crate::retry::Idempotency) among its extensions, and has a body of bytes; or what
/// the backend can't have seen. A last answer is returned as it is, whatever its status; a last
/// error as [`TransportError::GaveUp`](super::TransportError::GaveUp), unless no attempt but the
/// first made sense. The loser of a hedge is dropped: its HTTP/1.1 connection is closed, of an
/// HTTP/2 connection its stream.
///
/// Up to 1,024 hosts have breaker, budget and hedge of their own. When more come, those that carry
/// no request at that moment begin anew; the breakers of a [`BreakerRegistry`] are kept by that.
///
/// # Examples
/// ```
/// use headworks::circuit_breaker::{BreakerRegistry, BreakerRegistryConfig};
/// use headworks::http_transport::{Preset, Safeguards, SafeguardsConfig, TransportFactory};
/// use headworks::retry::RetryPolicy;
/// use std::sync::Arc;
///
/// let config = SafeguardsConfig::default().with_retry(Some(RetryPolicy::default()));
/// let breakers = Arc::new(BreakerRegistry::new(BreakerRegistryConfig::default())?);
/// let safeguards = Safeguards::new(config)?.with_breakers(Arc::clone(&breakers));
/// let transport = TransportFactory::new()?.transport(Preset::Default)?;
/// let guarded = transport.with_safeguards(safeguards);
/// # drop(guarded);
/// # Ok::<(), headworks::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Safeguards {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: SafeguardsConfig,
    breakers: Option<Arc<BreakerRegistry<Arc<str>>>>,
    /// Looked up, walked for a snapshot and to forget.
    hosts: Mutex<HashMap<HostKey, Arc<Safeguard>, Hashing>>,
}

/// Hosts that are remembered.
const REMEMBERED: usize = 1_024;

/// What stands before one host.
#[derive(Debug)]
pub(super) struct Safeguard {
    host: Arc<str>,
    pub(super) breaker: Option<CircuitBreaker>,
    pub(super) retry: Option<Retry>,
    pub(super) hedge: Option<Hedge>,
    budget: Option<RetryBudget>,
}

/// What stands before one host, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SafeguardSnapshot {
    /// Scheme, host and port.
    pub host: Arc<str>,
    /// Its circuit breaker, if there are any.
    pub breaker: Option<CircuitBreakerSnapshot>,
    /// Its retries, if there are any.
    pub retry: Option<RetrySnapshot>,
    /// Its hedges, if there are any.
    pub hedge: Option<HedgeSnapshot>,
    /// What pays for retries and hedges.
    pub budget: Option<RetryBudgetSnapshot>,
}

impl Safeguards {
    /// Without breakers, until they are given [some](Self::with_breakers).
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work.
    pub fn new(config: SafeguardsConfig) -> Result<Self, ConfigError> {
        // What can't be made is told now: later ones are made from the same.
        Safeguard::new(&config, None, Arc::from(""))?;
        Ok(Self::build(config, None))
    }

    /// The same, with a circuit breaker for each host out of this registry, under its scheme, host
    /// and port (`http://a.example`, `https://b.example:8443`). Others may use the registry too.
    /// What hosts have earned so far is forgotten.
    #[must_use]
    pub fn with_breakers(self, breakers: Arc<BreakerRegistry<Arc<str>>>) -> Self {
        Self::build(self.shared.config.clone(), Some(breakers))
    }

    fn build(config: SafeguardsConfig, breakers: Option<Arc<BreakerRegistry<Arc<str>>>>) -> Self {
        let hosts = Mutex::new(HashMap::default());
        Self { shared: Arc::new(Shared { config, breakers, hosts }) }
    }

    /// Each host that was called, in no particular order.
    #[must_use]
    pub fn snapshot(&self) -> Vec<SafeguardSnapshot> {
        let hosts: Vec<_> = self.shared.hosts.lock().values().cloned().collect();
        hosts.iter().map(|host| host.snapshot()).collect()
    }

    pub(super) fn of(&self, key: &HostKey) -> Arc<Safeguard> {
        let Shared { config, breakers, hosts } = &*self.shared;
        if let Some(known) = hosts.lock().get(key) {
            return Arc::clone(known);
        }
        let host: Arc<str> = key.name().into();
        let breaker = breakers.as_ref().map(|breakers| breakers.get(&host));
        // The configuration has been checked: one like it was made.
        let new = Safeguard::new(config, breaker.clone(), Arc::clone(&host));
        let new = Arc::new(new.unwrap_or_else(|_| Safeguard::bare(breaker, host)));
        let mut forgotten = Vec::new();
        let mut hosts = hosts.lock();
        if hosts.len() >= REMEMBERED && !hosts.contains_key(key) {
            let idle = hosts.extract_if(|_, host| Arc::strong_count(host) == 1);
            forgotten.extend(idle.map(|(_, host)| host));
        }
        if hosts.len() >= REMEMBERED {
            // All of them carry requests: so many more are each their own.
            return new;
        }
        let known = Arc::clone(hosts.entry(key.clone()).or_insert(new));
        drop(hosts);
        drop(forgotten);
        known
    }
}

impl Safeguard {
    fn new(
        config: &SafeguardsConfig,
        breaker: Option<CircuitBreaker>,
        host: Arc<str>,
    ) -> Result<Self, ConfigError> {
        let budget = RetryBudget::new(config.budget.clone())?;
        let retry = config.retry.clone().map(|policy| Retry::new(policy, budget.clone()));
        let retry = retry.transpose()?;
        // Inside of a retry that one earns for both.
        let hedge = match (config.hedge.clone(), &retry) {
            (None, _) => None,
            (Some(config), Some(retry)) => Some(retry.hedge(config)?),
            (Some(config), None) => Some(Hedge::new(config, budget.clone())?),
        };
        let is_used = retry.is_some() || hedge.is_some();
        Ok(Self { host, breaker, retry, hedge, budget: is_used.then_some(budget) })
    }

    fn bare(breaker: Option<CircuitBreaker>, host: Arc<str>) -> Self {
        Self { host, breaker, retry: None, hedge: None, budget: None }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    fn snapshot(&self) -> SafeguardSnapshot {
        SafeguardSnapshot {
            host: Arc::clone(&self.host),
            breaker: self.breaker.as_ref().map(CircuitBreaker::snapshot),
            retry: self.retry.as_ref().map(Retry::snapshot),
            hedge: self.hedge.as_ref().map(Hedge::snapshot),
            budget: self.budget.as_ref().map(RetryBudget::snapshot),
        }
    }
}
