//! One quota for everybody.

use std::task::Waker;
use std::time::Instant;

use super::allowance::Allowance;
use super::bucket::Bucket;
use super::config::RateLimiterConfig;
use super::core::Gcra;
use super::error::{AcquireError, RateLimited, TryAcquireError};
use super::line::{Line, Step, Turn, Wakes, Wish, drive};
use super::metrics::{RateLimiterSnapshot, Refusals};
use crate::gates::wait_queue::Ticket;
use crate::ground::config_error::ConfigError;
use crate::ground::primitives::Mutex;
use crate::ground::primitives::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::ground::priority::Priority;
use crate::ground::quiet::wake_quietly;
use crate::ground::refused::Scope;
use crate::ground::tenant::Tenant;
use crate::ground::time;

/// Admits at most so much in so long. See the [module](super) for what it guarantees.
///
/// # Examples
/// ```
/// use headworks::rate_limit::{Quota, RateLimiter};
/// use std::time::Duration;
///
/// let limiter = RateLimiter::new(Quota::new(1, Duration::from_secs(60)).with_burst(3))?;
/// assert!(limiter.try_acquire(3).is_ok());
/// let refused = limiter.try_acquire(1).unwrap_err();
/// assert!(refused.retry_after().unwrap() > Duration::from_secs(59));
/// assert!(limiter.try_acquire(4).unwrap_err().retry_after().is_none(), "above the burst: never");
/// # Ok::<(), headworks::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct RateLimiter {
    gcra: Gcra,
    bucket: Bucket,
    refusals: Refusals,
    closed: AtomicBool,
    /// What those in line want together, written under their lock: while it isn't zero nobody is
    /// served out of line.
    waiting: AtomicU64,
    line: Mutex<Line>,
}

impl RateLimiter {
    /// A full bucket.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work.
    pub fn new(config: impl Into<RateLimiterConfig>) -> Result<Self, ConfigError> {
        Self::new_at(config.into(), time::now())
    }

    pub(crate) fn new_at(config: RateLimiterConfig, now: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            gcra: Gcra::new(
                config.quota,
                ["rate_limit.quota.rate", "rate_limit.quota.burst"],
                now,
            )?,
            bucket: Bucket::new(),
            refusals: Refusals::new(config.enforcement),
            closed: AtomicBool::new(false),
            waiting: AtomicU64::new(0),
            line: Mutex::new(Line::new(config.max_waiters.get())),
        })
    }

    /// Takes `cost` tokens now, or none. Never waits, and goes before nobody who does. A cost of 0
    /// takes nothing.
    ///
    /// # Errors
    /// [`TryAcquireError::RateLimited`]: too early. [`TryAcquireError::TooLarge`]: never.
    /// [`TryAcquireError::Closed`]: never again.
    ///
    /// # Cost
    /// One compare-and-swap; a refusal writes a counter only. No lock, no allocation.
    pub fn try_acquire(&self, cost: u32) -> Result<(), TryAcquireError> {
        self.try_acquire_at(cost, time::now())
    }

    pub(crate) fn try_acquire_at(&self, cost: u32, now: Instant) -> Result<(), TryAcquireError> {
        self.check(cost)?;
        // Relaxed: who doesn't see those who wait yet came before them.
        let taken = match self.waiting.load(Ordering::Relaxed) {
            0 => self.bucket.take(&self.gcra, self.gcra.word(now), cost),
            before => self.look(cost, before, now),
        };
        match taken {
            Ok(()) => Ok(()),
            Err(units) => self.refuse(units, now),
        }
    }

    /// Whether asking at `now` would surely be refused, which then counts as a refusal; takes
    /// nothing. Everybody has a chance while enforcement isn't full.
    pub(crate) fn peek_at(&self, cost: u32, now: Instant) -> Result<(), TryAcquireError> {
        self.check(cost)?;
        // Relaxed: as in `try_acquire_at`.
        match self.look(cost, self.waiting.load(Ordering::Relaxed), now) {
            Err(units) if self.refusals.always_refuses() => self.refuse(units, now),
            _ => Ok(()),
        }
    }

    /// How many units too early it is. `before`: what those in line want. While somebody waits it
    /// is too early even if there are tokens enough: they are for those in line.
    fn look(&self, cost: u32, before: u64, now: Instant) -> Result<(), u64> {
        match self.gcra.take(self.bucket.word(), self.gcra.word(now), cost, before) {
            Ok(_) if before > 0 => Err(0),
            free => free.map(drop),
        }
    }

    fn check(&self, cost: u32) -> Result<(), TryAcquireError> {
        if cost > self.gcra.burst() {
            return Err(TryAcquireError::TooLarge { cost, burst: self.gcra.burst() });
        }
        // Relaxed: says nothing about anything else.
        if self.closed.load(Ordering::Relaxed) { Err(TryAcquireError::Closed) } else { Ok(()) }
    }

    fn refuse(&self, units: u64, now: Instant) -> Result<(), TryAcquireError> {
        match self.refusals.refuse() {
            Some(seed) => Err(self.limited(units, now, seed).into()),
            None => Ok(()),
        }
    }

    fn limited(&self, units: u64, now: Instant, seed: u64) -> RateLimited {
        let earliest = self.gcra.after(now, units);
        RateLimited::new(Scope::Global, now, earliest, self.gcra.refill(), seed)
    }

    /// Waits for `cost` tokens: by priority, in order within one, with the starvation bound of
    /// all waiting here (a class passed over 32 times in a row gets a turn). At most
    /// [`max_waiters`](RateLimiterConfig::max_waiters) wait.
    ///
    /// # Errors
    /// [`AcquireError::Full`]: too many wait. [`AcquireError::TooLarge`]: never.
    /// [`AcquireError::Closed`]: never again.
    ///
    /// # Panics
    /// If it has to wait outside of a tokio runtime with a timer.
    ///
    /// # Cancel safety
    /// Dropped, it gives its place in line up; no token is lost. While it waits it must be polled
    /// when woken: it may be the one that the others wait behind.
    ///
    /// # Cost
    /// As [`try_acquire`](Self::try_acquire) if nobody waits; else a short lock per wake-up, and a
    /// timer for the head of the line only.
    pub async fn acquire(&self, cost: u32, class: Priority) -> Result<(), AcquireError> {
        match self.try_acquire_at(cost, time::now()) {
            Ok(()) => return Ok(()),
            Err(TryAcquireError::RateLimited(_)) => {}
            Err(TryAcquireError::TooLarge { cost, burst }) => {
                return Err(AcquireError::TooLarge { cost, burst });
            }
            Err(TryAcquireError::Closed) => return Err(AcquireError::Closed),
        }
        let mut waiting = self.waiting(cost, class);
        drive(|waker, now| waiting.step(waker, now)).await
    }

    pub(super) fn waiting(&self, cost: u32, class: Priority) -> Waiting<'_> {
        let wish = Wish { cost, class, tenant: Tenant::NONE };
        Waiting { limiter: self, wish, ticket: None }
    }

    /// Gives `cost` tokens back that were taken for nothing; the bucket never holds more than the
    /// burst.
    pub fn refund(&self, cost: u32) {
        self.refund_at(cost, time::now());
    }

    pub(crate) fn refund_at(&self, cost: u32, now: Instant) {
        self.bucket.give_back(&self.gcra, self.gcra.word(now), cost);
        // Under the lock even when nobody seems to wait: a head that has just looked at the
        // bucket has its waker in line before it gives the lock up, so it is woken here.
        let head = self.line.lock().head();
        head.into_iter().for_each(wake_quietly);
    }

    /// What is left.
    #[must_use]
    pub fn peek(&self) -> Allowance {
        self.allowance_at(time::now())
    }

    pub(super) fn allowance_at(&self, now: Instant) -> Allowance {
        Allowance::of(&self.gcra, self.bucket.word(), now)
    }

    /// Refuses everything from now on; those who wait end with [`AcquireError::Closed`]. Closing
    /// twice is harmless.
    pub fn close(&self) {
        let mut wakes = Wakes::default();
        let mut line = self.line.lock();
        self.closed.store(true, Ordering::Relaxed);
        self.waiting.store(0, Ordering::Relaxed);
        line.close(&mut wakes);
        drop(line);
        wakes.wake();
    }

    /// The counts.
    #[must_use]
    pub fn snapshot(&self) -> RateLimiterSnapshot {
        RateLimiterSnapshot {
            refused: self.refusals.refused(),
            would_refuse: self.refusals.would_refuse(),
            waiting: self.line.lock().len(),
            keys: 0,
        }
    }
}

