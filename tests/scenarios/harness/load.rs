//! Who comes when, and what for.

use std::time::Duration;

use headworks::Priority;

use super::rng::Rng;

/// One task to be, as it is meant: instants count from the start of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Duration,
    pub(crate) class: Priority,
    pub(crate) tenant: Option<u32>,
    pub(crate) service: Duration,
    /// When its result is worth nothing any more.
    pub(crate) due: Option<Duration>,
    /// Whether the pool is told.
    pub(crate) says_due: bool,
    /// Who it is when the pool is told otherwise: a scenario's own number.
    pub(crate) kind: usize,
}

/// A Poisson stream of tasks of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) class: Priority,
    pub(crate) tenant: Option<u32>,
    pub(crate) kind: usize,
    pub(crate) service: Duration,
    /// So long after its arrival a task is due.
    pub(crate) patience: Option<Duration>,
}

impl Stream {
    /// What comes from then on for so long, at this rate.
    pub(crate) fn over(
        self,
        rng: &mut Rng,
        from: Duration,
        length: Duration,
        per_second: f64,
    ) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        let mut at = from + rng.gap(per_second);
        while at < from + length {
            arrivals.push(self.one(rng, at));
            at += rng.gap(per_second);
        }
        arrivals
    }

    pub(crate) fn one(self, rng: &mut Rng, at: Duration) -> Arrival {
        let Self { class, tenant, kind, service, patience } = self;
        let due = patience.map(|patience| at + patience);
        let service = rng.around(service);
        Arrival { at, class, tenant, service, due, says_due: true, kind }
    }
}

/// Several streams as one.
pub(crate) fn merged(streams: impl IntoIterator<Item = Vec<Arrival>>) -> Vec<Arrival> {
    let mut all: Vec<_> = streams.into_iter().flatten().collect();
    all.sort_by_key(|arrival| arrival.at);
    all
}
