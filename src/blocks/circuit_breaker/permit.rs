//! The right to make one call.

use std::sync::Arc;
use std::time::Instant;

use super::breaker::Shared;
use super::config::Unreported;
use super::core::Claim;
use crate::ground::outcome::Outcome;
use crate::ground::time;

/// The right to make one call, and the duty to say how it went.
///
/// Dropped without a report it counts as configured by
/// [`Unreported`]: by default as a failure when it is older than the
/// slow threshold, else as nothing. Owns its share of the breaker, so it can be kept anywhere.
///
/// # Cost
/// A report takes one short lock; no allocation.
#[must_use = "dropped at once it counts as a call that was cancelled"]
#[derive(Debug)]
pub struct CallPermit {
    shared: Arc<Shared>,
    since: Instant,
    /// `None` once reported.
    claim: Option<Claim>,
}

impl CallPermit {
    pub(super) fn new(shared: Arc<Shared>, claim: Claim, since: Instant) -> Self {
        Self { shared, since, claim: Some(claim) }
    }

    /// The backend answered.
    pub fn success(self) {
        self.report(Outcome::Success);
    }

    /// The backend failed.
    pub fn failure(self) {
        self.report(Outcome::Failure);
    }

    /// The call says nothing about the backend. A probe's place is free again.
    pub fn ignore(self) {
        self.report(Outcome::Ignored);
    }

    /// Reports by value.
    pub fn report(self, outcome: Outcome) {
        self.report_at(outcome, time::now());
    }

    pub(crate) fn report_at(mut self, outcome: Outcome, now: Instant) {
        self.settle(outcome, now);
    }

    fn settle(&mut self, outcome: Outcome, now: Instant) {
        if let Some(claim) = self.claim.take() {
            self.shared.report(claim, outcome, now);
        }
    }

    /// Ends it as [`Drop`] does, at `now`.
    pub(crate) fn abandon_at(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        let outcome = match self.shared.unreported {
            Unreported::Failure => Outcome::Failure,
            Unreported::FailureIfSlow if age >= self.shared.slow_after => Outcome::Failure,
            Unreported::FailureIfSlow | Unreported::Ignored => Outcome::Ignored,
        };
        self.settle(outcome, now);
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        if self.claim.is_some() {
            self.abandon_at(time::now());
        }
    }
}
