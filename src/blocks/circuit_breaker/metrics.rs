//! What a breaker tells about itself.

use std::borrow::Cow;
use std::time::Instant;

use super::core::{Core, State};
use super::stripes::Stripes;

/// A breaker at one moment; counts since it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CircuitBreakerSnapshot {
    /// The breaker's name.
    pub name: Cow<'static, str>,
    /// Whether calls flow.
    pub state: State,
    /// Whether somebody forced that.
    pub is_forced: bool,
    /// When a call has a chance again; `None`: now.
    pub next_probe_at: Option<Instant>,
    /// Calls in flight, of those that were let through since it closed. Not counted where
    /// [`InFlight`](super::InFlight) is `Ignored`.
    pub in_flight: u64,
    /// Those of them that are slow by now.
    pub overdue: u64,
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

impl CircuitBreakerSnapshot {
    /// Under the lock, after `advance`.
    pub(super) fn of(core: &Core, stripes: &Stripes, now: Instant) -> Self {
        let (in_flight, overdue) = core.watch().in_flight(stripes);
        Self {
            name: core.config().name.clone(),
            state: core.state(now),
            is_forced: core.is_forced(),
            next_probe_at: core.refused_until(now),
            in_flight,
            overdue,
            succeeded: core.watch().all_succeeded(stripes),
            failed: core.counts.failed,
            ignored: core.counts.ignored,
            late: core.counts.late,
            refused: core.counts.refused + stripes.all_refused(),
            would_refuse: core.counts.would_refuse,
            trips: core.counts.trips,
        }
    }
}
