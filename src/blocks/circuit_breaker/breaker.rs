//! The handle.

use std::future::Future;
use std::sync::Arc;
use std::task::Waker;

use super::config::CircuitBreakerConfig;
use super::core::State;
use super::error::{CallError, CircuitOpen, TooManyWaiting};
use super::listeners::{StateEvents, UntilClosed};
use super::metrics::CircuitBreakerSnapshot;
use super::permit::{CallPermit, OwnedCallPermit};
use super::shared::Shared;
use crate::ground::config_error::ConfigError;
use crate::ground::outcome::{Outcome, Verdict};
use crate::ground::quiet::wake_all_quietly;
use crate::ground::rng::Rng;
use crate::ground::time::{self, Glance, Instant, Now};

/// Stops calling a backend that fails, and carefully starts again. See the
/// [module](super) for what it guarantees.
///
/// Clones are the same breaker.
///
/// # Examples
/// ```
/// use headworks::circuit_breaker::{CircuitBreaker, CircuitBreakerConfig, State};
///
/// let breaker = CircuitBreaker::new(CircuitBreakerConfig::default())?;
/// for _ in 0..10 {
///     breaker.try_acquire()?.failure();
/// }
/// assert_eq!(breaker.state(), State::Open);
/// assert!(breaker.try_acquire().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CircuitBreaker {
    shared: Arc<Shared>,
}

impl CircuitBreaker {
    /// A closed breaker.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work.
    pub fn new(config: CircuitBreakerConfig) -> Result<Self, ConfigError> {
        Self::new_at(config, Rng::from_entropy(), time::now())
    }