/// One that waits. In line from its first step until it is done or dropped.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    limiter: &'a RateLimiter,
    wish: Wish,
    ticket: Option<Ticket>,
}

impl Waiting<'_> {
    pub(super) fn step(&mut self, waker: &Waker, now: Instant) -> Step {
        let mut wakes = Wakes::default();
        // Somebody else's code, as the drop of what is left of it: not under the lock.
        let mut waker = Some(waker.clone());
        let mut line = self.limiter.line.lock();
        let step = self.step_in(&mut line, &mut waker, now, &mut wakes);
        self.limiter.waiting.store(line.cost(), Ordering::Relaxed);
        drop(line);
        wakes.wake();
        step
    }

    fn step_in(
        &mut self,
        line: &mut Line,
        waker: &mut Option<Waker>,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Step {
        let RateLimiter { gcra, bucket, closed, .. } = self.limiter;
        // Set under the lock that is held here.
        if closed.load(Ordering::Relaxed) {
            self.ticket = None;
            return Step::Done(Err(AcquireError::Closed));
        }
        let entered = self.ticket.or_else(|| line.enter(self.wish, now, wakes));
        let Some(ticket) = entered else {
            return Step::Done(Err(AcquireError::Full { scope: Scope::Global }));
        };
        self.ticket = Some(ticket);
        if line.turn(ticket, waker.take(), wakes) == Turn::Wait {
            return Step::Wait;
        }
        match bucket.take(gcra, gcra.word(now), self.wish.cost) {
            Ok(()) => {
                line.served(ticket, self.wish, now, wakes);
                self.ticket = None;
                Step::Done(Ok(()))
            }
            Err(units) => Step::Until(gcra.after(now, units)),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let mut wakes = Wakes::default();
        let mut line = self.limiter.line.lock();
        line.leave(ticket, self.wish, &mut wakes);
        self.limiter.waiting.store(line.cost(), Ordering::Relaxed);
        drop(line);
        wakes.wake();
    }
}
