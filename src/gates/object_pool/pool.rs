//! The handle: what a user's code does to a value around the stock, where none of it runs.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::config::ObjectPoolConfig;
use super::metrics::{ObjectPoolSnapshot, Tally};
use super::places::{Place, Places};
use super::pooled::{OwnedPooled, Pooled};
use super::stock::{Pushed, Stock};
use crate::ConfigError;
use crate::ground::quiet::drop_quietly;
use crate::ground::thread_number;
use crate::ground::time::{self, Instant};

type Create<T> = Box<dyn Fn() -> T + Send + Sync>;
type Hook<T> = Box<dyn Fn(&mut T) -> bool + Send + Sync>;

/// Values that are costly to make, kept for the next who needs one. See the [module](super) for
/// what it guarantees and when not to use it.
///
/// # Examples
///
/// ```
/// use headworks::ObjectPool;
///
/// let rows = ObjectPool::new(|| Vec::<u64>::with_capacity(4_096), |row| {
///     row.clear();
///     row.capacity() <= 65_536 // one that has grown beyond is not kept
/// });
/// let mut row = rows.take();
/// row.push(7);
/// drop(row);
/// assert!(rows.take().is_empty());
/// assert_eq!(rows.snapshot().hits, 1);
/// ```
pub struct ObjectPool<T> {
    stock: Stock<T>,
    create: Create<T>,
    reset: Hook<T>,
    validate: Option<Hook<T>>,
    tally: Tally,
    places: Places,
    config: ObjectPoolConfig,
}

impl<T: Send> ObjectPool<T> {
    /// A pool with the default [configuration](ObjectPoolConfig). `create` makes a value when none
    /// is idle; `reset` readies one that came back for the next, and says whether to keep it. Both
    /// may use the pool themselves.
    pub fn new(
        create: impl Fn() -> T + Send + Sync + 'static,
        reset: impl Fn(&mut T) -> bool + Send + Sync + 'static,
    ) -> Self {
        let config = ObjectPoolConfig::default();
        match Self::with_config(config, create, reset) {
            Ok(pool) => pool,
            Err(wrong) => unreachable!("{wrong}: the default"),
        }
    }

    /// As [`new`](Self::new), with limits of one's own.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a field is out of its range.
    pub fn with_config(
        config: ObjectPoolConfig,
        create: impl Fn() -> T + Send + Sync + 'static,
        reset: impl Fn(&mut T) -> bool + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            stock: Stock::new(config.limits()?, time::now()),
            create: Box::new(create),
            reset: Box::new(reset),
            validate: None,
            tally: Tally::default(),
            places: Places::new(),
            config,
        })
    }

    /// Looks at every idle value before it is given out: one that is not valid is dropped, and the
    /// next one tried. For values that go bad while they lie, as connections do.
    #[must_use]
    pub fn with_validate(
        mut self,
        validate: impl Fn(&mut T) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.validate = Some(Box::new(validate));
        self
    }
}

