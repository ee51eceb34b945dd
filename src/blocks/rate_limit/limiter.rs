//! One quota for everybody.

use std::time::Duration;

use super::allowance::Allowance;
use super::bucket::Bucket;
use super::config::{Quota, RateLimiterConfig, Tokens};
use super::core::{Gcra, Short};
use super::error::{AcquireError, Denied, TryAcquireError};
use super::leases::{LEAST_BURST, Leases, lease_of};
use super::line::{Line, Wakes, drive};
use super::metrics::{RateLimiterSnapshot, Refusals};
use super::waiting::Waiting;
use crate::ground::config_error::ConfigError;
use crate::ground::primitives::Mutex;
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::priority::Priority;
use crate::ground::quiet::wake_quietly;
use crate::ground::refused::Scope;
use crate::ground::stripe::{self, STRIPES};
use crate::ground::time::{self, Clock, Instant, Now};

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
    pub(super) bucket: Bucket,
    /// Taken from the bucket ahead.
    pub(super) leases: Option<Leases>,
    refusals: Refusals,
    /// What those in line want together, or [`CLOSED`]; written under their lock: while it isn't
    /// zero nobody is served out of line.
    pub(super) waiting: AtomicU64,
    pub(super) line: Mutex<Line>,
    max_wait: Option<Duration>,
}

/// More than all in line can want.
pub(super) const CLOSED: u64 = u64::MAX;

/// The fields of a quota.
const FIELDS: [&str; 2] = ["rate_limit.quota.rate", "rate_limit.quota.burst"];

/// In units, with the leases carved out.
fn quota(quota: Quota, is_leased: bool) -> Result<Gcra, ConfigError> {
    let units = Gcra::new(quota, FIELDS)?;
    if !is_leased {
        return Ok(units);
    }
    let [_, field] = FIELDS;
    let allowed = "at least 128 to be leased from";
    ConfigError::unless(quota.burst >= LEAST_BURST, field, quota.burst, allowed)?;
    Ok(units.with_leases(lease_of(quota.burst), STRIPES as u32))
}

