//! What the result of one call says, told once: circuit breaker and retry read the same verdict.

use std::convert::Infallible;
use std::time::Duration;

/// How one call to a backend went. Circuit breaker and retry share this classification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The backend answered.
    Success,
    /// The backend failed.
    Failure,
    /// It says nothing about the backend: the caller's own mistake, a refusal, a cancellation.
    Ignored,
}

/// Whether another attempt makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryClass {
    /// It may go better next time.
    Retry,
    /// As `Retry`, and somebody said when: not before. If that is longer than
    /// [`RetryPolicy::retry_after_most`](crate::retry::RetryPolicy::retry_after_most), not at all.
    RetryAfter(Duration),
    /// It won't go better: it went well, or the request is wrong.
    Stop,
}

/// What the result of one call says: about the backend, for a circuit breaker, and about another
/// attempt, for a retry.
///
/// | made by | the breaker counts | a retry |
/// |---|---|---|
/// | [`success`](Self::success) | a success | is not needed; the budget earns |
/// | [`failure`](Self::failure) | a failure | makes sense, after a backoff |
/// | [`overloaded`](Self::overloaded) | nothing, or what it is told to | makes sense, not before |
/// | [`transient`](Self::transient) | nothing | makes sense, after a backoff |
/// | [`refused`](Self::refused) | nothing | makes sense, not before; it costs no budget |
/// | [`permanent`](Self::permanent) | nothing | makes none |
///
/// # Examples
/// ```
/// use headworks::{Outcome, Verdict};
/// use std::{io, time::Duration};
///
/// // One function for breaker and retry.
/// let judge = |result: &io::Result<u32>| match result {
///     Ok(_) => Verdict::success(),
///     Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Verdict::failure().unsent(),
///     Err(e) if e.kind() == io::ErrorKind::InvalidInput => Verdict::permanent(),
///     Err(_) => Verdict::failure(),
/// };
/// assert_eq!(judge(&Ok(1)).outcome(), Outcome::Success);
/// assert_eq!(Verdict::overloaded(None).not_before(Duration::from_secs(5)).outcome(), Outcome::Ignored);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    outcome: Outcome,
    retry: RetryClass,
    unsent: bool,
    overloaded: bool,
}

impl Verdict {
    /// The backend answered.
    #[must_use]
    pub const fn success() -> Self {
        Self::new(Outcome::Success, RetryClass::Stop)
    }

    /// The backend failed, and may do better next time.
    #[must_use]
    pub const fn failure() -> Self {
        Self::new(Outcome::Failure, RetryClass::Retry)
    }

    /// Any other attempt would go as this one did, and not because of the backend: a wrong
    /// request.
    #[must_use]
    pub const fn permanent() -> Self {
        Self::new(Outcome::Ignored, RetryClass::Stop)
    }

    /// The backend works and asks for patience (HTTP 429): come back, not before `retry_after`.
    #[must_use]
    pub const fn overloaded(retry_after: Option<Duration>) -> Self {
        let verdict = Self { overloaded: true, ..Self::transient() };
        match retry_after {
            Some(after) => verdict.not_before(after),
            None => verdict,
        }
    }

    /// It says nothing about the backend, and another attempt may go better: somebody else was
    /// faster (a lost optimistic lock), or it came too early (HTTP 425).
    #[must_use]
    pub const fn transient() -> Self {
        Self::new(Outcome::Ignored, RetryClass::Retry)
    }

    /// A limiter, breaker or pool on this side did not let the call through: the backend has not
    /// seen it.
    #[must_use]
    pub const fn refused(retry_after: Option<Duration>) -> Self {
        let verdict = Self::transient().unsent();
        match retry_after {
            Some(after) => verdict.not_before(after),
            None => verdict,
        }
    }

    const fn new(outcome: Outcome, retry: RetryClass) -> Self {
        Self { outcome, retry, unsent: false, overloaded: false }
    }

    /// The backend can't have seen it: even what must not be done twice may be tried again.
    #[must_use]
    pub const fn unsent(self) -> Self {
        Self { unsent: true, overloaded: false, ..self }
    }

    /// No further attempt makes sense.
    #[must_use]
    pub const fn stop(self) -> Self {
        Self { retry: RetryClass::Stop, ..self }
    }

