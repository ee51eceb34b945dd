//! One phase's gate: the line before it, and what must hold for an attempt to pass.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::config::PhaseConfig;
use super::limit::Limit;
use super::run::RunId;
use crate::circuit_breaker::{CircuitBreaker, OwnedCallPermit};
use crate::gates::wait_queue::{Rules, WaitQueue};
use crate::ground::metrics::Mean;
use crate::ground::time::{self, Instant};
use crate::rate_limit::RateLimiter;
use crate::retry::RetryPolicy;

#[derive(Debug)]
pub(super) struct Gate {
    pub(super) name: &'static str,
    pub(super) line: WaitQueue<RunId>,
    /// Weight of the attempts inside.
    pub(super) running: u32,
    pub(super) concurrency: u32,
    limit: Limit,
    pub(super) critical: bool,
    pub(super) retry: RetryPolicy,
    pub(super) breaker: Option<CircuitBreaker>,
    egress: Option<Arc<RateLimiter>>,
    /// Breaker or limiter said no, and is asked again then. The head stays head; nobody behind it
    /// is tried.
    pub(super) closed_until: Option<Instant>,
    /// What it said, if it did: not before then, unless somebody else changes its mind.
    said: Option<Instant>,
    /// It was the breaker that did.
    closed_by_breaker: bool,
    /// How long an attempt takes.
    pub(super) took: Mean,
}

/// Nobody passes now; the gate knows until when.
#[derive(Debug)]
pub(super) struct Closed;

/// A breaker may close before it said, by hand or because somebody else's probes went well; and a
/// limiter may get another quota. So they are asked this often at least.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long a gate stays closed at least: a tick of the alarms.
const SHORTEST: Duration = Duration::from_millis(1);

impl Gate {
    pub(super) fn new(name: &'static str, config: &PhaseConfig, rules: Rules) -> Self {
        Self {
            name,
            line: WaitQueue::new(rules),
            running: 0,
            concurrency: config.concurrency as u32,
            limit: config.limit(),
            critical: config.critical,
            retry: config.retry.clone(),
            breaker: config.breaker.clone(),
            egress: config.egress.clone(),
            closed_until: None,
            said: None,
            closed_by_breaker: false,
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

    /// When it opens, as far as whoever closed it has said.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        self.closed_until.and(self.said)
    }

    /// Breaker permit and egress token for one attempt, or nothing, and the gate is closed until
    /// it is worth asking again. Neither is lost to a refusal by the other: a look at the limiter
    /// comes first, and its token is the last that can fail (it does when somebody else who shares
    /// the limiter was faster; only then a permit is given back unused).
    ///
    /// Others may listen to the breaker: theirs are the `wakers`, for after the pipeline's lock.
    pub(super) fn pass(
        &mut self,
        now: Instant,
        wakers: &mut Vec<Waker>,
    ) -> Result<Option<OwnedCallPermit>, Closed> {
        if let Some(Err(refused)) = self.egress.as_ref().map(|egress| egress.peek_at(1, now)) {
            return Err(self.close(refused.earliest(), false, now));
        }
        let permit = self
            .breaker
            .as_ref()
            .map(|breaker| breaker.try_acquire_owned_telling(now, |woken| wakers.extend(woken)));
        let permit = match permit {
            None => None,
            Some(Ok(permit)) => Some(permit),
            Some(Err(open)) => return Err(self.close(open.next_probe_at(), true, now)),
        };
        match self.egress.as_ref().map(|egress| egress.try_acquire_unleased_at(1, now)) {
            None | Some(Ok(())) => Ok(permit),
            Some(Err(refused)) => {
                if let Some(permit) = permit {
                    permit.give_back(now, |woken| wakers.extend(woken));
                }
                Err(self.close(refused.earliest(), false, now))
            }
        }
    }

    /// Closes it until then, or until the next look. A closed limiter and a forced breaker name no
    /// time, and a limiter whose tokens are there but belong to those in its line says *now*: whoever
    /// refuses is not asked again at once.
    fn close(&mut self, until: Option<Instant>, closed_by_breaker: bool, now: Instant) -> Closed {
        let soonest = time::later(now, SHORTEST);
        let until = until.zip(soonest).map(|(until, soonest)| until.max(soonest));
        self.said = until;
        self.closed_until = time::earlier(until, time::later(now, LOOK_AGAIN));
        self.closed_by_breaker = closed_by_breaker;
        Closed
    }

    /// It is time to ask again, if it is. A limiter that said when is not asked before then, or every
    /// look would count as a refusal; unless it has tokens, by another quota.
    pub(super) fn due(&mut self, now: Instant) {
        if self.closed_until.is_none_or(|until| now < until) {
            return;
        }
        let is_early = !self.closed_by_breaker && self.said.is_some_and(|said| now < said);
        let is_empty = |egress: &Arc<RateLimiter>| egress.allowance_at(now).available == 0;
        let stays = is_early && self.egress.as_ref().is_some_and(is_empty);
        let again = time::earlier(self.said, time::later(now, LOOK_AGAIN));
        self.closed_until = again.filter(|_| stays);
    }

    /// An attempt has ended somewhere: the breaker, which may stand before other phases too, may
    /// have heard what opens this gate. Takes nothing. `wakers`: as for [`pass`](Self::pass).
    pub(super) fn look_again(&mut self, now: Instant, wakers: &mut Vec<Waker>) {
        let is_closed_by_breaker = self.closed_until.is_some() && self.closed_by_breaker;
        let Some(breaker) = self.breaker.as_ref().filter(|_| is_closed_by_breaker) else { return };
        if breaker.peek_telling(now, |woken| wakers.extend(woken)).is_ok() {
            self.closed_until = None;
        }
    }

    /// When a critical attempt that began at `since` has used up its grace.
    pub(super) fn give_up_at(
        &self,
        since: Instant,
        deadline: Option<Instant>,
        grace: Duration,
    ) -> Option<Instant> {
        let told = time::earlier(self.limit.ends(since, deadline), deadline);
        time::later(told.filter(|_| self.critical)?, grace)
    }
}
