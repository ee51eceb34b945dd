//! How long to wait after a failure.

use std::time::Duration;

use crate::ground::config_error::ConfigError;
use crate::ground::exponential::exponential;

/// Exponentially growing waits. Plain data.
///
/// A wait is drawn by chance from zero up to its [`ceiling`](Self::ceiling): *full jitter*, the
/// variant with the least work and the least collisions in Marc Brooker's "Exponential Backoff
/// And Jitter" (AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Backoff {
    /// The longest wait after the first failure. Default: 100 ms.
    pub first: Duration,
    /// What each further failure multiplies that by, at least 1. Default: 2.
    pub factor: f64,
    /// The longest wait of all, at most 1 day. Default: 30 s.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), factor: 2.0, most: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// Doubling from `first` to `most`.
    #[must_use]
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, factor: 2.0, most }
    }

    /// Sets [`factor`](Self::factor).
    #[must_use]
    pub const fn with_factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// The longest wait after so many failures in a row.
    ///
    /// # Examples
    /// ```
    /// use headworks::retry::Backoff;
    /// use std::time::Duration;
    ///
    /// let ceilings = [1, 2, 3, 99].map(|failures| Backoff::default().ceiling(failures));
    /// assert_eq!(ceilings, [100, 200, 400, 30_000].map(Duration::from_millis));
    /// ```
    #[must_use]
    pub fn ceiling(&self, failures: u32) -> Duration {
        exponential(self.first, self.factor, self.most, failures.saturating_sub(1))
    }

    /// `at` names the three fields: first, factor, most.
    pub(crate) fn check(&self, at: [&'static str; 3]) -> Result<(), ConfigError> {
        let [first, factor, most] = at;
        let shown = format!("{:?}", self.first);
        ConfigError::unless(self.first <= self.most, first, shown, "at most its `most`")?;
        let grows = self.factor >= 1.0 && self.factor.is_finite();
        ConfigError::unless(grows, factor, self.factor, "at least 1")?;
        let shown = format!("{:?}", self.most);
        ConfigError::unless(self.most <= Duration::from_secs(86_400), most, shown, "at most 1 day")
    }
}
