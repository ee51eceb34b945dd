//! One quota for all together, and one for each key.

use crate::ground::primitives::atomic::Ordering;
use std::borrow::Borrow;
use std::hash::Hash;
use std::time::Instant;

use super::allowance::Allowance;
use super::bucket::Bucket;
use super::config::TieredQuota;
use super::core::Gcra;
use super::error::{AcquireError, Early, RateLimited, TryAcquireError};
use super::keys::Keys;
use super::line::drive;
use super::metrics::{RateLimiterSnapshot, Refusals};
use super::rooms::{Rooms, Waiting};
use crate::ground::config_error::ConfigError;
use crate::ground::primitives::Mutex;
use crate::ground::primitives::atomic::{AtomicBool, AtomicUsize};
use crate::ground::priority::Priority;
use crate::ground::quiet::drop_quietly;
use crate::ground::refused::Scope;
use crate::ground::time;

/// Admits at most so much in so long, from all keys together and from each key: what a key is
/// refused costs nobody else anything. See the [module](super) for what it guarantees.
///
/// A key is looked up by any borrowed form of it: `&str` for `String`. Its `Hash`, `Eq` and
/// `to_owned` are called under a lock of the limiter's: they must not call the limiter. (Its drop
/// may.)
///
/// # Examples
/// ```
/// use headworks::rate_limit::{Quota, TieredQuota, TieredRateLimiter, TryAcquireError};
/// use headworks::Scope;
///
/// let quota = TieredQuota::default().with_per_key(Quota::per_second(1).with_burst(2));
/// let limiter = TieredRateLimiter::<String>::new(quota)?;
/// assert!(limiter.try_acquire("alice", 2).is_ok());
/// match limiter.try_acquire("alice", 1) {
///     Err(TryAcquireError::RateLimited(limited)) => assert_eq!(limited.scope(), Scope::Key),
///     other => panic!("{other:?}"),
/// }
/// assert!(limiter.try_acquire("bob", 1).is_ok());
/// # Ok::<(), headworks::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct TieredRateLimiter<K> {
    pub(super) global: Gcra,
    pub(super) per_key: Gcra,
    pub(super) bucket: Bucket,
    pub(super) keys: Keys<K>,
    refusals: Refusals,
    pub(super) closed: AtomicBool,
    /// How many wait, written under the lock of the rooms: while nobody does, nobody asks there.
    pub(super) waiting: AtomicUsize,
    pub(super) rooms: Mutex<Rooms<K>>,
}

impl<K: Eq + Hash> TieredRateLimiter<K> {
    /// All buckets full.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work.
    pub fn new(config: TieredQuota) -> Result<Self, ConfigError> {
        Self::new_at(config, time::now())
    }

    pub(crate) fn new_at(config: TieredQuota, now: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let global = ["rate_limit.global.rate", "rate_limit.global.burst"];
        let per_key = ["rate_limit.per_key.rate", "rate_limit.per_key.burst"];
        Ok(Self {
            global: Gcra::new(config.global, global, now)?,
            per_key: Gcra::new(config.per_key, per_key, now)?,
            bucket: Bucket::new(),
            keys: Keys::new(config.max_keys.get(), config.idle_key),
            refusals: Refusals::new(config.enforcement),
            closed: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            rooms: Mutex::new(Rooms::new()),
        })
    }

