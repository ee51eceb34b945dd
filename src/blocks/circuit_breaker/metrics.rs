//! What a breaker counts about itself.

use super::core::State;
use crate::ground::metrics::Counter;
use crate::ground::outcome::Outcome;

#[derive(Debug, Default)]
pub(super) struct Metrics {
    succeeded: Counter,
    failed: Counter,
    ignored: Counter,
    pub(super) refused: Counter,
    pub(super) would_refuse: Counter,
}

impl Metrics {
    pub(super) fn reported(&self, outcome: Outcome) {
        match outcome {
            Outcome::Success => self.succeeded.add(1),
            Outcome::Failure => self.failed.add(1),
            Outcome::Ignored => self.ignored.add(1),
        }
    }

    pub(super) fn snapshot(&self, state: State, trips: u64, late: u64) -> CircuitBreakerSnapshot {
        CircuitBreakerSnapshot {
            state,
            succeeded: self.succeeded.get(),
            failed: self.failed.get(),
            ignored: self.ignored.get(),
            late,
            refused: self.refused.get(),
            would_refuse: self.would_refuse.get(),
            trips,
        }
    }
}

/// A breaker at one moment; counts since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CircuitBreakerSnapshot {
    /// Whether calls flow.
    pub state: State,
    /// Calls reported as a success.
    pub succeeded: u64,
    /// Calls reported as a failure, or dropped and counted as one.
    pub failed: u64,
    /// Calls reported as neither.
    pub ignored: u64,
    /// Those of the three above that came too late to count: the state had changed since.
    pub late: u64,
    /// Calls refused.
    pub refused: u64,
    /// Calls let through only because [`Enforcement`](crate::Enforcement) isn't full.
    pub would_refuse: u64,
    /// How often the circuit opened.
    pub trips: u64,
}
