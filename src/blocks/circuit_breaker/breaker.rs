//! The handle: one lock around the core, and one word in front of it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::{CircuitBreakerConfig, Unreported};
use super::core::{Admission, Claim, Core, State};
use super::error::{CallError, CircuitOpen};
use super::metrics::{CircuitBreakerSnapshot, Metrics};
use super::permit::CallPermit;
use crate::ground::config_error::ConfigError;
use crate::ground::enforcement::Enforcement;
use crate::ground::outcome::Outcome;
use crate::ground::primitives::Mutex;
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::rng::Rng;
use crate::ground::time;

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

#[derive(Debug)]
pub(super) struct Shared {
    /// `generation << 1 | flows`: written under the lock, read without. While the lowest bit is
    /// set, admission needs nothing but the generation beside it.
    flow: AtomicU64,
    inner: Mutex<Inner>,
    pub(super) unreported: Unreported,
    pub(super) slow_after: Duration,
    call_timeout: Duration,
    /// Enforcement is full.
    always_refuses: bool,
    metrics: Metrics,
}

#[derive(Debug)]
struct Inner {
    core: Core,
    rng: Rng,
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
        Ok(Self {
            shared: Arc::new(Shared {
                flow: AtomicU64::new(1),
                unreported: config.unreported,
                slow_after: config.slow_after(),
                call_timeout: config.call_timeout,
                always_refuses: config.enforcement == Enforcement::Full,
                metrics: Metrics::default(),
                inner: Mutex::new(Inner { core: Core::new(config, now), rng }),
            }),
        })
    }

    /// Asks to make one call now, never waits.
    ///
    /// # Errors
    /// [`CircuitOpen`]: don't call; come back at [`CircuitOpen::next_probe_at`].
    ///
    /// # Cost
    /// While calls flow one atomic load; else one short lock. No allocation.
    pub fn try_acquire(&self) -> Result<CallPermit, CircuitOpen> {
        self.try_acquire_at(time::now())
    }

    pub(crate) fn try_acquire_at(&self, now: Instant) -> Result<CallPermit, CircuitOpen> {
        // Relaxed: the word says all there is to know; a trip at this very moment makes this call
        // one of those that were under way when it tripped.
        let flow = self.shared.flow.load(Ordering::Relaxed);
        let claim = if flow & 1 == 1 {
            Claim { generation: flow >> 1, probe: None }
        } else {
            self.shared.admit(now)?
        };
        Ok(CallPermit::new(self.shared.clone(), claim, now))
    }

    /// Whether asking at `now` would surely be refused; takes and counts nothing. A circuit that
    /// is ramping up has a chance, and so has everybody while enforcement isn't full.
    pub(crate) fn peek_at(&self, now: Instant) -> Result<(), CircuitOpen> {
        match self.next_probe_instant(now) {
            Some(until) if self.shared.always_refuses => Err(CircuitOpen::new(until, now)),
            _ => Ok(()),
        }
    }

    fn next_probe_instant(&self, now: Instant) -> Option<Instant> {
        if self.shared.flow.load(Ordering::Relaxed) & 1 == 1 {
            return None;
        }
        self.shared.with_core(|core, rng| {
            core.advance(now, rng);
            core.refused_until()
        })
    }

    /// When a call has a chance again; `None`: now.
    #[must_use]
    pub fn next_probe_at(&self) -> Option<Instant> {
        self.next_probe_instant(time::now())
    }

    /// Whether calls flow.
    #[must_use]
    pub fn state(&self) -> State {
        self.state_at(time::now())
    }

    pub(crate) fn state_at(&self, now: Instant) -> State {
        self.shared.with_core(|core, rng| {
            core.advance(now, rng);
            core.state(now)
        })
    }

    /// The state and the counts.
    #[must_use]
    pub fn snapshot(&self) -> CircuitBreakerSnapshot {
        let now = time::now();
        self.shared.with_core(|core, rng| {
            core.advance(now, rng);
            self.shared.metrics.snapshot(core.state(now), core.trips(), core.late())
        })
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
    /// Dropped while running, the call counts as [`Unreported`] says.
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
        let classify =
            |r: &Result<T, E>| if r.is_ok() { Outcome::Success } else { Outcome::Failure };
        self.call_classified(future, classify).await
    }

    /// As [`call`](Self::call), with the caller's word on what the result says about the backend.
    ///
    /// # Errors
    /// As for [`call`](Self::call).
    ///
    /// # Panics
    /// As for [`call`](Self::call).
    ///
    /// # Cancel safety
    /// As for [`call`](Self::call).
    pub async fn call_classified<T, E>(
        &self,
        future: impl Future<Output = Result<T, E>>,
        classify: impl FnOnce(&Result<T, E>) -> Outcome,
    ) -> Result<T, CallError<E>> {
        let now = time::now();
        let permit = self.try_acquire_at(now)?;
        match time::until(time::later(now, self.shared.call_timeout), future).await {
            Some(result) => {
                permit.report(classify(&result));
                result.map_err(CallError::Inner)
            }
            None => {
                permit.failure();
                Err(CallError::TimedOut)
            }
        }
    }
}

impl Shared {
    fn admit(&self, now: Instant) -> Result<Claim, CircuitOpen> {
        self.with_core(|core, rng| match core.admit(now, rng) {
            Admission::Granted(claim) => Ok(claim),
            Admission::Refused { until } => {
                if core.config().enforcement.refuses(rng) {
                    self.metrics.refused.add(1);
                    return Err(CircuitOpen::new(until, now));
                }
                self.metrics.would_refuse.add(1);
                // No probe: its result decides nothing while the circuit isn't closed.
                Ok(Claim { generation: core.generation(), probe: None })
            }
        })
    }

    pub(super) fn report(&self, claim: Claim, outcome: Outcome, now: Instant) {
        self.metrics.reported(outcome);
        self.with_core(|core, rng| core.report(claim, outcome, now, rng));
    }

    /// The only way to the core: whatever changed there is in `flow` before the lock is released.
    fn with_core<R>(&self, act: impl FnOnce(&mut Core, &mut Rng) -> R) -> R {
        let mut inner = self.inner.lock();
        let Inner { core, rng } = &mut *inner;
        let result = act(core, rng);
        let flow = core.generation() << 1 | u64::from(core.flows());
        // Relaxed: written only under the lock; see `try_acquire_at` for the readers.
        if self.flow.load(Ordering::Relaxed) != flow {
            self.flow.store(flow, Ordering::Relaxed);
        }
        result
    }
}
