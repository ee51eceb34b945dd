//! What a pool counts, and the plain picture of it.

use std::borrow::Cow;
use std::fmt;

use super::times::Timings;
use crate::ground::metrics::{Metric, MetricValue};

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The server ended it between requests or said that it would.
    ByPeer,
    /// It broke, or what came over it was not HTTP.
    Broken,
    /// Idle for `idle_timeout`.
    IdleTimeout,
    /// Older than `max_age`.
    MaxAge,
    /// More idle connections than the idle caps allow.
    Surplus,
    /// Gave its place to a host that may dial but for the overall cap, or for the factory's ceiling.
    Displaced,
    /// The answer was not read to its end: dropped, cancelled or timed out. Over HTTP/2: timed out,
    /// and nobody else was answered meanwhile.
    Abandoned,
    /// A request needed a new connection to its host, and this idle one held the place.
    Replaced,
    /// Its pool was closed, or nobody uses it any more: the last transport was dropped or given
    /// another configuration.
    Retired,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::ByPeer,
        Self::Broken,
        Self::IdleTimeout,
        Self::MaxAge,
        Self::Surplus,
        Self::Displaced,
        Self::Abandoned,
        Self::Replaced,
        Self::Retired,
    ];

    /// The snake-case word for metric labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByPeer => "by_peer",
            Self::Broken => "broken",
            Self::IdleTimeout => "idle_timeout",
            Self::MaxAge => "max_age",
            Self::Surplus => "surplus",
            Self::Displaced => "displaced",
            Self::Abandoned => "abandoned",
            Self::Replaced => "replaced",
            Self::Retired => "retired",
        }
    }

    const fn metric(self) -> &'static str {
        match self {
            Self::ByPeer => "http_client_connections_closed_by_peer_total",
            Self::Broken => "http_client_connections_closed_broken_total",
            Self::IdleTimeout => "http_client_connections_closed_idle_timeout_total",
            Self::MaxAge => "http_client_connections_closed_max_age_total",
            Self::Surplus => "http_client_connections_closed_surplus_total",
            Self::Displaced => "http_client_connections_closed_displaced_total",
            Self::Abandoned => "http_client_connections_closed_abandoned_total",
            Self::Replaced => "http_client_connections_closed_replaced_total",
            Self::Retired => "http_client_connections_closed_retired_total",
        }
    }
}

/// Connections closed, by reason.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Closed([u64; CloseReason::ALL.len()]);

impl Closed {
    /// How many for this reason.
    #[must_use]
    pub const fn of(&self, reason: CloseReason) -> u64 {
        self.0[reason as usize]
    }

    /// How many for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn count(&mut self, reason: CloseReason) {
        self.0[reason as usize] += 1;
    }
}

/// By the words of the reasons, those that never occurred left out.
impl fmt::Debug for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let occurred = CloseReason::ALL.iter().filter(|&&reason| self.of(reason) > 0);
        let mut map = f.debug_map();
        occurred.for_each(|&reason| {
            _ = map.entry(&format_args!("{}", reason.as_str()), &self.of(reason))
        });
        map.finish()
    }
}

/// Where the connections of one host, or of all, stand. `open` = `dialling + active + idle`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolCounts {
    /// Being dialled now.
    pub dialling: usize,
    /// Carrying requests now, or being closed.
    pub active: usize,
    /// Ready for the next request.
    pub idle: usize,
    /// Requests under way over shared (HTTP/2) connections now.
    pub streams: usize,
    /// Requests that wait for a connection, or for a stream of one, now.
    pub waiting: usize,
    /// Connections opened so far.
    pub opened: u64,
    /// Requests given a connection that was there: used before, or dialled ahead of need.
    pub reused: u64,
    /// Dials ahead of need that failed so far. No request waited for them, and the next one is
    /// begun after a pause.
    pub failed_ahead: u64,
    /// Connections closed so far.
    pub closed: Closed,
}

impl PoolCounts {
    /// Connections that exist or are being dialled now.
    #[must_use]
    pub const fn open(&self) -> usize {
        self.dialling + self.active + self.idle
    }

    /// The share of requests that needed no new connection, in `0.0..=1.0`; `None` before the
    /// first.
    #[must_use]
    pub fn reuse_ratio(&self) -> Option<f64> {
        let all = self.opened + self.reused;
        (all > 0).then(|| self.reused as f64 / all as f64)
    }
}