    pub(crate) fn new_at(
        config: CircuitBreakerConfig,
        rng: Rng,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self::unchecked(config, rng, now))
    }

    /// Of a configuration that has been checked.
    pub(super) fn unchecked(config: CircuitBreakerConfig, rng: Rng, now: Instant) -> Self {
        Self { shared: Arc::new(Shared::new(config, rng, now)) }
    }

    /// Whether there is another handle, or a permit of its own.
    pub(super) fn is_held(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    pub(super) fn is_forced_at(&self, now: Instant) -> bool {
        self.shared.with_core(now, |core, _| core.is_forced())
    }

    /// Asks to make one call now, never waits.
    ///
    /// # Errors
    /// [`CircuitOpen`]: don't call; come back at [`CircuitOpen::next_probe_at`], if it says so.
    ///
    /// # Cost
    /// While calls flow, a look at the clock and one atomic operation, mostly on memory of this
    /// thread; neither, where nothing depends on time (see [the room](super#what-is-read-when)).
    /// While the circuit is open, a look at the clock and one such operation. Else one short lock.
    /// No allocation.
    #[inline(always)]
    pub fn try_acquire(&self) -> Result<CallPermit<'_>, CircuitOpen> {
        self.acquire(&Glance::default())
    }

    /// As [`try_acquire`](Self::try_acquire), at a time that the caller knows: spares the look at the
    /// clock. One that is older than another caller's is harmless.
    ///
    /// # Errors
    /// As for [`try_acquire`](Self::try_acquire).
    #[inline(always)]
    pub fn try_acquire_at(&self, now: impl Into<Instant>) -> Result<CallPermit<'_>, CircuitOpen> {
        self.acquire(now.into())
    }

    #[inline(always)]
    pub(super) fn acquire(&self, now: impl Now) -> Result<CallPermit<'_>, CircuitOpen> {
        match self.shared.admit(now, wake_all_quietly) {
            Ok(claim) => Ok(CallPermit::new(&self.shared, claim)),
            Err(open) => Err(open),
        }
    }

    /// As [`try_acquire`](Self::try_acquire), for a permit that goes elsewhere.
    ///
    /// # Errors
    /// As for [`try_acquire`](Self::try_acquire).
    ///
    /// # Cost
    /// Two atomic operations more, on memory that all threads share.
    pub fn try_acquire_owned(&self) -> Result<OwnedCallPermit, CircuitOpen> {
        self.try_acquire_owned_telling(&Glance::default(), wake_all_quietly)
    }

    /// For who holds a lock of its own: `tell` gets whoever is to be woken, to do it after that.
    pub(crate) fn try_acquire_owned_telling(
        &self,
        now: impl Now,
        tell: impl FnOnce(Vec<Waker>),
    ) -> Result<OwnedCallPermit, CircuitOpen> {
        let claim = self.shared.admit(now, tell)?;
        Ok(OwnedCallPermit::new(Arc::clone(&self.shared), claim))
    }

    /// Whether asking at `now` would surely be refused; takes and counts nothing. A circuit that
    /// is ramping up has a chance, and so has everybody while enforcement isn't full. `tell`: as
    /// above.
    pub(crate) fn peek_telling(
        &self,
        now: Instant,
        tell: impl FnOnce(Vec<Waker>),
    ) -> Result<(), CircuitOpen> {
        match self.shared.peek(now, tell) {
            Some(open) if self.shared.always_refuses() => Err(open),
            _ => Ok(()),
        }
    }

    /// When a call has a chance again; `None`: now or, while it is forced open, when it is released
    /// ([`CircuitBreakerSnapshot::is_forced`] tells which).
    #[must_use]
    pub fn next_probe_at(&self) -> Option<Instant> {
        self.shared.peek(time::now(), wake_all_quietly)?.next_probe_at()
    }

    /// Whether calls flow.
    #[must_use]
    pub fn state(&self) -> State {
        self.state_at(time::now())
    }

    pub(crate) fn state_at(&self, now: Instant) -> State {
        self.shared.with_core(now, |core, cx| {
            core.advance(cx);
            core.state(now)
        })
    }

    /// The state and the counts.
    #[must_use]
    pub fn snapshot(&self) -> CircuitBreakerSnapshot {
        self.snapshot_at(time::now())
    }

    pub(crate) fn snapshot_at(&self, now: Instant) -> CircuitBreakerSnapshot {
        self.shared.with_core(now, |core, cx| {
            core.advance(cx);
            CircuitBreakerSnapshot::of(core, cx.stripes, now)
        })
    }

    /// Refuses every call from now on, whatever is reported, until it is
    /// [released](Self::release). Refusals name no time to come back at, for nobody knows it.
    pub fn force_open(&self) {
        self.shared.with_core(time::now(), |core, cx| core.force_open(cx));
    }

    /// Lets every call through from now on, whatever is reported, until it is
    /// [released](Self::release). Results are counted all the same.
    pub fn force_closed(&self) {
        self.shared.with_core(time::now(), |core, cx| core.force_closed(cx));
    }

    /// Lets it decide by itself again, with a clean slate: from forced open by way of the probes,
    /// from forced closed at once. Nothing, if nobody had forced it.
    pub fn release(&self) {
        self.shared.with_core(time::now(), |core, cx| core.release(cx));
    }

    /// Every change of the state from now on.
    ///
    /// # Errors
    /// [`TooManyWaiting`]: 1,024 receivers are there already.
    pub fn events(&self) -> Result<StateEvents, TooManyWaiting> {
        StateEvents::new(Arc::clone(&self.shared))
    }

    /// Waits until the circuit is closed, if only for a moment. At once if it is.
    ///
    /// Somebody else has to make the calls that probe the backend: who only waits, waits for
    /// ever. Whoever is woken still has to ask, and while traffic returns step by step not
    /// everybody gets through.
    ///
    /// # Errors
    /// [`TooManyWaiting`]: 16,384 are waiting already.
    ///
    /// # Cancel safety
    /// Dropped, it waits no more; nothing else changes.
    ///
    /// # Cost
    /// One short lock for each poll, a place in a table while it waits.
    pub async fn wait_until_closed(&self) -> Result<(), TooManyWaiting> {
        UntilClosed::new(&self.shared).await
    }

    /// Makes one call if the circuit lets it, for at most `call_timeout`: `Ok` is a success,
    /// every error and a timeout a failure.
    ///
    /// # Errors
    /// [`CallError::Open`]: `future` was dropped unpolled. [`CallError::TimedOut`]: it was
    /// dropped while running. [`CallError::Inner`]: its own error.
    ///
    /// # Panics
    /// Outside of a tokio runtime with a timer.
    ///
    /// # Cancel safety
    /// Dropped while running, the call counts as [`Unreported`](super::Unreported) says.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use headworks::circuit_breaker::{CallError, CircuitBreaker, CircuitBreakerConfig};
    ///
    /// let breaker = CircuitBreaker::new(CircuitBreakerConfig::default()).unwrap();
    /// let answer: Result<_, CallError<()>> = breaker.call(async { Ok(42) }).await;
    /// assert_eq!(answer, Ok(42));
    /// # }
    /// ```
    pub async fn call<T, E>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CallError<E>> {
        let classify = |result: &Result<T, E>| match result {
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::Failure,
        };
        self.call_classified(future, classify).await
    }

    /// As [`call`](Self::call), with the caller's word on what the result says about the backend:
    /// an [`Outcome`] or a [`Verdict`]. [`Verdict::of`] asks an error that knows it.
    ///
    /// # Errors
    /// As for [`call`](Self::call).
    ///
    /// # Panics
    /// As for [`call`](Self::call).
    ///
    /// # Cancel safety
    /// As for [`call`](Self::call).
    pub async fn call_classified<T, E, V: Into<Verdict>>(
        &self,
        future: impl Future<Output = Result<T, E>>,
        classify: impl FnOnce(&Result<T, E>) -> V,
    ) -> Result<T, CallError<E>> {
        let now = time::now();
        let permit = self.acquire(now)?;
        let until = time::later(now, self.shared.call_timeout());
        finish(until, future, |result| {
            permit.report(result.map_or(Verdict::failure(), |result| classify(result).into()));
        })
        .await
    }

    #[cfg(feature = "tower")]
    pub(super) fn call_timeout(&self) -> std::time::Duration {
        self.shared.call_timeout()
    }
}

/// Tests say when, and hold no lock.
#[cfg(test)]
impl CircuitBreaker {
    pub(crate) fn try_acquire_owned_at(
        &self,
        now: Instant,
    ) -> Result<OwnedCallPermit, CircuitOpen> {
        self.try_acquire_owned_telling(now, wake_all_quietly)
    }
}

/// Runs the call until then, and reports how it went; `None`: it took too long. What `report`
/// holds is dropped with it when the call is dropped.
pub(super) async fn finish<T, E>(
    until: Option<Instant>,
    future: impl Future<Output = Result<T, E>>,
    report: impl FnOnce(Option<&Result<T, E>>),
) -> Result<T, CallError<E>> {
    let result = time::until(until, future).await;
    report(result.as_ref());
    match result {
        Some(result) => result.map_err(CallError::Inner),
        None => Err(CallError::TimedOut),
    }
}
