//! What a caller is told.

use std::time::Duration;

use super::core::{Early, Gcra, Short};
use crate::ground::outcome::{Classify, Verdict};
use crate::ground::refused::Scope;
use crate::ground::rng::Rng;
use crate::ground::time::Instant;

/// Too early. Says when it will not be, if nobody comes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {scope} rate limit is spent for {:?}", self.early.wait())]
pub struct RateLimited {
    scope: Scope,
    early: Early,
    seed: u64,
}

impl RateLimited {
    #[inline(always)]
    pub(super) fn new(scope: Scope, early: Early, seed: u64) -> Self {
        Self { scope, early, seed }
    }

    /// Which tier said no: always [`Scope::Global`] for a [`RateLimiter`](super::RateLimiter),
    /// which has only one.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The first instant at which the same call would have been admitted, exactly: not a
    /// nanosecond before.
    #[must_use]
    pub fn earliest(&self) -> Instant {
        self.early.at()
    }

    /// For a reply to a caller elsewhere, and not for one's own waiting: until `earliest` and by
    /// chance up to as long again, or up to the time in which the bucket fills if that is longer (an
    /// hour at most), so that all who were refused together don't come back together. The same at
    /// every call.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        let wait = self.early.wait();
        // An hour more spreads any crowd.
        let spread = wait.max(self.early.refill()).min(Duration::from_secs(3_600));
        wait.saturating_add(Rng::seeded(self.seed).up_to(spread))
    }
}

/// Why [`try_acquire`](super::RateLimiter::try_acquire) took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryAcquireError {
    /// Too early: come back at [`RateLimited::earliest`].
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The cost is above the burst: it could never be admitted.
    #[error("a cost of {cost} is above the burst of {burst}")]
    TooLarge {
        /// What was asked for.
        cost: u32,
        /// The most that can be.
        burst: u32,
    },
    /// The limiter is closed: don't come back.
    #[error("the limiter is closed")]
    Closed,
}

impl TryAcquireError {
    /// For a reply to a caller elsewhere: see [`RateLimited::retry_after`]; `None`: never. Who waits
    /// himself goes by [`earliest`](Self::earliest).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited(limited) => Some(limited.retry_after()),
            Self::TooLarge { .. } | Self::Closed => None,
        }
    }

    /// The first instant at which it would have been admitted; `None`: never.
    #[must_use]
    pub fn earliest(&self) -> Option<Instant> {
        match self {
            Self::RateLimited(limited) => Some(limited.earliest()),
            Self::TooLarge { .. } | Self::Closed => None,
        }
    }
}

/// Why [`acquire`](super::RateLimiter::acquire) took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// Too many wait already, for all or for this key.
    #[error("too many wait for the {scope} rate limit")]
    Full {
        /// Whose line is full.
        scope: Scope,
    },
    /// The cost is above the burst: it could never be admitted.
    #[error("a cost of {cost} is above the burst of {burst}")]
    TooLarge {
        /// What was asked for.
        cost: u32,
        /// The most that can be.
        burst: u32,
    },
    /// It would have to wait longer than it may, or has: nothing was taken.
    #[error("the rate limit would be waited for too long")]
    Expired,
    /// The limiter is closed, or was while this one waited.
    #[error("the limiter is closed")]
    Closed,
}

impl AcquireError {
    /// What waiting can't change; `None` if it is only too early.
    pub(super) fn for_good(refused: TryAcquireError) -> Option<Self> {
        match refused {
            TryAcquireError::RateLimited(_) => None,
            TryAcquireError::TooLarge { cost, burst } => Some(Self::TooLarge { cost, burst }),
            TryAcquireError::Closed => Some(Self::Closed),
        }
    }
}

/// A refusal without its reply.
#[derive(Clone, Copy, Debug)]
pub(super) enum Denied {
    Early(Scope, Early),
    TooLarge { cost: u32, burst: u32 },
    Closed,
}

impl Denied {
    /// By this tier's quota.
    #[inline(always)]
    pub(super) fn by(scope: Scope, quota: &Gcra, short: Short, cost: u32, now: Instant) -> Self {
        match short {
            Short::Early(units) => Self::Early(scope, quota.early(now, units)),
            Short::TooLarge { burst } => Self::TooLarge { cost, burst },
        }
    }

    /// When it will be late enough; `None`: never.
    pub(super) fn at(&self) -> Option<Instant> {
        match self {
            Self::Early(_, early) => Some(early.at()),
            Self::TooLarge { .. } | Self::Closed => None,
        }
    }

    /// Of two, the one that says no for longer.
    pub(super) fn or_longer(self, other: Self) -> Self {
        match (self.at(), other.at()) {
            (Some(at), Some(other_at)) if other_at <= at => self,
            (None, Some(_)) => self,
            _ => other,
        }
    }
}

impl Classify for RateLimited {
    fn verdict(&self) -> Verdict {
        // Whoever waits it out here spreads it himself, and by how long it is.
        Verdict::refused(Some(self.early.wait()))
    }
}

impl Classify for TryAcquireError {
    fn verdict(&self) -> Verdict {
        match self {
            Self::RateLimited(limited) => limited.verdict(),
            Self::TooLarge { .. } | Self::Closed => Verdict::permanent().unsent(),
        }
    }
}

impl Classify for AcquireError {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Full { .. } | Self::Expired => Verdict::refused(None),
            Self::TooLarge { .. } | Self::Closed => Verdict::permanent().unsent(),
        }
    }
}
