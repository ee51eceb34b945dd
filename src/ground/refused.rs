//! Why something was not accepted, and the thing itself, given back.

use std::fmt;
use std::time::Duration;

use super::outcome::{Classify, Verdict};

/// Which tier of a limiter said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The limit that everybody shares: also the one quota of a limiter without keys.
    Global,
    /// The limit of this key.
    Key,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "global",
            Self::Key => "key",
        })
    }
}

/// Why something was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// No place left for this class: come back after [`Refused::retry_after`].
    QueueFull,
    /// A rate limit: come back after [`Refused::retry_after`].
    RateLimited {
        /// Which tier refused.
        scope: Scope,
    },
    /// A circuit breaker ahead is open.
    CircuitOpen,
    /// Its deadline has passed already, or would before it could end, by what was measured lately.
    DeadlineInfeasible,
    /// Heavier than the whole capacity: it could never start.
    TooLarge,
    /// The same generation of this key is live with other content.
    Conflict,
    /// A newer generation of this key is live.
    Stale,
    /// Gave its place in the waiting room to something more important, before it was accepted.
    Evicted,
    /// Its deadline passed in the waiting room, before it was accepted.
    Expired,
    /// The block is paused: come back when it is resumed.
    Paused,
    /// It could not be written to where the pipeline keeps what it has accepted.
    NotPersisted,
    /// The block is closed: do not come back.
    Closed,
}

impl Reason {
    /// Whether the same thing may be accepted later, as it is: it is for
    /// [`QueueFull`](Self::QueueFull), [`RateLimited`](Self::RateLimited),
    /// [`CircuitOpen`](Self::CircuitOpen), [`Evicted`](Self::Evicted), [`Paused`](Self::Paused) and
    /// [`NotPersisted`](Self::NotPersisted).
    ///
    /// Not for what waiting does not mend: it comes too late for its deadline
    /// ([`DeadlineInfeasible`](Self::DeadlineInfeasible), [`Expired`](Self::Expired)), is
    /// [`TooLarge`](Self::TooLarge), is not what its key wants any more
    /// ([`Conflict`](Self::Conflict), [`Stale`](Self::Stale)), or the block is
    /// [`Closed`](Self::Closed).
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::QueueFull
            | Self::RateLimited { .. }
            | Self::CircuitOpen
            | Self::Evicted
            | Self::Paused
            | Self::NotPersisted => true,
            Self::DeadlineInfeasible
            | Self::TooLarge
            | Self::Conflict
            | Self::Stale
            | Self::Expired
            | Self::Closed => false,
        }
    }

    /// The snake-case word for metric labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::RateLimited { .. } => "rate_limited",
            Self::CircuitOpen => "circuit_open",
            Self::DeadlineInfeasible => "deadline_infeasible",
            Self::TooLarge => "too_large",
            Self::Conflict => "conflict",
            Self::Stale => "stale",
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::Paused => "paused",
            Self::NotPersisted => "not_persisted",
            Self::Closed => "closed",
        }
    }

    /// A refusal for this reason, for breaker and retry.
    pub(crate) const fn verdict(self, retry_after: Option<Duration>) -> Verdict {
        if self.is_retryable() {
            Verdict::refused(retry_after)
        } else {
            Verdict::permanent().unsent()
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueFull => f.write_str("the queue is full for its class"),
            Self::RateLimited { scope } => write!(f, "the {scope} rate limit is spent"),
            Self::CircuitOpen => f.write_str("a circuit breaker ahead is open"),
            Self::DeadlineInfeasible => f.write_str("its deadline has passed or can't be met"),
            Self::TooLarge => f.write_str("heavier than the whole capacity"),
            Self::Conflict => f.write_str("the same generation is live with other content"),
            Self::Stale => f.write_str("a newer generation is live"),
            Self::Evicted => f.write_str("displaced in the waiting room"),
            Self::Expired => f.write_str("its deadline passed in the waiting room"),
            Self::Paused => f.write_str("paused"),
            Self::NotPersisted => f.write_str("it could not be kept on disk"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// Something that was not accepted, with the reason. Gives the thing back; holds it inline.
///
/// It is an error whatever it holds, but as an error that is sent elsewhere it must be what its
/// thing is: `Send`, `Sync`, `'static`. Futures are often not `Sync`, and some borrow. Where the
/// thing is not wanted back, [`map`](Self::map) lets go of it:
/// `map_err(|refused| refused.map(drop))?`.
#[must_use = "it holds what was refused"]
pub struct Refused<T> {
    reason: Reason,
    retry_after: Option<Duration>,
    thing: T,
}

impl<T> Refused<T> {
    pub(crate) fn new(reason: Reason, retry_after: Option<Duration>, thing: T) -> Self {
        Self { reason, retry_after, thing }
    }

    /// The same refusal of another thing, made of this one: of a part of it, or, with
    /// `map(drop)`, of nothing, so that it fits into an error that must be `Send` and `Sync`.
    ///
    /// ```
    /// use headworks::WorkerPool;
    /// use headworks::worker_pool::WorkerPoolConfig;
    /// use std::cell::Cell;
    ///
    /// async fn doubled(pool: &WorkerPool) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
    ///     let held = Cell::new(21); // makes the future one that is not `Sync`
    ///     let task = async move { held.get() * 2 };
    ///     Ok(pool.try_submit(task).map_err(|refused| refused.map(drop))?.await?)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// assert_eq!(doubled(&WorkerPool::new(WorkerPoolConfig::default())?).await?, 42);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map<U>(self, act: impl FnOnce(T) -> U) -> Refused<U> {
        Refused::new(self.reason, self.retry_after, act(self.thing))
    }

    /// Why.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// When coming back makes sense, by what was measured. `None`: unknown, where the reason
    /// [is retryable](Reason::is_retryable); else never.
    ///
    /// (For [`DeadlineInfeasible`](Reason::DeadlineInfeasible), which is not: from when on a deadline
    /// that leaves as much time could be met.)
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The refused thing.
    pub fn into_inner(self) -> T {
        self.thing
    }
}

impl<T> fmt::Debug for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("reason", &self.reason)
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {}", self.reason)?;
        match self.retry_after {
            Some(after) => write!(f, " (retry after {after:?})"),
            None => Ok(()),
        }
    }
}

impl<T> std::error::Error for Refused<T> {}

impl<T> Classify for Refused<T> {
    fn verdict(&self) -> Verdict {
        self.reason.verdict(self.retry_after)
    }
}
