//! One quota for all together, and one for each key.

use std::borrow::Borrow;
use std::hash::Hash;
use std::time::Duration;

use super::allowance::Allowance;
use super::bucket::Bucket;
use super::config::{Quota, TieredQuota};
use super::core::{Gcra, Short};
use super::error::{AcquireError, Denied, TryAcquireError};
use super::keys::{Held, Keys};
use super::line::drive;
use super::metrics::{RateLimiterSnapshot, Refusals};
use super::rooms::{Rooms, Waiting};
use super::standing::{Before, Slot, Standing};
use crate::ground::config_error::ConfigError;
use crate::ground::primitives::Mutex;
use crate::ground::priority::Priority;
use crate::ground::quiet::drop_quietly;
use crate::ground::refused::Scope;
use crate::ground::time::{self, Instant};

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
    pub(super) bucket: Bucket,
    pub(super) keys: Keys<K>,
    refusals: Refusals,
    pub(super) standing: Standing,
    pub(super) rooms: Mutex<Rooms<K>>,
    /// Held while the quota of all keys is changed.
    changing: Mutex<()>,
    max_wait: Option<Duration>,
}

const GLOBAL: [&str; 2] = ["rate_limit.global.rate", "rate_limit.global.burst"];
const PER_KEY: [&str; 2] = ["rate_limit.per_key.rate", "rate_limit.per_key.burst"];
const OF_KEY: [&str; 2] = ["rate_limit.key_quota.rate", "rate_limit.key_quota.burst"];

impl<K: Eq + Hash> TieredRateLimiter<K> {
    /// All buckets full.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work.
    pub fn new(config: TieredQuota) -> Result<Self, ConfigError> {
        config.check()?;
        let per_key = Gcra::new(config.per_key, PER_KEY)?;
        Ok(Self {
            bucket: Bucket::new(&Gcra::new(config.global, GLOBAL)?),
            keys: Keys::new(config.max_keys.get(), config.idle_key, per_key),
            refusals: Refusals::new(config.enforcement),
            standing: Standing::new(),
            rooms: Mutex::new(Rooms::new()),
            changing: Mutex::new(()),
            max_wait: config.max_wait,
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
    /// One short lock of a shard of the keys, one look-up, one compare-and-swap. Allocates for a new
    /// key only. While somebody waits, a second hash; one more lock if he waits for this key, or for
    /// one that shares its 64th of the hashes.
    pub fn try_acquire<Q>(&self, key: &Q, cost: u32) -> Result<(), TryAcquireError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.try_acquire_at(key, cost, time::now())
    }

    /// As [`try_acquire`](Self::try_acquire), at a time that the caller knows: see
    /// [`RateLimiter::try_acquire_at`](super::RateLimiter::try_acquire_at).
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_at<Q>(
        &self,
        key: &Q,
        cost: u32,
        now: impl Into<Instant>,
    ) -> Result<(), TryAcquireError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.draw_at(key, cost, now.into()).map(drop)
    }

    /// As [`try_acquire_at`](Self::try_acquire_at). Whether tokens were taken: not of one that is
    /// let through because [`Enforcement`](crate::Enforcement) isn't full.
    pub(crate) fn draw_at<Q>(
        &self,
        key: &Q,
        cost: u32,
        now: Instant,
    ) -> Result<bool, TryAcquireError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut spent = Vec::new();
        let taken = if self.standing.is_empty() {
            self.commit(key, cost, now, &mut spent)
        } else {
            self.unless_others_wait(key, cost, now, &mut spent)
        };
        match taken {
            Ok(()) => Ok(true),
            Err(denied) => self.refusals.tell(denied).map(|()| false),
        }
    }

