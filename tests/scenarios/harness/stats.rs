//! What is said about many figures at once.

use std::time::Duration;

/// The figure that so large a share of them does not exceed.
pub(crate) fn quantile(mut figures: Vec<Duration>, share: f64) -> Duration {
    assert!(!figures.is_empty(), "nothing was measured");
    figures.sort_unstable();
    let rank = (share * figures.len() as f64).ceil() as usize;
    figures[rank.clamp(1, figures.len()) - 1]
}

/// Jain, Chiu and Hawe's index of fairness (1984): 1 when all have the same, `1/n` when one has
/// everything.
pub(crate) fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}

#[test]
fn the_figures_are_what_their_names_say() {
    let figures = || (1..=100).map(Duration::from_secs).collect();
    assert_eq!(quantile(figures(), 0.99), Duration::from_secs(99));
    assert_eq!(quantile(figures(), 1.0), Duration::from_secs(100));
    assert!((jain(&[2.0; 8]) - 1.0).abs() < 1e-9);
    assert!((jain(&[1.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-9);
}
