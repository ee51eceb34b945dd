//! What a breaker tells about itself.

use std::borrow::Cow;

use super::core::{Core, State};
use super::stripes::Stripes;
use crate::ground::metrics::{Metric, MetricValue};
use crate::ground::time::Instant;

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
    /// When a call has a chance again; `None`: now or, while it is forced open, when it is
    /// released.
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
    /// Every number under the name it has in a metrics system, for whichever exporter there is;
    /// the label that tells breakers apart is the [`name`](Self::name). The state is 0 when
    /// closed, 1 when half-open, 2 when open.
    ///
    /// ```
    /// use headworks::circuit_breaker::{CircuitBreaker, CircuitBreakerConfig, MetricValue};
    ///
    /// let breaker = CircuitBreaker::new(CircuitBreakerConfig::default().with_name("mail"))?;
    /// breaker.try_acquire()?.success();
    /// let seen = breaker.snapshot();
    /// let lines: Vec<_> = seen
    ///     .metrics()
    ///     .filter_map(|metric| match metric.value {
    ///         MetricValue::Counter(n) | MetricValue::Gauge(n) => {
    ///             Some(format!("{}{{breaker=\"{}\"}} {n}", metric.name, seen.name))
    ///         }
    ///         MetricValue::Histogram(_) => None,
    ///     })
    ///     .collect();
    /// let line = "circuit_breaker_calls_succeeded_total{breaker=\"mail\"} 1";
    /// assert!(lines.contains(&line.to_owned()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn metrics(&self) -> impl Iterator<Item = Metric<'_>> {
        use MetricValue::{Counter, Gauge};
        let state = match self.state {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        };
        Metric::all([
            ("circuit_breaker_state", Gauge(state)),
            ("circuit_breaker_calls_in_flight", Gauge(self.in_flight)),
            ("circuit_breaker_calls_overdue", Gauge(self.overdue)),
            ("circuit_breaker_calls_succeeded_total", Counter(self.succeeded)),
            ("circuit_breaker_calls_failed_total", Counter(self.failed)),
            ("circuit_breaker_calls_ignored_total", Counter(self.ignored)),
            ("circuit_breaker_calls_late_total", Counter(self.late)),
            ("circuit_breaker_calls_refused_total", Counter(self.refused)),
            ("circuit_breaker_calls_would_refuse_total", Counter(self.would_refuse)),
            ("circuit_breaker_trips_total", Counter(self.trips)),
        ])
    }

    /// Under the lock, after `advance`.
    pub(super) fn of(core: &Core, stripes: &Stripes, now: Instant) -> Self {
        let (in_flight, overdue) = core.watch().in_flight(stripes);
        Self {
            name: core.config().name.clone(),
            state: core.state(now),
            is_forced: core.is_forced(),
            next_probe_at: core.refused_until(now).filter(|_| !core.is_forced()),
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