/// One pool at one moment: all counts are from under one lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportSnapshot {
    /// The configuration's name.
    pub name: Cow<'static, str>,
    /// All hosts together, those included that have been forgotten since.
    pub in_all: PoolCounts,
    /// How long things took with any host.
    pub timings: Timings,
    /// The cap on open connections, `open_overall`.
    pub max_connections: usize,
    /// Where its factory has a ceiling: all pools beneath it.
    pub ceiling: Option<CeilingCounts>,
    /// Each known host, in the order in which they were first called.
    pub hosts: Vec<HostSnapshot>,
}

/// The [ceiling](super::TransportFactory::with_ceiling) over all pools of a factory, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CeilingCounts {
    /// Connections that exist or are being dialled, of all pools, and places on their way to one that
    /// waits.
    pub open: usize,
    /// How many there may be.
    pub max: usize,
}

/// One host at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostSnapshot {
    /// Scheme, host and port.
    pub host: String,
    /// Its counts, since it became known.
    pub counts: PoolCounts,
    /// How long things took with it.
    pub timings: Timings,
    /// The cap on its open connections, `open_per_host`.
    pub max_connections: usize,
}

/// The counts of a host, without what the core does not know.
#[derive(Debug)]
pub(super) struct HostCounts {
    pub(super) host: String,
    pub(super) counts: PoolCounts,
}

impl TransportSnapshot {
    /// What to export of the pool as a whole, by name. The label is [`name`](Self::name).
    pub fn metrics(&self) -> impl Iterator<Item = Metric<'_>> {
        let idle = ("http_client_idle_connections", self.in_all.idle);
        let ceiling = self.ceiling.into_iter().flat_map(|ceiling| {
            let open = ("http_client_ceiling_open_connections", ceiling.open);
            [open, ("http_client_ceiling_max_connections", ceiling.max)]
        });
        let ceiling =
            ceiling.map(|(name, value)| Metric { name, value: MetricValue::Gauge(value as u64) });
        metrics(&self.in_all, &self.timings, self.max_connections, idle).chain(ceiling)
    }
}

impl HostSnapshot {
    /// What to export of one host, by name: with [`TransportSnapshot::name`] and
    /// [`host`](Self::host) as labels.
    pub fn metrics(&self) -> impl Iterator<Item = Metric<'_>> {
        let idle = ("http_client_idle_connections_per_host", self.counts.idle);
        metrics(&self.counts, &self.timings, self.max_connections, idle)
    }
}

fn metrics<'a>(
    counts: &PoolCounts,
    timings: &'a Timings,
    max_connections: usize,
    idle: (&'static str, usize),
) -> impl Iterator<Item = Metric<'a>> + use<'a> {
    let gauges = [
        idle,
        ("http_client_active_connections", counts.active),
        ("http_client_dialling_connections", counts.dialling),
        ("http_client_max_connections", max_connections),
        ("http_client_active_streams", counts.streams),
        ("http_client_waiting_requests", counts.waiting),
    ];
    let counters = [
        ("http_client_connections_opened_total", counts.opened),
        ("http_client_connections_reused_total", counts.reused),
        ("http_client_dials_ahead_failed_total", counts.failed_ahead),
        ("http_client_tls_resumed_total", timings.tls_resumed),
    ];
    let histograms = [
        ("http_client_dial_seconds", &timings.dial),
        ("http_client_tls_handshake_seconds", &timings.tls),
        ("http_client_wait_seconds", &timings.wait),
        ("http_client_first_byte_seconds", &timings.first_byte),
    ];
    let closed = counts.closed;
    let gauges = gauges.map(|(name, value)| (name, MetricValue::Gauge(value as u64)));
    let counters = counters.map(|(name, value)| (name, MetricValue::Counter(value)));
    let histograms = histograms.map(|(name, value)| (name, MetricValue::Histogram(value)));
    let closed =
        CloseReason::ALL.map(|reason| (reason.metric(), MetricValue::Counter(closed.of(reason))));
    let all = gauges.into_iter().chain(counters).chain(closed).chain(histograms);
    all.map(|(name, value)| Metric { name, value })
}
