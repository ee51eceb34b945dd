//! A backend and those who call it, event by event.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::blocks::worker_pool::limit::window::Sample;
use crate::ground::rng::Rng;
use crate::ground::time::Instant;

/// Whatever sets a limit.
pub(super) trait Control {
    fn limit(&self) -> u32;
    fn sample(&mut self, sample: Sample, now: Instant);
}

/// What the backend is like at some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backend {
    /// So many calls at once it can work on; more of them wait inside.
    pub(super) knee: f64,
    /// What a call takes that does not wait, in seconds.
    pub(super) service: f64,
    /// How much capacity a call costs that waits, as a share of one's own: it thrashes.
    pub(super) thrash: f64,
    /// The spread of the time a call takes (sigma of a lognormal factor of mean 1).
    pub(super) noise: f64,
    /// The share of calls that hang for a reason of their own.
    pub(super) hang_ratio: f64,
    /// Calls that are wanted, a second; infinite: there is always one.
    pub(super) demand: f64,
}

impl Backend {
    pub(super) const PLAIN: Self = Self {
        knee: 100.0,
        service: 0.1,
        thrash: 0.0,
        noise: 0.3,
        hang_ratio: 0.0,
        demand: f64::INFINITY,
    };

    /// What it can do, or what is wanted if that is less; calls a second.
    fn capacity(&self) -> f64 {
        (self.knee / self.service).min(self.demand)
    }

    fn latency(&self, in_flight: u32, rng: &mut Rng) -> f64 {
        if rng.unit() < self.hang_ratio {
            return f64::INFINITY;
        }
        let load = f64::from(in_flight) / self.knee;
        let over = (load - 1.0).max(0.0);
        let noise = (self.noise * normal(rng) - self.noise * self.noise / 2.0).exp();
        self.service * load.max(1.0) * (1.0 + self.thrash * over) * noise
    }
}

/// Box and Muller's.
fn normal(rng: &mut Rng) -> f64 {
    let (u, v) = (1.0 - rng.unit(), rng.unit());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    /// Ended well in time, of what could have.
    pub(super) goodput_ratio: f64,
    /// What a call took that ended well, in seconds.
    pub(super) p99: f64,
    /// The limit as a share of the knee, over the time it was above.
    pub(super) over_ratio: f64,
    /// Once a second.
    pub(super) limits: Vec<u32>,
    pub(super) goodputs: Vec<u32>,
}

/// Calls in the order in which they end.
struct Call {
    ends: Duration,
    began: Duration,
    is_dropped: bool,
}

impl Call {
    fn key(&self) -> (Duration, Duration) {
        (self.ends, self.began)
    }
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Call {}

impl PartialOrd for Call {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Call {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Most calls that wait before the limit.
const QUEUE: u32 = 1_000;

/// Runs a backend that is `at` some time so, under this control.
pub(super) fn run(
    control: &mut dyn Control,
    at: impl Fn(f64) -> Backend,
    lasts: Duration,
    start: Instant,
    rng: &mut Rng,
) -> Report {
    let (mut now, mut queued, mut arrives) = (Duration::ZERO, 0_u32, Duration::ZERO);
    let mut calls: BinaryHeap<Reverse<Call>> = BinaryHeap::new();
    let mut took: Vec<f32> = Vec::new();
    let (mut report, mut ended_well, mut capacity, mut over) = (Report::default(), 0_u64, 0.0, 0.0);
    while now < lasts {
        let backend = at(now.as_secs_f64());
        let is_open = backend.demand.is_finite();
        while calls.len() < control.limit() as usize && (queued > 0 || !is_open) {
            queued = queued.saturating_sub(1);
            let latency = backend.latency(calls.len() as u32 + 1, rng);
            let is_dropped = latency >= TIMEOUT.as_secs_f64();
            let latency = latency.min(TIMEOUT.as_secs_f64());
            let ends = now + Duration::from_secs_f64(latency);
            calls.push(Reverse(Call { ends, began: now, is_dropped }));
        }
        let ends = calls.peek().map_or(Duration::MAX, |call| call.0.ends);
        let next = if is_open { ends.min(arrives) } else { ends };
        let step = (next - now).as_secs_f64();
        capacity += backend.capacity() * step;
        over += (f64::from(control.limit()) / backend.knee - 1.0).max(0.0) * step;
        while report.limits.len() as u64 <= next.as_secs() && report.limits.len() < 100_000 {
            report.limits.push(control.limit());
            report.goodputs.push(0);
        }
        now = next;
        if is_open && arrives <= ends {
            queued = (queued + 1).min(QUEUE);
            arrives = now + Duration::from_secs_f64(-(1.0 - rng.unit()).ln() / backend.demand);
            continue;
        }
        let Some(Reverse(call)) = calls.pop() else { continue };
        let sample = Sample {
            took: call.ends - call.began,
            is_dropped: call.is_dropped,
            in_flight: calls.len() as u32 + 1,
        };
        if !call.is_dropped {
            ended_well += 1;
            report.goodputs[now.as_secs() as usize] += 1;
            took.push(sample.took.as_secs_f32());
        }
        control.sample(sample, start + now);
    }
    took.sort_unstable_by(f32::total_cmp);
    report.goodput_ratio = ended_well as f64 / capacity;
    report.p99 = took.get(took.len() * 99 / 100).map_or(f64::NAN, |&p99| f64::from(p99));
    report.over_ratio = over / now.as_secs_f64();
    report
}
