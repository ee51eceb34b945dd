//! A point in time in eight bytes.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::{Duration, Instant as StdInstant};

use super::clock;

/// A point in time, in whole nanoseconds: what the crate reckons with.
///
/// It is the monotonic clock of [`std::time::Instant`], to and from which it converts, in half the
/// space; and [`Instant::now`] is cheaper to read. Who decides several things at one time reads it
/// once and passes it on, for example to
/// [`RateLimiter::try_acquire_at`](crate::RateLimiter::try_acquire_at).
///
/// It reaches 146 years into the past and 438 into the future. Arithmetic stops at these ends and
/// never panics.
///
/// # Cost
/// Half of a look at std's clock where the processor counts time and the kernel relies on it
/// (Linux on x86-64): see [`Instant::now`]. Elsewhere one such look. Under the feature
/// `test-util` tokio's clock, so that a paused runtime drives everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(NonZeroU64);

const THIRTY_YEARS: Duration = Duration::from_secs(30 * 31_557_600);

/// As many as fit.
fn nanos(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(duration.subsec_nanos()))
}

impl Instant {
    /// Now.
    ///
    /// Never earlier than what the same thread saw before, and within 2 µs of std's clock while the
    /// system does not slew that (then within a tenth of a millisecond).
    #[inline]
    pub fn now() -> Self {
        clock::now()
    }

    /// The one with these [nanoseconds](Self::nanos); the first one at the earliest.
    #[inline]
    pub(crate) fn of(nanos: u64) -> Self {
        Self(NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN))
    }

    /// Since some instant long ago, the same for all.
    #[inline]
    pub(crate) fn nanos(self) -> u64 {
        self.0.get()
    }

    /// The nanoseconds from `earlier` to here; 0 when it is the later one.
    #[inline]
    pub(crate) fn nanos_since(self, earlier: Self) -> u64 {
        self.nanos().saturating_sub(earlier.nanos())
    }

    /// So many nanoseconds later.
    #[inline]
    pub(crate) fn plus_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// The time from `earlier` to here; zero when it is the later one.
    #[inline]
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// The time since then.
    ///
    /// # Cost
    /// [`now`](Self::now).
    pub fn elapsed(self) -> Duration {
        Self::now() - self
    }

    /// So much later; `None` beyond the last instant that there is.
    pub fn checked_add(self, after: Duration) -> Option<Self> {
        let after = u64::try_from(after.as_nanos()).ok()?;
        self.0.checked_add(after).map(Self)
    }

    /// So much earlier; `None` before the first instant that there is.
    pub fn checked_sub(self, before: Duration) -> Option<Self> {
        let before = u64::try_from(before.as_nanos()).ok()?;
        NonZeroU64::new(self.0.get().checked_sub(before)?).map(Self)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        StdInstant::from(*self).fmt(f)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    #[inline]
    fn add(self, after: Duration) -> Self {
        self.plus_nanos(nanos(after))
    }
}

impl AddAssign<Duration> for Instant {
    #[inline]
    fn add_assign(&mut self, after: Duration) {
        *self = *self + after;
    }
}

impl SubAssign<Duration> for Instant {
    #[inline]
    fn sub_assign(&mut self, before: Duration) {
        *self = *self - before;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    #[inline]
    fn sub(self, before: Duration) -> Self {
        Self::of(self.0.get().saturating_sub(nanos(before)))
    }
}

/// The time from the right one to the left one; zero when the right one is later.
impl Sub for Instant {
    type Output = Duration;

    #[inline]
    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

impl From<StdInstant> for Instant {
    fn from(at: StdInstant) -> Self {
        let first = clock::first();
        Self::of(match at.checked_duration_since(first) {
            Some(after) => clock::FIRST.saturating_add(nanos(after)),
            None => clock::FIRST.saturating_sub(nanos(first - at)),
        })
    }
}

impl From<tokio::time::Instant> for Instant {
    fn from(at: tokio::time::Instant) -> Self {
        at.into_std().into()
    }
}

/// What std can't say on this platform becomes the first instant that the process saw, or thirty
/// years after it.
impl From<Instant> for StdInstant {
    fn from(at: Instant) -> Self {
        let first = clock::first();
        let name = at.nanos();
        let after = Duration::from_nanos(name.saturating_sub(clock::FIRST));
        let before = Duration::from_nanos(clock::FIRST.saturating_sub(name));
        let at =
            if name < clock::FIRST { first.checked_sub(before) } else { first.checked_add(after) };
        at.or_else(|| first.checked_add(after.min(THIRTY_YEARS))).unwrap_or(first)
    }
}

impl From<Instant> for tokio::time::Instant {
    fn from(at: Instant) -> Self {
        StdInstant::from(at).into()
    }
}