impl RateLimiter {
    /// A full bucket.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work.
    pub fn new(config: impl Into<RateLimiterConfig>) -> Result<Self, ConfigError> {
        let config = config.into();
        config.check()?;
        let is_leased = config.tokens == Tokens::Leased;
        Ok(Self {
            bucket: Bucket::new(&quota(config.quota, is_leased)?),
            leases: is_leased.then(Leases::default),
            refusals: Refusals::new(config.enforcement),
            waiting: AtomicU64::new(0),
            line: Mutex::new(Line::new(config.max_waiters.get())),
            max_wait: config.max_wait,
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
    /// A look at the clock and one compare-and-swap; a refusal writes a counter only. No lock, no
    /// allocation. With [leases](super::Tokens::Leased) a compare-and-swap without the clock, and a
    /// short lock for each lease.
    #[inline]
    pub fn try_acquire(&self, cost: u32) -> Result<(), TryAcquireError> {
        self.ask(cost, Clock)
    }

    /// As [`try_acquire`](Self::try_acquire), at a time that the caller knows: one look at the
    /// clock for several decisions, or a replay. All callers of one limiter must read the same
    /// clock; a `now` up to ten minutes older than the last one, or long after it, admits nothing
    /// beyond the bound.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_at(
        &self,
        cost: u32,
        now: impl Into<Instant>,
    ) -> Result<(), TryAcquireError> {
        self.ask(cost, now.into())
    }

    /// The same for who holds a lock of its own: from the bucket even where tokens are leased, so
    /// that nobody is to be woken.
    pub(crate) fn try_acquire_unleased_at(
        &self,
        cost: u32,
        now: Instant,
    ) -> Result<(), TryAcquireError> {
        // Relaxed: as in `ask`.
        match self.waiting.load(Ordering::Relaxed) {
            0 => self.take(cost, now).or_else(|denied| self.refusals.tell(denied)),
            before => self.ask_behind(cost, before, now),
        }
    }

    /// Asks for the time at most once.
    #[inline]
    fn ask(&self, cost: u32, now: impl Now) -> Result<(), TryAcquireError> {
        // Relaxed: who doesn't see those who wait yet came before them, and who doesn't see the
        // close, before that.
        let before = self.waiting.load(Ordering::Relaxed);
        if before != 0 {
            return self.ask_behind(cost, before, now.get());
        }
        if let Some(leases) = &self.leases {
            return self.ask_leases(leases, cost, now);
        }
        let now = now.get();
        if self.bucket.try_take(now, cost) { Ok(()) } else { self.refuse(cost, now) }
    }

    #[inline(never)]
    fn ask_leases(&self, leases: &Leases, cost: u32, now: impl Now) -> Result<(), TryAcquireError> {
        let taken = self.take_leased(leases, stripe::mine(), cost, now);
        taken.or_else(|denied| self.refusals.tell(denied))
    }

    #[cold]
    fn ask_behind(&self, cost: u32, before: u64, now: Instant) -> Result<(), TryAcquireError> {
        self.look(cost, before, now).or_else(|denied| self.refusals.tell(denied))
    }

    /// Unless it was only too slow.
    #[inline(never)]
    fn refuse(&self, cost: u32, now: Instant) -> Result<(), TryAcquireError> {
        self.bucket.take(now, cost).or_else(|denied| self.refusals.tell(denied))
    }

    /// From the stripe's lease, or with another one; before it is refused, all leases are recalled.
    #[inline]
    pub(super) fn take_leased(
        &self,
        leases: &Leases,
        stripe: usize,
        cost: u32,
        now: impl Now,
    ) -> Result<(), Denied> {
        if leases.take(stripe, cost) { Ok(()) } else { self.lease(leases, stripe, cost, now.get()) }
    }

    #[cold]
    fn lease(&self, leases: &Leases, stripe: usize, cost: u32, now: Instant) -> Result<(), Denied> {
        let (generation, lease) = self.bucket.lease();
        let room = leases.reserve(stripe, generation, u32::from(lease));
        let taken = self.bucket.take_more(now, cost, room, generation);
        let came = taken.as_ref().map_or(0, |came| *came);
        let homeless = leases.fill(stripe, generation, room, came);
        if homeless > 0 {
            self.bucket.give_back(now, homeless);
        }
        if came > 0 {
            self.look_for_waiters(now);
        }
        if taken.is_ok() { Ok(()) } else { self.take(cost, now) }
    }

    /// Somebody may have got in line, and have found what was on its way to a lease neither there
    /// nor in the bucket: he looks again. Whoever gets in line after this finds it.
    #[cold]
    fn look_for_waiters(&self, now: Instant) {
        let nobody_waits = self.line.lock().is_empty();
        if !nobody_waits {
            self.recall(now);
            self.wake_head();
        }
    }

    /// Whoever waits, or is to be refused: from the bucket, with all that lies in leases.
    pub(super) fn take(&self, cost: u32, now: Instant) -> Result<(), Denied> {
        match self.bucket.take(now, cost) {
            Err(Denied::Early(..)) if self.recall(now) => self.bucket.take(now, cost),
            taken => taken,
        }
    }

    /// All that lies in leases back into the bucket. Whether there was any.
    fn recall(&self, now: Instant) -> bool {
        let recalled = self.leases.as_ref().map_or(0, Leases::recall);
        if recalled > 0 {
            self.bucket.give_back(now, recalled);
        }
        recalled > 0
    }

    /// Whether asking at `now` would surely be refused, which then counts as a refusal; takes
    /// nothing. Everybody has a chance while enforcement isn't full.
    pub(crate) fn peek_at(&self, cost: u32, now: Instant) -> Result<(), TryAcquireError> {
        // Relaxed: as in `try_acquire_at`.
        let look = || self.look(cost, self.waiting.load(Ordering::Relaxed), now);
        let seen = match look() {
            Err(Denied::Early(..)) if self.recall(now) => look(),
            seen => seen,
        };
        match seen {
            Ok(()) => Ok(()),
            Err(Denied::Early(..)) if !self.refusals.always_refuses() => Ok(()),
            Err(denied) => self.refusals.tell(denied),
        }
    }

    /// Whether it is too early. `before`: what those in line want. While somebody waits it is, even
    /// if there are tokens enough: they are for those in line.
    #[cold]
    pub(super) fn look(&self, cost: u32, before: u64, now: Instant) -> Result<(), Denied> {
        if before == CLOSED {
            return Err(Denied::Closed);
        }
        let (word, quota) = self.bucket.look();
        let short = match quota.take(word, quota.word(now), cost, before) {
            Ok(_) if before > 0 => Short::Early(0),
            Ok(_) => return Ok(()),
            Err(short) => short,
        };
        Err(Denied::by(Scope::Global, &quota, short, cost, now))
    }

    /// Waits for `cost` tokens: by priority, in order within one, with the starvation bound of
    /// all waiting here (a class passed over 32 times in a row gets a turn). At most
    /// [`max_waiters`](RateLimiterConfig::max_waiters) wait, each at most
    /// [`max_wait`](RateLimiterConfig::max_wait).
    ///
    /// # Errors
    /// [`AcquireError::Full`]: too many wait. [`AcquireError::Expired`]: it would take too long,
    /// or has. [`AcquireError::TooLarge`]: never. [`AcquireError::Closed`]: never again.
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
    /// timer for the head of the line only, or for everybody who may not wait for ever.
    pub async fn acquire(&self, cost: u32, class: Priority) -> Result<(), AcquireError> {
        self.acquire_by(cost, class, self.max_wait).await
    }

    /// As [`acquire`](Self::acquire), and waits at most so long, instead of
    /// [`max_wait`](RateLimiterConfig::max_wait). Refused at once if even with nobody before it
    /// that would not do.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_within(
        &self,
        cost: u32,
        class: Priority,
        within: Duration,
    ) -> Result<(), AcquireError> {
        self.acquire_by(cost, class, Some(within)).await
    }

    async fn acquire_by(
        &self,
        cost: u32,
        class: Priority,
        within: Option<Duration>,
    ) -> Result<(), AcquireError> {
        let now = time::now();
        let Err(refused) = self.try_acquire_at(cost, now) else { return Ok(()) };
        if let Some(for_good) = AcquireError::for_good(refused) {
            return Err(for_good);
        }
        let deadline = within.and_then(|within| time::later(now, within));
        let mut waiting = Waiting::new(self, cost, class, deadline);
        drive(deadline, |waker, now| waiting.step(waker, now)).await
    }

    /// Gives `cost` tokens back that were taken for nothing; the bucket never holds more than the
    /// burst.
    pub fn refund(&self, cost: u32) {
        self.refund_at(cost, time::now());
    }

    pub(crate) fn refund_at(&self, cost: u32, now: Instant) {
        self.bucket.give_back(now, cost);
        self.wake_head();
    }

    /// Under the lock even when nobody seems to wait: a head that has just looked at the bucket
    /// has its waker in line before it gives the lock up, so it is woken here.
    fn wake_head(&self) {
        let head = self.line.lock().head();
        head.into_iter().for_each(wake_quietly);
    }

    /// Another quota from now on, for those who wait too. The tokens that are there stay there,
    /// to the part of one, but for what is above the new burst; a greater burst fills at the new
    /// rate. So a change admits nothing by itself: in every window around it at most the burst at
    /// its beginning and what came by the rates of the time.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work; then nothing has changed.
    pub fn set_quota(&self, quota: Quota) -> Result<(), ConfigError> {
        self.set_quota_at(quota, time::now())
    }

    pub(crate) fn set_quota_at(&self, quota: Quota, now: Instant) -> Result<(), ConfigError> {
        let quota = self::quota(quota, self.leases.is_some())?;
        let mut line = self.line.lock();
        if let Some(leases) = &self.leases {
            let generation = self.bucket.next_generation() as u32;
            self.bucket.give_back(now, leases.recall_for(generation));
        }
        self.bucket.change(&quota, now);
        let head = line.head();
        drop(line);
        // Its time may have come, or its cost may be too large now.
        head.into_iter().for_each(wake_quietly);
        Ok(())
    }

    /// What is left.
    #[must_use]
    pub fn peek(&self) -> Allowance {
        self.allowance_at(time::now())
    }

    pub(crate) fn allowance_at(&self, now: Instant) -> Allowance {
        let (word, quota) = self.bucket.look();
        let mut left = Allowance::of(&quota, word, now);
        if let Some(leases) = &self.leases {
            left.available = left.available.saturating_add(leases.held()).min(left.burst);
        }
        left
    }

    /// Refuses everything from now on; those who wait end with [`AcquireError::Closed`]. Closing
    /// twice is harmless.
    pub fn close(&self) {
        let mut wakes = Wakes::default();
        let mut line = self.line.lock();
        self.waiting.store(CLOSED, Ordering::Relaxed);
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
