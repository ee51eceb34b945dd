//! What a hedge is made from.

use std::borrow::Cow;
use std::num::NonZeroU32;

use crate::ground::config_error::ConfigError;

/// When a second attempt is sent, and how many there may be. Plain data; checked by
/// [`Hedge::new`](super::Hedge::new).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct HedgeConfig {
    /// The label of its metrics. Default: `"hedge"`.
    pub name: Cow<'static, str>,
    /// A call is late when it takes longer than this share (0.5 to 0.999) of the last calls did.
    /// Above 1 − the share of stragglers the delay itself becomes a straggler's; below 1 −
    /// `extra_ratio` more calls are late than may be hedged. Default: 0.98.
    pub quantile_ratio: f64,
    /// … and also longer than so many medians (1 to 1,000) of the last 64 calls: so that ordinary
    /// spread isn't hedged, and nothing is when all calls are slow. Default: 3.
    pub median_factor: f64,
    /// How much of a hedge each call earns that is answered before its delay, 0 to 1: the most
    /// extra load, but for the three hedges that can be saved up. Default: 0.03.
    pub extra_ratio: f64,
    /// Fewer calls than this (20 to 1,000,000) are too few to know what is usual: no hedges.
    /// Default: 100.
    pub minimum_samples: NonZeroU32,
    /// The quantile is that of this many last calls, up to twice as many: at least
    /// `minimum_samples`, at most 1,000,000. Default: 1,000.
    pub window_calls: NonZeroU32,
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("hedge"),
            quantile_ratio: 0.98,
            median_factor: 3.0,
            extra_ratio: 0.03,
            minimum_samples: const { NonZeroU32::MIN.saturating_add(99) },
            window_calls: const { NonZeroU32::MIN.saturating_add(999) },
        }
    }
}

impl HedgeConfig {
    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets [`quantile_ratio`](Self::quantile_ratio).
    #[must_use]
    pub fn with_quantile_ratio(mut self, ratio: f64) -> Self {
        self.quantile_ratio = ratio;
        self
    }

    /// Sets [`median_factor`](Self::median_factor).
    #[must_use]
    pub fn with_median_factor(mut self, factor: f64) -> Self {
        self.median_factor = factor;
        self
    }

    /// Sets [`extra_ratio`](Self::extra_ratio).
    #[must_use]
    pub fn with_extra_ratio(mut self, ratio: f64) -> Self {
        self.extra_ratio = ratio;
        self
    }

    /// Sets [`minimum_samples`](Self::minimum_samples).
    #[must_use]
    pub fn with_minimum_samples(mut self, samples: NonZeroU32) -> Self {
        self.minimum_samples = samples;
        self
    }

    /// Sets [`window_calls`](Self::window_calls).
    #[must_use]
    pub fn with_window_calls(mut self, calls: NonZeroU32) -> Self {
        self.window_calls = calls;
        self
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (field, value, range, allowed) in [
            ("retry.hedge.quantile_ratio", self.quantile_ratio, 0.5..=0.999, "0.5..=0.999"),
            ("retry.hedge.median_factor", self.median_factor, 1.0..=1_000.0, "1..=1000"),
            ("retry.hedge.extra_ratio", self.extra_ratio, 0.0..=1.0, "0..=1"),
        ] {
            ConfigError::unless(range.contains(&value), field, value, allowed)?;
        }
        let (least, samples) = (self.minimum_samples.get(), self.window_calls.get());
        let allowed = "20..=1000000";
        let is_right = (20..=1_000_000).contains(&least);
        ConfigError::unless(is_right, "retry.hedge.minimum_samples", least, allowed)?;
        let allowed = "`minimum_samples`..=1000000";
        let is_right = (least..=1_000_000).contains(&samples);
        ConfigError::unless(is_right, "retry.hedge.window_calls", samples, allowed)
    }
}
