//! What a pool of buffers is told.

use std::borrow::Cow;
use std::time::Duration;

use crate::ConfigError;
use crate::gates::object_pool::ObjectPoolConfig;
use crate::gates::object_pool::config::check_trim_after;

/// Configuration of a [`BytesPool`](crate::BytesPool). Checked once, by
/// [`BytesPool::with_config`](crate::BytesPool::with_config).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct BytesPoolConfig {
    /// Tells pools of one process apart in metrics and logs. Default: `"bytes"`.
    pub name: Cow<'static, str>,
    /// The smallest size class; a power of two, at least 64. Default: 1,024.
    pub smallest_bytes: usize,
    /// The largest size class, a power of two, at most 2³⁰. A buffer that is larger, or has grown
    /// larger, is never kept. Default: 65,536.
    pub largest_bytes: usize,
    /// Most bytes that lie in the pool unused: every class has an equal share, of at least one
    /// buffer. Enough for one of each class, at most 2⁴⁰. Default: 8 MiB.
    pub max_idle_bytes: usize,
    /// As [`ObjectPoolConfig::trim_after`], for each class. Default: 30 s.
    pub trim_after: Option<Duration>,
}

impl Default for BytesPoolConfig {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("bytes"),
            smallest_bytes: 1 << 10,
            largest_bytes: 1 << 16,
            max_idle_bytes: 8 << 20,
            trim_after: Some(Duration::from_secs(30)),
        }
    }
}

impl BytesPoolConfig {
    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(self, name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Sets [`smallest_bytes`](Self::smallest_bytes).
    #[must_use]
    pub fn with_smallest_bytes(self, smallest_bytes: usize) -> Self {
        Self { smallest_bytes, ..self }
    }

    /// Sets [`largest_bytes`](Self::largest_bytes).
    #[must_use]
    pub fn with_largest_bytes(self, largest_bytes: usize) -> Self {
        Self { largest_bytes, ..self }
    }

    /// Sets [`max_idle_bytes`](Self::max_idle_bytes).
    #[must_use]
    pub fn with_max_idle_bytes(self, max_idle_bytes: usize) -> Self {
        Self { max_idle_bytes, ..self }
    }

    /// Sets [`trim_after`](Self::trim_after).
    #[must_use]
    pub fn with_trim_after(self, trim_after: impl Into<Option<Duration>>) -> Self {
        Self { trim_after: trim_after.into(), ..self }
    }

    /// The capacities of the classes, smallest first.
    pub(super) fn sizes(&self) -> impl Iterator<Item = usize> + use<> {
        let sizes = self.smallest_bytes.trailing_zeros()..=self.largest_bytes.trailing_zeros();
        sizes.map(|power| 1 << power)
    }

    /// The configuration of each class, and the capacity of its buffers.
    pub(in super::super) fn classes(&self) -> Result<Vec<(usize, ObjectPoolConfig)>, ConfigError> {
        let (smallest, largest) = (self.smallest_bytes, self.largest_bytes);
        ConfigError::unless(
            smallest.is_power_of_two() && smallest >= 64 && smallest <= largest,
            "bytes_pool.smallest_bytes",
            smallest,
            "a power of two, at least 64, at most largest_bytes",
        )?;
        ConfigError::unless(
            largest.is_power_of_two() && largest <= 1 << 30,
            "bytes_pool.largest_bytes",
            largest,
            "a power of two, at most 1073741824",
        )?;
        let least: usize = self.sizes().sum();
        ConfigError::unless(
            (least..=1 << 40).contains(&self.max_idle_bytes),
            "bytes_pool.max_idle_bytes",
            self.max_idle_bytes,
            "the sum of all classes..=1099511627776",
        )?;
        check_trim_after("bytes_pool.trim_after", self.trim_after)?;
        Ok(self.sizes().map(|size| (size, self.class(size, least))).collect())
    }

    /// One buffer of each class, and of what is then left an equal share.
    fn class(&self, size: usize, least: usize) -> ObjectPoolConfig {
        let share = (self.max_idle_bytes - least) / self.sizes().count();
        ObjectPoolConfig::default()
            .with_name(format!("{}_{size}", self.name))
            .with_max_idle((1 + share / size).min(1 << 20))
            .with_trim_after(self.trim_after)
    }
}