    /// A further attempt makes sense, not before so much later.
    #[must_use]
    pub const fn not_before(self, after: Duration) -> Self {
        Self { retry: RetryClass::RetryAfter(after), ..self }
    }

    /// For a circuit breaker: how the backend did.
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        self.outcome
    }

    /// Whether another attempt makes sense.
    #[must_use]
    pub const fn retry(self) -> RetryClass {
        self.retry
    }

    /// Whether the backend can't have seen it.
    #[must_use]
    pub const fn is_unsent(self) -> bool {
        self.unsent
    }

    /// Whether a block on this side refused it.
    #[must_use]
    pub const fn is_refused(self) -> bool {
        self.unsent && matches!(self.outcome, Outcome::Ignored)
    }

    /// Whether the backend itself asked for patience, without having failed.
    #[must_use]
    pub const fn is_overloaded(self) -> bool {
        self.overloaded
    }

    /// Of a result whose error knows what it says: `Ok` is a success.
    pub fn of<T, E: Classify>(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::success(),
            Err(error) => error.verdict(),
        }
    }

    /// Of an HTTP status: 5xx is a failure (501 and 505 for good, they are about what was asked
    /// for), and so is 408, by which a server gives up waiting for the request (RFC 9110, section
    /// 15.5.9). 429 asks for patience. 425 was not acted on, for it came in early data (RFC 8470):
    /// it is worth another attempt and says nothing about the backend. All other 4xx are the
    /// caller's mistake. `retry_after` is when the answer asked to be called again.
    #[cfg(feature = "tower")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
    #[must_use]
    pub fn of_status(status: http::StatusCode, retry_after: Option<Duration>) -> Self {
        let verdict = match status.as_u16() {
            408 => Self::failure(),
            425 => Self::transient(),
            429 => Self::overloaded(None),
            501 | 505 => return Self::failure().stop(),
            code if code >= 500 => Self::failure(),
            code if code >= 400 => return Self::permanent(),
            _ => return Self::success(),
        };
        retry_after.map_or(verdict, |after| verdict.not_before(after))
    }

    /// Of an HTTP answer, by its status and its `Retry-After`; an error knows what it says.
    #[cfg(feature = "tower")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
    pub fn of_response<B, E: Classify>(result: &Result<http::Response<B>, E>) -> Self {
        match result {
            Ok(answer) => {
                let after = super::retry_after::retry_after(answer.headers());
                Self::of_status(answer.status(), after)
            }
            Err(error) => error.verdict(),
        }
    }
}

impl From<Outcome> for Verdict {
    /// A failure may do better next time; what says nothing about the backend asks for no other
    /// attempt.
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::success(),
            Outcome::Failure => Self::failure(),
            Outcome::Ignored => Self::permanent(),
        }
    }
}

/// An error that knows what it says about the backend and about another attempt. Implement it for
/// your own, and [`Verdict::of`] judges your results; every refusal of this crate's blocks has it.
///
/// # Examples
/// ```
/// use headworks::circuit_breaker::CircuitBreakerConfig;
/// use headworks::rate_limit::Quota;
/// use headworks::retry::RetryClass;
/// use headworks::{CircuitBreaker, Classify, RateLimiter};
///
/// let breaker = CircuitBreaker::new(CircuitBreakerConfig::default())?;
/// for _ in 0..10 {
///     breaker.try_acquire()?.failure();
/// }
/// let open = breaker.try_acquire().unwrap_err();
/// assert!(open.verdict().is_refused());
/// assert_eq!(open.verdict().retry(), RetryClass::RetryAfter(open.retry_after().unwrap()));
///
/// let limiter = RateLimiter::new(Quota::per_second(1))?;
/// limiter.try_acquire(1)?;
/// let limited = limiter.try_acquire(1).unwrap_err();
/// assert!(limited.verdict().is_refused());
/// let too_large = limiter.try_acquire(9).unwrap_err();
/// assert_eq!(too_large.verdict().retry(), RetryClass::Stop);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Classify {
    /// What it says.
    fn verdict(&self) -> Verdict;
}

impl Classify for Infallible {
    fn verdict(&self) -> Verdict {
        match *self {}
    }
}
