//! One operation between its attempts: what the next one may be.

use std::time::Duration;

use super::config::Idempotency;
use super::error::{AttemptError, GaveUp, RetryError};
use super::runner::Shared;
use crate::ground::outcome::{Outcome, RetryClass, Verdict};
use crate::ground::time::{self, Instant};

/// Counts the attempts of one operation, and decides after each whether there is another.
pub(crate) struct Run<'a> {
    retry: &'a Shared,
    idempotency: Idempotency,
    /// When the operation began, where somebody has looked: the first attempt begins then.
    begun: Option<Instant>,
    end: Option<Instant>,
    /// Refused ones too.
    attempts: u32,
    failures: u32,
    refusals: u32,
    /// For how long all of them asked.
    asked: Duration,
}

impl<'a> Run<'a> {
    /// Looks at the clock only if the whole operation is timed.
    #[inline]
    pub(super) fn new(retry: &'a Shared, idempotency: Idempotency) -> Self {
        let begun = retry.policy.total_timeout.map(|_| time::now());
        let end = retry.policy.total_timeout.zip(begun);
        let end = end.and_then(|(total, begun)| time::later(begun, total));
        Self {
            retry,
            idempotency,
            begun,
            end,
            attempts: 0,
            failures: 0,
            refusals: 0,
            asked: Duration::ZERO,
        }
    }

    /// No later than `end`, whatever the policy allows.
    #[cfg(feature = "http")]
    pub(crate) fn ends_by(&mut self, end: Option<Instant>) {
        self.end = time::earlier(self.end, end);
    }

    /// Begins an attempt: its number, from 1, and when it is to be dropped.
    #[inline]
    pub(crate) fn attempt(&mut self) -> (u32, Option<Instant>) {
        self.attempts = self.attempts.saturating_add(1);
        let own = self.retry.policy.attempt_timeout.and_then(|timeout| {
            let begun = self.begun.take().unwrap_or_else(time::now);
            time::later(begun, timeout)
        });
        (self.attempts, time::earlier(own, self.end))
    }

    /// When to make the next attempt. The budget comes last: a retry that won't be made for
    /// another reason costs nothing.
    #[inline]
    pub(crate) fn next(&mut self, verdict: Verdict) -> Result<Instant, GaveUp> {
        if verdict.outcome() == Outcome::Success {
            self.retry.budget.success();
            if self.attempts > 1 {
                self.retry.metrics.recovered.add(1);
            }
        } else if verdict.is_refused() {
            self.refusals = self.refusals.saturating_add(1);
        }
        if verdict.retry() == RetryClass::Stop {
            return Err(GaveUp::Permanent);
        }
        if self.idempotency == Idempotency::AtMostOnce && !verdict.is_unsent() {
            return Err(GaveUp::AtMostOnce);
        }
        self.next_at(verdict, time::now())
    }

    fn next_at(&mut self, verdict: Verdict, now: Instant) -> Result<Instant, GaveUp> {
        let Shared { policy, budget, metrics, .. } = self.retry;
        let mut rng = self.retry.rng();
        let wait = if verdict.is_refused() {
            policy.wait_out(verdict.retry(), self.refusals, &mut self.asked, &mut rng)?
        } else {
            self.failures += 1;
            policy.wait(verdict.retry(), self.failures, &mut rng)?
        };
        let at = time::later(now, wait).ok_or(GaveUp::TotalTimeout)?;
        if self.end.is_some_and(|end| at >= end) {
            return Err(GaveUp::TotalTimeout);
        }
        if verdict.is_refused() {
            metrics.waited_out.add(1);
        } else {
            budget.try_withdraw_at(now).map_err(|_| GaveUp::Budget)?;
            metrics.retried.add(1);
        }
        Ok(at)
    }

    /// What the caller gets: a last value as it is, whatever was thought of it. `None`: the last
    /// attempt timed out.
    pub(crate) fn end<T, E>(
        &self,
        last: Option<Result<T, E>>,
        why: GaveUp,
        verdict: Verdict,
    ) -> Result<T, RetryError<E>> {
        if verdict.outcome() != Outcome::Success {
            self.retry.metrics.gave_up(why);
        }
        let last = match last {
            Some(Ok(value)) => return Ok(value),
            Some(Err(error)) => AttemptError::Inner(error),
            None => AttemptError::TimedOut,
        };
        let made = (self.attempts.saturating_sub(self.refusals), self.refusals);
        Err(RetryError::new(why, made, verdict, last))
    }
}
