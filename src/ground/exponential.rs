//! Growing waits, for whoever comes back after a failure.

use std::time::Duration;

/// `first × factor^step`, never above `most`. Step 0 is `first`. Needs `factor ≥ 1` and finite.
pub(crate) fn exponential(first: Duration, factor: f64, most: Duration, step: u32) -> Duration {
    let grown = first.as_secs_f64() * factor.powi(i32::try_from(step).unwrap_or(i32::MAX));
    // Infinite or beyond what a Duration holds: the cap. (0 × ∞ is not a number: 0 stays 0.)
    if grown.is_nan() {
        return first.min(most);
    }
    Duration::try_from_secs_f64(grown).unwrap_or(Duration::MAX).min(most)
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn doubles_up_to_the_cap_and_never_overflows() {
        let waits: Vec<_> =
            (0..6).map(|step| exponential(100 * MS, 2.0, 1500 * MS, step)).collect();
        assert_eq!(waits, [100 * MS, 200 * MS, 400 * MS, 800 * MS, 1500 * MS, 1500 * MS]);
        assert_eq!(exponential(100 * MS, 2.0, Duration::MAX, u32::MAX), Duration::MAX);
        assert_eq!(exponential(Duration::ZERO, 2.0, MS, u32::MAX), Duration::ZERO);
        assert_eq!(exponential(5 * MS, 1.0, MS, 3), MS);
    }
}
