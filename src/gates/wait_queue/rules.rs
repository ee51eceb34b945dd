//! What a queue is told: its rules, and the place a waiter asks for.

use std::num::NonZeroU32;

use super::codel::Overload;
use crate::ConfigError;
use crate::Priority;
use crate::ground::tenant::Tenant;
use crate::ground::time::Instant;

/// How much of a queue's cap each class may fill, as ratios above 0 and at most 1; no class more than
/// a higher one.
///
/// Graded, so that the last places are kept for what matters most. A class may always fill at
/// least one place.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Thresholds {
    /// Default: 0.80.
    pub low: f64,
    /// Default: 0.90.
    pub normal: f64,
    /// Default: 0.95.
    pub high: f64,
    /// Default: 1.0.
    pub urgent: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { low: 0.80, normal: 0.90, high: 0.95, urgent: 1.0 }
    }
}

impl Thresholds {
    /// The same ratio for every class.
    #[must_use]
    pub const fn flat(ratio: f64) -> Self {
        Self { low: ratio, normal: ratio, high: ratio, urgent: ratio }
    }

    /// Other ratios, lowest class first.
    #[must_use]
    pub const fn new(low: f64, normal: f64, high: f64, urgent: f64) -> Self {
        Self { low, normal, high, urgent }
    }

    const fn ratios(&self) -> [f64; 4] {
        [self.low, self.normal, self.high, self.urgent]
    }

    pub(super) const fn ratio(&self, class: Priority) -> f64 {
        self.ratios()[class.index()]
    }

    pub(crate) fn check(&self, field: &'static str) -> Result<(), ConfigError> {
        let ratios = self.ratios();
        let rising = ratios.windows(2).all(|pair| pair[0] <= pair[1]);
        let bounded = ratios.iter().all(|ratio| *ratio > 0.0 && *ratio <= 1.0);
        ConfigError::unless(
            rising && bounded,
            field,
            format_args!("{ratios:?}"),
            "each more than 0 and at most 1, not falling from low to urgent",
        )
    }

    /// Places each class may fill of `cap`.
    pub(super) fn limits(&self, cap: usize) -> [usize; 4] {
        self.ratios().map(|ratio| ((cap as f64 * ratio).ceil() as usize).max(1))
    }
}

/// The rules of one queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) cap: usize,
    pub(crate) thresholds: Thresholds,
    /// Grants in a row that may go above a waiting class before it gets one.
    pub(crate) starvation_bound: u32,
    pub(crate) evicts: bool,
    /// Which classes shed load when their queue stands.
    pub(crate) overload: Overload,
}

impl Rules {
    /// 32 lets the class above keep 97 % of the grants while the one below still moves.
    pub(crate) const STARVATION_BOUND: u32 = 32;

    /// Graded thresholds, with eviction.
    pub(crate) fn new(cap: usize) -> Self {
        Self {
            cap,
            thresholds: Thresholds::default(),
            starvation_bound: Self::STARVATION_BOUND,
            evicts: true,
            overload: Overload::default(),
        }
    }

    /// Every class up to the cap, nobody evicted.
    pub(crate) fn flat(cap: usize) -> Self {
        Self { thresholds: Thresholds::flat(1.0), evicts: false, ..Self::new(cap) }
    }
}

/// What a waiter asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) class: Priority,
    pub(crate) tenant: Tenant,
    /// Seats, permits or tokens it takes when granted.
    pub(crate) weight: NonZeroU32,
    pub(crate) deadline: Option<Instant>,
}

impl Place {
    /// No tenant, weight 1, no deadline.
    pub(crate) fn new(class: Priority) -> Self {
        Self { class, tenant: Tenant::NONE, weight: NonZeroU32::MIN, deadline: None }
    }

    /// Whether it asks for one seat, and at any time.
    #[inline]
    pub(crate) fn is_light(&self) -> bool {
        self.deadline.is_none() && self.weight == NonZeroU32::MIN
    }

    /// Whether it has no more than a class.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.is_light() && self.tenant == Tenant::NONE
    }
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use super::*;

    #[test]
    fn ratios_above_zero_that_do_not_fall_are_taken() {
        for good in [Thresholds::default(), Thresholds::flat(0.8), Thresholds::flat(1.0)] {
            assert_eq!(good.check("x.thresholds"), Ok(()));
        }
    }

    #[test]
    fn impossible_ratios_are_named() {
        for wrong in [
            Thresholds::flat(0.0),
            Thresholds::flat(1.01),
            Thresholds::flat(f64::NAN),
            Thresholds::new(0.9, 0.8, 0.95, 1.0),
            Thresholds::new(-0.1, 0.8, 0.95, 1.0),
        ] {
            let error = wrong.check("x.thresholds").unwrap_err().to_string();
            assert!(error.starts_with("x.thresholds is ["), "{error}");
        }
    }

    #[test]
    fn limits_are_rounded_up_and_never_zero() {
        assert_eq!(Thresholds::default().limits(10), [8, 9, 10, 10]);
        assert_eq!(Thresholds::default().limits(1), [1; 4]);
        assert_eq!(Thresholds::flat(0.01).limits(1), [1; 4]);
        assert_eq!(Thresholds::flat(1.0).limits(0), [1; 4]);
    }
}