    /// The commit order: the key is checked under its lock (and made, if it is a new one), the
    /// global word is taken last, the key is written, unlock. There is nothing to roll back: a
    /// refusal by either tier leaves the other bit for bit untouched.
    ///
    /// `spent` gets the keys that are forgotten meanwhile, to be dropped when nothing is locked.
    #[inline]
    pub(super) fn commit<Q>(
        &self,
        key: &Q,
        cost: u32,
        now: Instant,
        spent: &mut Vec<K>,
    ) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut held = self.keys.lock(key);
        let taken = self.commit_held(key, cost, now, &mut held);
        held.leave(spent);
        taken
    }

    #[inline]
    fn commit_held<Q>(
        &self,
        key: &Q,
        cost: u32,
        now: Instant,
        held: &mut Held<'_, K>,
    ) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let quota = held.quota();
        let Some(next) = quota.try_take(held.word(), quota.word(now), cost) else {
            return Err(self.why_key(&quota, held.word(), cost, now));
        };
        if held.is_absent() {
            // No key is made for nothing, while all are refused.
            self.look_global(cost, now, 0)?;
            held.prepare(now, || key.to_owned());
        }
        if !self.bucket.try_take(now, cost) {
            self.bucket.take(now, cost)?;
        }
        held.write(next, now);
        Ok(())
    }

    /// The later of the two tiers' refusals: at the earlier one the other would still refuse.
    #[inline(never)]
    fn why_key(&self, quota: &Gcra, word: u64, cost: u32, now: Instant) -> Denied {
        let short = quota.take(word, quota.word(now), cost, 0).err().unwrap_or(Short::Early(0));
        let own = Denied::by(Scope::Key, quota, short, cost, now);
        self.look_global(cost, now, 0).err().map_or(own, |global| own.or_longer(global))
    }

    /// As `commit`, but takes nothing. `before`: what others will take first, of the key and of
    /// all.
    pub(super) fn look<Q>(
        &self,
        key: &Q,
        cost: u32,
        now: Instant,
        before: [u64; 2],
    ) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let own = self.look_key(key, cost, now, before[0]);
        let global = self.look_global(cost, now, before[1]);
        match (own, global) {
            (Err(own), Err(global)) => Err(own.or_longer(global)),
            (own, global) => own.and(global),
        }
    }

    /// Whether the key's own quota lets it.
    pub(super) fn look_key<Q>(
        &self,
        key: &Q,
        cost: u32,
        now: Instant,
        before: u64,
    ) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let (word, quota) = {
            let held = self.keys.lock(key);
            (held.word(), held.quota())
        };
        let short = quota.take(word, quota.word(now), cost, before);
        short.map(drop).map_err(|short| Denied::by(Scope::Key, &quota, short, cost, now))
    }

    fn look_global(&self, cost: u32, now: Instant, before: u64) -> Result<(), Denied> {
        let (word, quota) = self.bucket.look();
        let short = quota.take(word, quota.word(now), cost, before);
        short.map(drop).map_err(|short| Denied::by(Scope::Global, &quota, short, cost, now))
    }

    /// No barging: while somebody waits for this key, or for the turn of all, the tokens are for
    /// those in line.
    #[cold]
    fn unless_others_wait<Q>(
        &self,
        key: &Q,
        cost: u32,
        now: Instant,
        spent: &mut Vec<K>,
    ) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let before = match self.standing.before(Slot::of(self.keys.hash(key))) {
            Before::Closed => return Err(Denied::Closed),
            Before::Nobody => None,
            Before::All(wanted) => Some((Scope::Global, [0, wanted])),
            Before::Key => self.rooms.lock().before(key),
        };
        let Some((scope, before)) = before else { return self.commit(key, cost, now, spent) };
        self.look(key, cost, now, before)?;
        let (_, quota) = self.bucket.look();
        Err(Denied::by(scope, &quota, Short::Early(0), cost, now))
    }

    /// Waits for `cost` tokens of the key and of all. Per key by priority and in order within one;
    /// the heads of the keys whose own quota lets them take turns by priority again. At most 1,024
    /// keys wait, each with at most 64, each at most [`max_wait`](TieredQuota::max_wait).
    ///
    /// # Errors
    /// [`AcquireError::Full`]: too many wait, for this key or in all. [`AcquireError::Expired`]: it
    /// would take too long, or has. [`AcquireError::TooLarge`]: never. [`AcquireError::Closed`]:
    /// never again.
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
    /// timer per waiting key and one for all, or for everybody who may not wait for ever.
    pub async fn acquire<Q>(&self, key: &Q, cost: u32, class: Priority) -> Result<(), AcquireError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.acquire_by(key, cost, class, self.max_wait).await
    }

    /// As [`acquire`](Self::acquire), and waits at most so long, instead of
    /// [`max_wait`](TieredQuota::max_wait). Refused at once if even with nobody before it that
    /// would not do.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_within<Q>(
        &self,
        key: &Q,
        cost: u32,
        class: Priority,
        within: Duration,
    ) -> Result<(), AcquireError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.acquire_by(key, cost, class, Some(within)).await
    }

    async fn acquire_by<Q>(
        &self,
        key: &Q,
        cost: u32,
        class: Priority,
        within: Option<Duration>,
    ) -> Result<(), AcquireError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let now = time::now();
        let Err(refused) = self.try_acquire_at(key, cost, now) else { return Ok(()) };
        if let Some(for_good) = AcquireError::for_good(refused) {
            return Err(for_good);
        }
        let deadline = within.and_then(|within| time::later(now, within));
        let mut waiting = Waiting::new(self, key, cost, class, deadline);
        drive(deadline, |waker, now| waiting.step(waker, now)).await
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
        self.keys.lock(key).give_back(now, cost);
        self.bucket.give_back(now, cost);
        // Under the lock even when nobody seems to wait: see `RateLimiter::wake_head`.
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
        let own = {
            let held = self.keys.lock(key);
            Allowance::of(&held.quota(), held.word(), now)
        };
        let (word, quota) = self.bucket.look();
        [own, Allowance::of(&quota, word, now)]
    }

    /// Another quota of all together from now on, for those who wait too. What a change does to
    /// the tokens that are there: see [`RateLimiter::set_quota`](super::RateLimiter::set_quota).
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work; then nothing has changed.
    pub fn set_global_quota(&self, quota: Quota) -> Result<(), ConfigError> {
        self.set_global_quota_at(quota, time::now())
    }

    pub(crate) fn set_global_quota_at(
        &self,
        quota: Quota,
        now: Instant,
    ) -> Result<(), ConfigError> {
        let quota = Gcra::new(quota, GLOBAL)?;
        let mut rooms = self.rooms.lock();
        self.bucket.change(&quota, now);
        let heads = rooms.all_heads();
        drop(rooms);
        heads.wake();
        Ok(())
    }

    /// Another quota for every key that has none of its own. What a change does to the tokens that
    /// are there: see [`RateLimiter::set_quota`](super::RateLimiter::set_quota). A key that isn't
    /// remembered is new, and has the whole new burst.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work; then nothing has changed.
    ///
    /// # Cost
    /// Walks all keys, a shard (some thousands, or `max_keys / 4,096`) at a time under its lock, so
    /// others go on meanwhile: until it returns, some keys live by the former quota still.
    pub fn set_per_key_quota(&self, quota: Quota) -> Result<(), ConfigError> {
        self.set_per_key_quota_at(quota, time::now())
    }

    pub(crate) fn set_per_key_quota_at(
        &self,
        quota: Quota,
        now: Instant,
    ) -> Result<(), ConfigError> {
        let quota = Gcra::new(quota, PER_KEY)?;
        let changing = self.changing.lock();
        self.keys.set_quota(&quota, now);
        drop(changing);
        let heads = self.rooms.lock().all_heads();
        heads.wake();
        Ok(())
    }

    /// A quota of its own for this key from now on, or another one. What a change does to the
    /// tokens that are there: see [`RateLimiter::set_quota`](super::RateLimiter::set_quota). A key
    /// that isn't remembered is new, and has the whole burst. The key is remembered until
    /// [`clear_key_quota`](Self::clear_key_quota).
    ///
    /// # Errors
    /// [`ConfigError`] names the field that can't work, or `max_keys` when no other key can be
    /// remembered; then nothing has changed.
    pub fn set_key_quota(&self, key: K, quota: Quota) -> Result<(), ConfigError> {
        self.set_key_quota_at(key, quota, time::now())
    }

    pub(crate) fn set_key_quota_at(
        &self,
        key: K,
        quota: Quota,
        now: Instant,
    ) -> Result<(), ConfigError> {
        let quota = Gcra::new(quota, OF_KEY)?;
        let mut rooms = self.rooms.lock();
        let heads = rooms.heads(&key);
        let mut held = self.keys.lock(&key);
        let is_set = held.set_own(quota, now, key);
        drop(rooms);
        drop(held);
        heads.wake();
        let allowed = "more than the keys in use";
        ConfigError::unless(is_set, "rate_limit.max_keys", self.keys.max(), allowed)
    }

    /// The key lives by the quota of all keys again, and may be forgotten when it is idle.
    pub fn clear_key_quota<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.clear_key_quota_at(key, time::now());
    }

    pub(crate) fn clear_key_quota_at<Q>(&self, key: &Q, now: Instant)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.keys.lock(key).clear_own(now);
        let heads = self.rooms.lock().heads(key);
        heads.wake();
    }

    /// Refuses everything from now on; those who wait end with [`AcquireError::Closed`]. Closing
    /// twice is harmless.
    pub fn close(&self) {
        let mut rooms = self.rooms.lock();
        self.standing.close();
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