impl<T> ObjectPool<T> {
    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// A value: an idle one, or a new one if none is within reach. Idle ones may be out of reach
    /// with other threads, at most two magazines with each. It goes back as it is dropped.
    ///
    /// # Panics
    ///
    /// If `create` or `validate` does: with what they panicked with, and with nothing taken.
    ///
    /// # Cost
    ///
    /// No atomic operation and no allocation while this thread has idle values; once in a magazine
    /// of them, a lock.
    #[inline]
    #[track_caller]
    pub fn take(&self) -> Pooled<'_, T> {
        let (value, place) = self.lend();
        Pooled::new(self, value, place)
    }

    /// As [`take`](Self::take), with a guard that shares the pool and so can be sent into a task.
    ///
    /// # Panics
    ///
    /// As [`take`](Self::take).
    ///
    /// # Cost
    ///
    /// As [`take`](Self::take), and two atomic operations on a word that all share.
    #[inline]
    #[track_caller]
    pub fn take_owned(self: &Arc<Self>) -> OwnedPooled<T> {
        let (value, place) = self.lend();
        OwnedPooled::new(Arc::clone(self), value, place)
    }

    /// What [`trim_after`](ObjectPoolConfig::trim_after) asks for by now, at once. Needed only for a
    /// pool that nobody may use for long: call it twice as often as values may lie there.
    ///
    /// # Cost
    ///
    /// A lock for each magazine that is dropped.
    pub fn trim(&self) {
        self.trim_at(time::now());
    }

    pub(super) fn trim_at(&self, now: Instant) {
        while self.trim_some_at(now) {}
    }

    /// How it is, and what has happened since it was made.
    #[must_use]
    pub fn snapshot(&self) -> ObjectPoolSnapshot {
        self.tally.snapshot(self.config.name.clone(), self.stock.counts())
    }

    /// In debug builds: where the values were taken that are out, and how many at each line. One
    /// that only grows is a leak. 64 lines are told apart; of those beyond nothing is said. In
    /// other builds it is empty.
    #[must_use]
    pub fn outstanding_by_place(&self) -> Vec<(&'static Location<'static>, usize)> {
        self.places.all()
    }

    #[inline]
    #[track_caller]
    pub(super) fn lend(&self) -> (T, Place) {
        let value = match self.stock.pop(thread_number::mine()) {
            Some(value) if self.validate.is_none() => value,
            popped => self.lend_checked(popped),
        };
        let place = Place::here();
        self.places.went_out(place);
        (value, place)
    }

    #[cold]
    fn lend_checked(&self, mut popped: Option<T>) -> T {
        while let Some(value) = popped {
            match self.check(value) {
                Some(valid) => return valid,
                None => popped = self.stock.pop(thread_number::mine()),
            }
        }
        let made = (self.create)();
        self.tally.created.add(1);
        made
    }

    /// The value, if it is still valid.
    fn check(&self, mut value: T) -> Option<T> {
        let Some(validate) = &self.validate else { return Some(value) };
        let valid = catch_unwind(AssertUnwindSafe(|| validate(&mut value)));
        if let Ok(true) = valid {
            return Some(value);
        }
        self.tally.invalid.add(1);
        drop_quietly(value);
        valid.map_or_else(|payload| resume_unwind(payload), |_| None)
    }

    /// A value comes back.
    #[inline]
    pub(super) fn give_back(&self, mut value: T, place: Place) {
        self.places.came_back(place);
        if std::thread::panicking() {
            return self.lose(value, Loss::Panic(None));
        }
        match catch_unwind(AssertUnwindSafe(|| (self.reset)(&mut value))) {
            Ok(true) => self.keep(value),
            Ok(false) => self.lose(value, Loss::Reset),
            Err(payload) => self.lose(value, Loss::Panic(Some(payload))),
        }
    }

    #[inline]
    fn keep(&self, value: T) {
        match self.stock.push(thread_number::mine(), value) {
            Pushed::Kept => {}
            Pushed::Look => _ = self.trim_some_at(time::now()),
            Pushed::Full(value) => self.lose(value, Loss::Bound),
        }
    }

    #[cold]
    fn lose(&self, value: T, loss: Loss) {
        match loss {
            Loss::Reset => self.tally.reset.add(1),
            Loss::Bound => self.tally.surplus.add(1),
            Loss::Panic(payload) => {
                self.tally.panicked.add(1);
                drop_quietly(payload);
            }
        }
        drop_quietly(value);
    }

    /// A value leaves for good.
    pub(super) fn let_go(&self, place: Place) {
        self.places.came_back(place);
        self.tally.detached.add(1);
    }

    /// At most a magazine of what nobody needs. Whether there was any.
    #[cold]
    fn trim_some_at(&self, now: Instant) -> bool {
        let Some(mut victims) = self.stock.look_at(thread_number::mine(), now) else {
            return false;
        };
        for value in victims.magazine.oldest(victims.count) {
            drop_quietly(value);
            self.tally.trimmed.add(1);
        }
        self.stock.restore(victims.magazine);
        true
    }
}

/// Why a value that came back is not kept.
enum Loss {
    Reset,
    Bound,
    /// With what its reset panicked with, if that did.
    Panic(Option<Box<dyn Any + Send>>),
}

impl<T> Drop for ObjectPool<T> {
    fn drop(&mut self) {
        for mut magazine in self.stock.drain() {
            while let Some(value) = magazine.pop() {
                drop_quietly(value);
            }
        }
    }
}

impl<T> fmt::Debug for ObjectPool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let look = self.tally.snapshot(self.config.name.clone(), self.stock.counts());
        f.debug_struct("ObjectPool")
            .field("name", &look.name)
            .field("outstanding", &look.outstanding)
            .field("idle", &look.idle)
            .finish_non_exhaustive()
    }
}
