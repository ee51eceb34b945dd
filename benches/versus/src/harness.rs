//! Interleaved rounds: every contestant is sampled once a round, in an order that changes, and the
//! ratio is taken inside the round, so that a slow minute of the machine is everybody's.

use std::ops::Range;

/// How hard to try.
#[derive(Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    /// Operations per sample are a row's own number divided by this.
    pub divisor: usize,
}

impl Effort {
    pub const FULL: Self = Self { rounds: 15, divisor: 1 };
    /// Shows that everything builds and runs; its figures mean nothing.
    pub const QUICK: Self = Self { rounds: 3, divisor: 50 };

    pub const fn ops(self, full: usize) -> usize {
        let ops = full / self.divisor;
        if ops == 0 { 1 } else { ops }
    }
}

/// What one sample measures, in the order of its figures.
pub struct Measure {
    /// Ends the row's id; empty for the main figure.
    pub suffix: &'static str,
    pub unit: &'static str,
}

/// One who runs the same work as the others.
pub struct Contestant<'a> {
    pub name: &'static str,
    /// One figure for each measure.
    pub sample: Box<dyn FnMut() -> Vec<f64> + 'a>,
}

impl<'a> Contestant<'a> {
    pub fn new(name: &'static str, sample: impl FnMut() -> Vec<f64> + 'a) -> Self {
        Self { name, sample: Box::new(sample) }
    }
}

/// Runs the rounds and prints a row for each measure and peer. The first contestant is ours.
pub fn contest(id: &str, measures: &[Measure], effort: Effort, mut contestants: Vec<Contestant>) {
    for contestant in &mut contestants {
        (contestant.sample)();
    }
    // figures[contestant][measure][round]
    let mut figures =
        vec![vec![Vec::with_capacity(effort.rounds); measures.len()]; contestants.len()];
    for round in 0..effort.rounds {
        for who in order(round, contestants.len()) {
            let sample = (contestants[who].sample)();
            for (of, figure) in figures[who].iter_mut().zip(sample) {
                of.push(figure);
            }
        }
    }
    let Some((ours, theirs)) = figures.split_first() else { return };
    for (which, measure) in measures.iter().enumerate() {
        for (peer, figures) in contestants[1..].iter().zip(theirs) {
            row(
                &format!("{id}{}", measure.suffix),
                measure.unit,
                &ours[which],
                peer.name,
                &figures[which],
            );
        }
    }
}

/// Another first in every round, and every second round backwards: nobody always runs after the
/// same one.
fn order(round: usize, contestants: usize) -> Vec<usize> {
    let forwards: Range<usize> = 0..contestants;
    let turned = forwards.map(|place| (place + round / 2) % contestants);
    if round.is_multiple_of(2) { turned.collect() } else { turned.rev().collect() }
}

pub fn header() {
    println!("id\tours\tunit\tpeer\ttheirs\tratio\tratio_q1\tratio_q3");
}

fn row(id: &str, unit: &str, ours: &[f64], peer: &str, theirs: &[f64]) {
    // Nothing beside nothing (allocations, say) is as much.
    let ratio = |(ours, theirs): (&f64, &f64)| if ours == theirs { 1.0 } else { ours / theirs };
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(ratio).collect();
    println!(
        "{id}\t{:.1}\t{unit}\t{peer}\t{:.1}\t{:.3}\t{:.3}\t{:.3}",
        quantile(ours, 0.5),
        quantile(theirs, 0.5),
        quantile(&ratios, 0.5),
        quantile(&ratios, 0.25),
        quantile(&ratios, 0.75),
    );
}

/// Linear between the two nearest.
pub fn quantile(figures: &[f64], at: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = at * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}
