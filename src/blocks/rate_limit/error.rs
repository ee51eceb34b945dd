//! What a caller is told.

use std::time::{Duration, Instant};

use crate::ground::outcome::{Classify, Verdict};
use crate::ground::refused::Scope;
use crate::ground::rng::Rng;

/// Too early. Says when it will not be, if nobody comes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {scope} rate limit is spent, retry in {:?}", self.retry_after())]
pub struct RateLimited {
    scope: Scope,
    refused_at: Instant,
    earliest: Instant,
    spread: Duration,
    seed: u64,
}

impl RateLimited {
    pub(super) fn new(
        scope: Scope,
        refused_at: Instant,
        earliest: Instant,
        refill: Duration,
        seed: u64,
    ) -> Self {
        let wait = earliest.saturating_duration_since(refused_at);
        Self { scope, refused_at, earliest, spread: wait.max(refill), seed }
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
        self.earliest
    }

    /// How long a caller elsewhere should wait: until `earliest` and by chance up to as long
    /// again, or up to the time in which the bucket fills if that is longer, so that all who were
    /// refused together don't come back together. The same at every call.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        let wait = self.earliest.saturating_duration_since(self.refused_at);
        // An hour more spreads any crowd.
        let spread = self.spread.min(Duration::from_secs(3_600));
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
    /// When to come back, jittered; `None`: never.
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
    /// The limiter is closed, or was while this one waited.
    #[error("the limiter is closed")]
    Closed,
}

/// A refusal without its reply: in units of the tier that refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Early {
    pub(super) scope: Scope,
    pub(super) units: u64,
}

impl Classify for RateLimited {
    fn verdict(&self) -> Verdict {
        Verdict::refused(Some(self.retry_after()))
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
            Self::Full { .. } => Verdict::refused(None),
            Self::TooLarge { .. } | Self::Closed => Verdict::permanent().unsent(),
        }
    }
}
