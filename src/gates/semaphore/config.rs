//! What a semaphore is told.

use std::borrow::Cow;

use crate::ConfigError;
use crate::gates::wait_queue::{Overload, Rules, Thresholds};

/// Configuration of a [`PrioritySemaphore`](crate::PrioritySemaphore). Checked once, by [`PrioritySemaphore::new`](crate::PrioritySemaphore::new).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct SemaphoreConfig {
    /// Tells semaphores of one process apart in metrics and logs. Default: `"semaphore"`.
    pub name: Cow<'static, str>,
    /// Most waiters at a time, however many permits each wants; at least 1, at most 2³⁰.
    /// Default: 1,024.
    pub queue_capacity: usize,
    /// How much of `queue_capacity` each class may fill. Default: 0.80 for `Low`, 0.90 for
    /// `Normal`, 0.95 for `High`, 1.0 for `Urgent`.
    pub thresholds: Thresholds,
    /// Grants in a row that may go above a waiting class before it gets the next one; at least 1.
    /// Default: 32, which leaves the class above 97 % of the grants while the one below moves.
    pub starvation_bound: u32,
    /// Which classes shed waiters when their queue stands; who is shed ends
    /// [`Evicted`](super::AcquireError::Evicted). How long a permit is held is not measured here:
    /// targets and intervals are as given. Default: none.
    pub overload: Overload,
}

impl Default for SemaphoreConfig {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("semaphore"),
            queue_capacity: 1024,
            thresholds: Thresholds::default(),
            starvation_bound: Rules::STARVATION_BOUND,
            overload: Overload::default(),
        }
    }
}

impl SemaphoreConfig {
    /// Most waiters that a line can hold.
    const MOST_WAITERS: usize = 1 << 30;

    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(self, name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Sets [`queue_capacity`](Self::queue_capacity).
    #[must_use]
    pub fn with_queue_capacity(self, queue_capacity: usize) -> Self {
        Self { queue_capacity, ..self }
    }

    /// Sets [`thresholds`](Self::thresholds).
    #[must_use]
    pub fn with_thresholds(self, thresholds: Thresholds) -> Self {
        Self { thresholds, ..self }
    }

    /// Sets [`starvation_bound`](Self::starvation_bound).
    #[must_use]
    pub fn with_starvation_bound(self, starvation_bound: u32) -> Self {
        Self { starvation_bound, ..self }
    }

    /// Sets [`overload`](Self::overload).
    #[must_use]
    pub fn with_overload(self, overload: Overload) -> Self {
        Self { overload, ..self }
    }

    /// The rules of the line, if the configuration can work.
    pub(super) fn rules(&self) -> Result<Rules, ConfigError> {
        ConfigError::unless(
            (1..=Self::MOST_WAITERS).contains(&self.queue_capacity),
            "semaphore.queue_capacity",
            self.queue_capacity,
            "1..=1073741824",
        )?;
        self.thresholds.check("semaphore.thresholds")?;
        ConfigError::unless(
            self.starvation_bound > 0,
            "semaphore.starvation_bound",
            self.starvation_bound,
            "at least 1",
        )?;
        self.overload.check("semaphore.overload")?;
        Ok(Rules {
            thresholds: self.thresholds,
            starvation_bound: self.starvation_bound,
            overload: self.overload,
            ..Rules::new(self.queue_capacity)
        })
    }

    /// The number of permits to start with, if there can be so many.
    pub(super) fn permits(permits: usize) -> Result<u32, ConfigError> {
        let fits = u32::try_from(permits).ok().filter(|permits| *permits > 0);
        fits.ok_or_else(|| ConfigError::invalid("semaphore.permits", permits, "1..=4294967295"))
    }
}
