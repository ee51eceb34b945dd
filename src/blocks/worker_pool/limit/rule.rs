//! What latency says of a limit.

/// Wants more or less of a limit by the latency under it.
pub(in crate::blocks::worker_pool) trait Rule {
    /// The limit it wants, when tasks took so long (in seconds) under this one.
    fn wanted(&mut self, limit: f64, took: f64) -> f64;

    /// Throughput is in proportion to concurrency: nothing waits inside the backend, and this is
    /// what a task takes.
    fn is_free(&mut self, took: f64);
}

/// TCP Vegas (Brakmo, Peterson: "TCP Vegas: end to end congestion avoidance", 1995), as Netflix's
/// concurrency-limits took it over for calls: of `limit` in flight, `limit × (1 − base / took)`
/// wait inside the backend.
///
/// Other than there, the bounds on those are shares of the limit, latency is a window's mean, and
/// the latency of an idle backend is never taken anew while it may be loaded: that drifts.
#[derive(Clone, Debug, Default)]
pub(in crate::blocks::worker_pool) struct Vegas {
    idle: Option<f64>,
}

impl Vegas {
    /// Fewer wait: more may run.
    const FEW: f64 = 0.2;
    /// More wait, when a task takes half as long again as it does in an idle backend.
    const MANY: f64 = 1.0 / 3.0;
}

impl Rule for Vegas {
    fn wanted(&mut self, limit: f64, took: f64) -> f64 {
        let idle = self.idle.map_or(took, |idle| idle.min(took));
        self.idle = Some(idle);
        let waiting = 1.0 - idle / took;
        match waiting {
            few if few < Self::FEW => limit + 1.0,
            many if many > Self::MANY => limit * (1.0 - many).max(0.4) / (1.0 - Self::FEW),
            _ => limit,
        }
    }

    fn is_free(&mut self, took: f64) {
        self.idle = Some(took);
    }
}
