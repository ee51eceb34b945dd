//! What an intake shows of itself.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

use super::core::Route;
use super::state::State;
use crate::ground::metrics::{Counter, Histogram, Metric, MetricValue, Recorder};

/// Answers by class of status, 1xx to 5xx.
type Classes = [u64; 5];

#[derive(Debug, Default)]
pub(super) struct Metrics {
    answers: [[Counter; 5]; Route::NAMES.len()],
    took: Recorder,
    pub(super) connections: Counter,
    pub(super) connections_refused: Counter,
    pub(super) accept_errors: Counter,
    pub(super) cached: Counter,
    pub(super) accepted: Counter,
    pub(super) refused: Counter,
    pub(super) rejected: Counter,
    pub(super) replayed: Counter,
    pub(super) panicked: Counter,
}

impl Metrics {
    pub(super) fn answered(&self, route: Option<Route>, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.answers[Route::index(route)][class].add(1);
        self.took.record(took);
    }
}

/// What was answered at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteSnapshot {
    /// The path, with names for its parts; `other` for all that nothing is at.
    pub route: &'static str,
    /// Answers by class of status, 1xx to 5xx.
    pub answers: [u64; 5],
}

/// An HTTP intake at one moment; counts are since it was made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpIntakeSnapshot {
    /// [`HttpIntakeConfig::name`](super::HttpIntakeConfig::name).
    pub name: Cow<'static, str>,
    /// Answers, by path.
    pub routes: Vec<RouteSnapshot>,
    /// How long it took from a request's head to the head of its answer.
    pub took: Histogram,
    /// Connections that are open.
    pub connections_open: usize,
    /// At most ([`HttpIntakeConfig::connections`](super::HttpIntakeConfig::connections)).
    pub connections_max: usize,
    /// Connections accepted.
    pub connections: u64,
    /// Connections that were too many.
    pub connections_refused: u64,
    /// Times the system had no connection to give.
    pub accept_errors: u64,
    /// Event streams that are open.
    pub event_streams: usize,
    /// Answers given out of the cache.
    pub cached: u64,
    /// Documents that the pipeline accepted.
    pub accepted: u64,
    /// Documents that it refused.
    pub refused: u64,
    /// Documents that the decoder rejected, or skipped.
    pub rejected: u64,
    /// Requests whose idempotency key was known.
    pub replayed: u64,
    /// Requests in which code of the operator's panicked.
    pub panicked: u64,
    /// Tickets that have not ended.
    pub live_tickets: usize,
    /// Tickets that have, and can be read.
    pub ended_tickets: usize,
    /// Idempotency keys that are known.
    pub idempotency_keys: usize,
}

impl HttpIntakeSnapshot {
    pub(super) fn of(state: &State) -> Self {
        let metrics = &state.metrics;
        let classes = |row: &[Counter; 5]| -> Classes { row.each_ref().map(Counter::get) };
        let rows = Route::NAMES.iter().zip(&metrics.answers);
        let routes = rows.map(|(route, row)| RouteSnapshot { route, answers: classes(row) });
        let taken = |most: usize, left: usize| most.saturating_sub(left);
        let table = state.table.lock();
        let (live_tickets, ended_tickets) = (table.live(), table.ended());
        drop(table);
        Self {
            name: state.config.name.clone(),
            routes: routes.collect(),
            took: metrics.took.look(),
            connections_open: taken(
                state.config.connections,
                state.connections.available_permits(),
            ),
            connections_max: state.config.connections,
            connections: metrics.connections.get(),
            connections_refused: metrics.connections_refused.get(),
            accept_errors: metrics.accept_errors.get(),
            event_streams: taken(state.config.event_streams, state.streams.available_permits()),
            cached: metrics.cached.get(),
            accepted: metrics.accepted.get(),
            refused: metrics.refused.get(),
            rejected: metrics.rejected.get(),
            replayed: metrics.replayed.get(),
            panicked: metrics.panicked.get(),
            live_tickets,
            ended_tickets,
            idempotency_keys: state.keys.lock().len(),
        }
    }

    /// Answers at all paths, by class of status, 1xx to 5xx.
    #[must_use]
    pub fn answers(&self) -> [u64; 5] {
        let mut all = Classes::default();
        for route in &self.routes {
            all.iter_mut().zip(route.answers).for_each(|(all, one)| *all += one);
        }
        all
    }

    /// Every number under the name it has in a metrics system, for whichever exporter there is; the
    /// label that tells intakes apart is the [`name`](Self::name). All start at zero.
    ///
    /// | name (each begins with `http_intake_`) | kind | is |
    /// |---|---|---|
    /// | `answers_2xx_total`, `answers_3xx_total`, `answers_4xx_total`, `answers_5xx_total` | counter | answers, by class of status |
    /// | `seconds` | histogram | from a request's head to that of its answer |
    /// | `connections_open`, `connections_max` | gauge | connections, and at most |
    /// | `connections_total`, `connections_refused_total` | counter | accepted, and of those too many |
    /// | `accept_errors_total` | counter | times the system had none to give |
    /// | `event_streams` | gauge | streams that are open |
    /// | `cached_total` | counter | answers out of the cache |
    /// | `accepted_total`, `refused_total`, `rejected_total` | counter | documents |
    /// | `replayed_total` | counter | requests whose idempotency key was known |
    /// | `panicked_total` | counter | requests in which the operator's code panicked |
    /// | `live_tickets`, `ended_tickets` | gauge | tickets that can be read |
    /// | `idempotency_keys` | gauge | keys that are known |
    pub fn metrics(&self) -> impl Iterator<Item = Metric<'_>> {
        use MetricValue::{Counter, Gauge};
        let [_, ok, moved, theirs, ours] = self.answers();
        [
            ("http_intake_answers_2xx_total", Counter(ok)),
            ("http_intake_answers_3xx_total", Counter(moved)),
            ("http_intake_answers_4xx_total", Counter(theirs)),
            ("http_intake_answers_5xx_total", Counter(ours)),
            ("http_intake_seconds", MetricValue::Histogram(&self.took)),
            ("http_intake_connections_open", Gauge(self.connections_open as u64)),
            ("http_intake_connections_max", Gauge(self.connections_max as u64)),
            ("http_intake_connections_total", Counter(self.connections)),
            ("http_intake_connections_refused_total", Counter(self.connections_refused)),
            ("http_intake_accept_errors_total", Counter(self.accept_errors)),
            ("http_intake_event_streams", Gauge(self.event_streams as u64)),
            ("http_intake_cached_total", Counter(self.cached)),
            ("http_intake_accepted_total", Counter(self.accepted)),
            ("http_intake_refused_total", Counter(self.refused)),
            ("http_intake_rejected_total", Counter(self.rejected)),
            ("http_intake_replayed_total", Counter(self.replayed)),
            ("http_intake_panicked_total", Counter(self.panicked)),
            ("http_intake_live_tickets", Gauge(self.live_tickets as u64)),
            ("http_intake_ended_tickets", Gauge(self.ended_tickets as u64)),
            ("http_intake_idempotency_keys", Gauge(self.idempotency_keys as u64)),
        ]
        .into_iter()
        .map(|(name, value)| Metric { name, value })
    }
}
