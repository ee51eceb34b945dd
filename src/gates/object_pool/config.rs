//! What a pool is told.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::ConfigError;

/// Configuration of an [`ObjectPool`](crate::ObjectPool). Checked once, by
/// [`ObjectPool::with_config`](crate::ObjectPool::with_config).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct ObjectPoolConfig {
    /// Tells pools of one process apart in metrics and logs. Default: `"objects"`.
    pub name: Cow<'static, str>,
    /// Most values that lie in the pool unused, with all threads together; at least 1, at most
    /// 2²⁰. Never exceeded; of those that come back later, the last are dropped. How many are in
    /// use at once is not bounded. Default: 1,024.
    pub max_idle: usize,
    /// So many values are left when the pool is trimmed; at most `max_idle`. None are made in
    /// advance. Default: 0.
    pub floor: usize,
    /// A value that nobody needed for so long is dropped, before twice that has passed, if
    /// somebody uses the pool then or calls [`trim`](crate::ObjectPool::trim). At least 1 ms;
    /// `None`: never. Default: 30 s.
    pub trim_after: Option<Duration>,
}

impl Default for ObjectPoolConfig {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("objects"),
            max_idle: 1_024,
            floor: 0,
            trim_after: Some(Duration::from_secs(30)),
        }
    }
}

impl ObjectPoolConfig {
    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(self, name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Sets [`max_idle`](Self::max_idle).
    #[must_use]
    pub fn with_max_idle(self, max_idle: usize) -> Self {
        Self { max_idle, ..self }
    }

    /// Sets [`floor`](Self::floor).
    #[must_use]
    pub fn with_floor(self, floor: usize) -> Self {
        Self { floor, ..self }
    }

    /// Sets [`trim_after`](Self::trim_after).
    #[must_use]
    pub fn with_trim_after(self, trim_after: impl Into<Option<Duration>>) -> Self {
        Self { trim_after: trim_after.into(), ..self }
    }

    /// Its limits, if the configuration can work.
    pub(super) fn limits(&self) -> Result<Limits, ConfigError> {
        ConfigError::unless(
            (1..=1 << 20).contains(&self.max_idle),
            "object_pool.max_idle",
            self.max_idle,
            "1..=1048576",
        )?;
        ConfigError::unless(
            self.floor <= self.max_idle,
            "object_pool.floor",
            self.floor,
            "at most max_idle",
        )?;
        check_trim_after("object_pool.trim_after", self.trim_after)?;
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(Limits::new(self.max_idle, self.floor, self.trim_after, threads))
    }
}

pub(super) fn check_trim_after(
    field: &'static str,
    after: Option<Duration>,
) -> Result<(), ConfigError> {
    let Some(after) = after else { return Ok(()) };
    let ok = after >= Duration::from_millis(1);
    ConfigError::unless(ok, field, format_args!("{after:?}"), "at least 1ms")
}

/// What follows from a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Values in a magazine.
    pub(super) room: usize,
    /// Magazines in all; so at most `room * magazines` values are idle.
    pub(super) magazines: usize,
    /// Of which so many may lie with threads.
    pub(super) lent: usize,
    pub(super) floor: usize,
    /// The length of an epoch; `u64::MAX`: never over.
    pub(super) epoch_ns: u64,
}

impl Limits {
    /// The largest magazine: an exchange then costs its 32 values half a nanosecond each.
    const ROOM: usize = 32;

    /// Half of the magazines are for threads, two for each of those that can run at once.
    pub(super) fn new(
        max_idle: usize,
        floor: usize,
        trim_after: Option<Duration>,
        threads: usize,
    ) -> Self {
        let room = (max_idle / threads.max(1) / 4).clamp(1, Self::ROOM);
        let magazines = max_idle / room;
        let epoch = trim_after.and_then(|after| u64::try_from(after.as_nanos()).ok());
        Self { room, magazines, lent: magazines / 2, floor, epoch_ns: epoch.unwrap_or(u64::MAX) }
    }
}
