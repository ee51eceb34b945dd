//! When a batch goes.

use std::time::Duration;

use crate::ConfigError;

/// When a batch goes. Plain data; checked by [`Batched::new`](super::Batched::new).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct BatchConfig {
    /// So many inputs go together, and never more. As many attempts must have room in the phase
    /// ([`PhaseConfig::concurrency`](crate::PhaseConfig::concurrency)) and at the pipeline's seats.
    /// Default: 32.
    pub max_items: usize,
    /// So many bytes go together, by what [`Batched::weigher`](super::Batched::weigher) says; a
    /// single input may be larger. Default: 1 MiB.
    pub max_bytes: usize,
    /// The longest an input waits for others. Default: 5 ms.
    pub max_age: Duration,
    /// Inputs in line; beyond, an attempt is refused and repeated later. Default: 4096.
    pub max_waiting: usize,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            max_items: 32,
            max_bytes: 1 << 20,
            max_age: Duration::from_millis(5),
            max_waiting: 4096,
        }
    }
}

impl BatchConfig {
    /// Sets [`max_items`](Self::max_items).
    #[must_use]
    pub fn with_max_items(self, max_items: usize) -> Self {
        Self { max_items, ..self }
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Sets [`max_age`](Self::max_age).
    #[must_use]
    pub fn with_max_age(self, max_age: Duration) -> Self {
        Self { max_age, ..self }
    }

    /// Sets [`max_waiting`](Self::max_waiting).
    #[must_use]
    pub fn with_max_waiting(self, max_waiting: usize) -> Self {
        Self { max_waiting, ..self }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let most = 1..=1 << 16;
        for (value, field) in [
            (self.max_items, "pipeline.batch.max_items"),
            (self.max_waiting, "pipeline.batch.max_waiting"),
        ] {
            ConfigError::unless(most.contains(&value), field, value, "1..=65536")?;
        }
        // Else it would be full before a batch is, and refuse the one that fills it.
        let waiting = self.max_waiting;
        ConfigError::unless(
            waiting >= self.max_items,
            "pipeline.batch.max_waiting",
            waiting,
            "at least max_items",
        )?;
        let bytes = self.max_bytes;
        ConfigError::unless(bytes >= 1, "pipeline.batch.max_bytes", bytes, "at least 1")
    }
}
