//! One phase's gate: the line before it, and what must hold for an attempt to pass.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::PhaseConfig;
use super::run::RunId;
use crate::circuit_breaker::{CallPermit, CircuitBreaker};
use crate::gates::wait_queue::{Rules, WaitQueue};
use crate::ground::metrics::Mean;
use crate::rate_limit::RateLimiter;
use crate::retry::RetryPolicy;

#[derive(Debug)]
pub(super) struct Gate {
    pub(super) name: &'static str,
    pub(super) line: WaitQueue<RunId>,
    /// Weight of the attempts inside.
    pub(super) running: u32,
    pub(super) concurrency: u32,
    pub(super) timeout: Option<Duration>,
    pub(super) critical: bool,
    pub(super) retry: RetryPolicy,
    pub(super) breaker: Option<CircuitBreaker>,
    egress: Option<Arc<RateLimiter>>,
    /// Breaker or limiter said no until then. The head stays head; nobody behind it is tried.
    pub(super) closed_until: Option<Instant>,
    /// How long an attempt takes.
    pub(super) took: Mean,
}

impl Gate {
    pub(super) fn new(name: &'static str, config: &PhaseConfig, rules: Rules) -> Self {
        Self {
            name,
            line: WaitQueue::new(rules),
            running: 0,
            concurrency: config.concurrency as u32,
            timeout: config.timeout,
            critical: config.critical,
            retry: config.retry.clone(),
            breaker: config.breaker.clone(),
            egress: config.egress.clone(),
            closed_until: None,
            took: Mean::default(),
        }
    }

    /// Weight that the phase has room for.
    pub(super) fn room(&self) -> u32 {
        self.concurrency.saturating_sub(self.running)
    }

    pub(super) fn is_closed(&self, now: Instant) -> bool {
        self.closed_until.is_some_and(|until| now < until)
    }

    /// Breaker permit and egress token for one attempt, or when to ask again. All or nothing: a
    /// breaker's permit is given back unused when the limiter refuses.
    pub(super) fn pass(&mut self, now: Instant) -> Result<Option<CallPermit>, Instant> {
        let permit = match self.breaker.as_ref().map(|breaker| breaker.try_acquire_at(now)) {
            None => None,
            Some(Ok(permit)) => Some(permit),
            Some(Err(open)) => return Err(open.next_probe_at()),
        };
        let Some(egress) = &self.egress else { return Ok(permit) };
        match egress.try_acquire_at(1, now) {
            Ok(()) => Ok(permit),
            Err(refused) => {
                if let Some(permit) = permit {
                    permit.ignore();
                }
                // A closed limiter names no time: look again in a second.
                Err(refused.earliest().unwrap_or(now + Duration::from_secs(1)))
            }
        }
    }
}