    /// Takes `cost` tokens of the key and of all now, or none of either. Never waits, and goes
    /// before nobody who does. A cost of 0 takes nothing.
    ///
    /// # Errors
    /// [`TryAcquireError::RateLimited`]: too early, for which tier. [`TryAcquireError::TooLarge`]:
    /// never. [`TryAcquireError::Closed`]: never again.
    ///
    /// # Cost
    /// One short lock among up to 64, one look-up, one compare-and-swap. Allocates for a new key
    /// only.
    pub fn try_acquire<Q>(&self, key: &Q, cost: u32) -> Result<(), TryAcquireError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.try_acquire_at(key, cost, time::now())
    }

    pub(crate) fn try_acquire_at<Q>(
        &self,
        key: &Q,
        cost: u32,
        now: Instant,
    ) -> Result<(), TryAcquireError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.check(cost)?;
        let taken = match self.must_wait(key, cost, now) {
            Some(early) => Err(early),
            None => self.commit(key, cost, now),
        };
        match taken {
            Ok(()) => Ok(()),
            Err(early) => match self.refusals.refuse() {
                Some(seed) => Err(self.limited(early, now, seed).into()),
                None => Ok(()),
            },
        }
    }

    /// The commit order: the key is checked under its lock (and made, if it is a new one), the
    /// global word is taken last, the key is written, unlock. There is nothing to roll back: a refusal by either tier leaves the
    /// other bit for bit untouched.
    pub(super) fn commit<Q>(&self, key: &Q, cost: u32, now: Instant) -> Result<(), Early>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut held = self.keys.lock(key);
        let at = self.per_key.word(now);
        let next = self.per_key.take(held.word(), at, cost, 0).map_err(|units| {
            // The later of the two: at the earlier one the other would still refuse.
            let ours = Early { scope: Scope::Key, units };
            let global = self.global.take(self.bucket.word(), self.global.word(now), cost, 0);
            match global.map_err(|units| Early { scope: Scope::Global, units }) {
                Err(global) if self.at(&global, now) > self.at(&ours, now) => global,
                _ => ours,
            }
        })?;
        let global = self.global.word(now);
        let early = |units| Early { scope: Scope::Global, units };
        if held.is_absent() {
            // No key is made for nothing, while all are refused.
            self.global.take(self.bucket.word(), global, cost, 0).map_err(early)?;
            held.prepare(&self.per_key, at, || key.to_owned());
        }
        self.bucket.take(&self.global, global, cost).map_err(early)?;
        held.write(next, &self.per_key, at);
        Ok(())
    }

    /// When it will be late enough.
    fn at(&self, early: &Early, now: Instant) -> Instant {
        self.tier(early.scope).after(now, early.units)
    }

    /// As `commit`, but takes nothing. `before`: what others will take first, of the key and of
    /// all.
    pub(super) fn look<Q>(
        &self,
        key: &Q,
        cost: u32,
        now: Instant,
        before: [u64; 2],
    ) -> Result<(), Early>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let word = self.keys.lock(key).word();
        self.per_key
            .take(word, self.per_key.word(now), cost, before[0])
            .map_err(|units| Early { scope: Scope::Key, units })?;
        self.global
            .take(self.bucket.word(), self.global.word(now), cost, before[1])
            .map_err(|units| Early { scope: Scope::Global, units })?;
        Ok(())
    }

    /// No barging: somebody waits for this key, or for the turn of all.
    fn must_wait<Q>(&self, key: &Q, cost: u32, now: Instant) -> Option<Early>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        // Relaxed: who doesn't see those who wait yet came before them.
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let (scope, before) = self.rooms.lock().before(key)?;
        // Even if there are tokens enough: they are for those in line.
        let now_if_alone = Early { scope, units: 0 };
        Some(self.look(key, cost, now, before).err().unwrap_or(now_if_alone))
    }

    fn check(&self, cost: u32) -> Result<(), TryAcquireError> {
        let burst = self.global.burst().min(self.per_key.burst());
        if cost > burst {
            return Err(TryAcquireError::TooLarge { cost, burst });
        }
        // Relaxed: says nothing about anything else.
        if self.closed.load(Ordering::Relaxed) { Err(TryAcquireError::Closed) } else { Ok(()) }
    }

    pub(super) fn tier(&self, scope: Scope) -> &Gcra {
        match scope {
            Scope::Global => &self.global,
            Scope::Key => &self.per_key,
        }
    }

    fn limited(&self, early: Early, now: Instant, seed: u64) -> RateLimited {
        let Early { scope, units } = early;
        let tier = self.tier(scope);
        RateLimited::new(scope, now, tier.after(now, units), tier.refill(), seed)
    }

    /// Waits for `cost` tokens of the key and of all. Per key by priority and in order within one;
    /// the heads of the keys whose own quota lets them take turns by priority again. At most 1,024
    /// keys wait, each with at most 64.
    ///
    /// # Errors
    /// [`AcquireError::Full`]: too many wait, for this key or in all. [`AcquireError::TooLarge`]:
    /// never. [`AcquireError::Closed`]: never again.
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
    /// timer per waiting key and one for all.
    pub async fn acquire<Q>(&self, key: &Q, cost: u32, class: Priority) -> Result<(), AcquireError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        match self.try_acquire_at(key, cost, time::now()) {
            Ok(()) => return Ok(()),
            Err(TryAcquireError::RateLimited(_)) => {}
            Err(TryAcquireError::TooLarge { cost, burst }) => {
                return Err(AcquireError::TooLarge { cost, burst });
            }
            Err(TryAcquireError::Closed) => return Err(AcquireError::Closed),
        }
        let mut waiting = Waiting::new(self, key, cost, class);
        drive(|waker, now| waiting.step(waker, now)).await
    }

    /// Gives `cost` tokens of the key and of all back that were taken for nothing; no bucket ever
    /// holds more than its burst. Nothing is given to a bucket that keys share.
    pub fn refund<Q>(&self, key: &Q, cost: u32)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.refund_at(key, cost, time::now());
    }

    pub(crate) fn refund_at<Q>(&self, key: &Q, cost: u32, now: Instant)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.keys.lock(key).give_back(&self.per_key, self.per_key.word(now), cost);
        self.bucket.give_back(&self.global, self.global.word(now), cost);
        // Under the lock even when nobody seems to wait: see `RateLimiter::refund_at`.
        let heads = self.rooms.lock().heads(key);
        heads.wake();
    }

    /// What is left to this key: of its own bucket or of all, whichever is less.
    #[must_use]
    pub fn peek<Q>(&self, key: &Q) -> Allowance
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let [own, all] = self.allowances_at(key, time::now());
        if all.available < own.available { all } else { own }
    }

    /// Of the key's own bucket, and of that of all.
    pub(super) fn allowances_at<Q>(&self, key: &Q, now: Instant) -> [Allowance; 2]
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let word = self.keys.lock(key).word();
        let own = Allowance::of(&self.per_key, word, now);
        [own, Allowance::of(&self.global, self.bucket.word(), now)]
    }

    /// Refuses everything from now on; those who wait end with [`AcquireError::Closed`]. Closing
    /// twice is harmless.
    pub fn close(&self) {
        let mut rooms = self.rooms.lock();
        self.closed.store(true, Ordering::Relaxed);
        self.waiting.store(0, Ordering::Relaxed);
        let (wakes, keys) = rooms.close();
        drop(rooms);
        drop_quietly(keys);
        wakes.wake();
    }

    /// The counts.
    #[must_use]
    pub fn snapshot(&self) -> RateLimiterSnapshot {
        RateLimiterSnapshot {
            refused: self.refusals.refused(),
            would_refuse: self.refusals.would_refuse(),
            waiting: self.rooms.lock().len(),
            keys: self.keys.len(),
        }
    }
}
