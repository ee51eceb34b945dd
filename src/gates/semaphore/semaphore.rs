//! The handle: word, lock and wakers. The order is the line's (`core.rs`).

use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::config::SemaphoreConfig;
use super::core::{Entered, Leaving, Line, Spot, Verdict};
use super::error::AcquireError;
use super::metrics::SemaphoreSnapshot;
use super::permit::{OwnedPermit, Permit};
use super::stripes::Stripes;
use super::told::Told;
use super::waiting::Waiting;
use super::want::Want;
use super::word::{Gave, Standing, Took, Word};
use crate::ConfigError;
use crate::ground::primitives::{Mutex, MutexGuard};
use crate::ground::quiet::drop_quietly;
use crate::ground::stripe;
use crate::ground::time::{self, Glance, Now};

/// A semaphore that serves waiters in order of priority, in a bounded line. See the
/// [module](super) for what it guarantees.
///
/// # Examples
///
/// ```
/// use headworks::semaphore::SemaphoreConfig;
/// use headworks::{Priority, PrioritySemaphore};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let semaphore = PrioritySemaphore::new(1, SemaphoreConfig::default())?;
/// let permit = semaphore.acquire(Priority::Low).await?;
/// assert!(semaphore.try_acquire().is_none());
///
/// let batch = async { semaphore.acquire(Priority::Low).await.map(|_permit| println!("second")) };
/// let user = async { semaphore.acquire(Priority::Urgent).await.map(|_permit| println!("first")) };
/// let (batch, user, ()) = tokio::join!(batch, user, async { drop(permit) });
/// batch?;
/// user?;
/// # Ok(())
/// # }
/// ```
pub struct PrioritySemaphore {
    word: Word,
    stripes: Stripes,
    line: Mutex<Line>,
    config: SemaphoreConfig,
}

/// How an acquisition that did not find its permits goes on.
#[derive(Debug)]
pub(super) enum Entry<'a> {
    /// It got them after all.
    Granted(NonZeroU32),
    /// It stands in line.
    Waits(Waiting<'a>),
}

impl PrioritySemaphore {
    /// The most permits a semaphore can have.
    pub const MAX_PERMITS: usize = u32::MAX as usize;

    /// A semaphore with so many free permits.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a field, or `permits` (1 to [`MAX_PERMITS`](Self::MAX_PERMITS)), is
    /// out of its range.
    pub fn new(permits: usize, config: SemaphoreConfig) -> Result<Self, ConfigError> {
        let rules = config.rules()?;
        let permits = SemaphoreConfig::permits(permits)?;
        let line = Mutex::new(Line::new(permits, rules));
        Ok(Self { word: Word::new(permits), stripes: Stripes::new(), line, config })
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// One permit if one is free and nobody waits; never waits itself, and never fails while one
    /// is free for it.
    ///
    /// # Cost
    ///
    /// One atomic operation, mostly on memory of this thread, and no allocation. The lock of the
    /// line, briefly, when the last free permits may lie with other threads.
    ///
    /// # Examples
    ///
    /// ```
    /// use headworks::PrioritySemaphore;
    /// use headworks::semaphore::SemaphoreConfig;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let semaphore = PrioritySemaphore::new(1, SemaphoreConfig::default())?;
    /// let permit = semaphore.try_acquire();
    /// assert!(permit.is_some());
    /// assert!(semaphore.try_acquire().is_none(), "shed it, or `acquire`");
    /// drop(permit);
    /// assert!(semaphore.try_acquire().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.try_acquire_many(NonZeroU32::MIN)
    }

    /// So many permits, all of them, if they are free and nobody waits; never waits itself.
    ///
    /// # Cost
    ///
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_many(&self, permits: NonZeroU32) -> Option<Permit<'_>> {
        self.try_grant(permits).then(|| Permit::new(self, permits))
    }

    /// [`try_acquire`](Self::try_acquire) for a permit that shares the semaphore.
    ///
    /// # Cost
    ///
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_owned(self: Arc<Self>) -> Option<OwnedPermit> {
        let one = NonZeroU32::MIN;
        self.try_grant(one).then(|| OwnedPermit::new(self, one))
    }

    /// Waits for permits: by class, then by turns of the tenants, then first in, first out.
    ///
    /// A heavy request at the head keeps its class and those below waiting until it fits, so
    /// light ones can't starve it. The line holds at most
    /// [`queue_capacity`](SemaphoreConfig::queue_capacity) waiters.
    ///
    /// # Errors
    ///
    /// - [`Closed`](AcquireError::Closed): closed, before or while waiting.
    /// - [`TooLarge`](AcquireError::TooLarge): more than there are, also after a resize.
    /// - [`Expired`](AcquireError::Expired): the deadline passed, before or while waiting.
    /// - [`Full`](AcquireError::Full): no place in the line.
    /// - [`Evicted`](AcquireError::Evicted): its place was given to something more important.
    ///
    /// # Panics
    ///
    /// If it has to wait with a deadline outside of a tokio runtime whose timer is enabled.
    /// Without a deadline it runs on any executor.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it loses its place in the line. Permits that had already come go back. One that is
    /// kept and not polled keeps them.
    ///
    /// # Cost
    ///
    /// One atomic operation when permits are free and nobody waits, mostly on memory of this
    /// thread. Else the lock of the line and O(1); an allocation and a timer if there is a deadline.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use headworks::semaphore::{AcquireError, SemaphoreConfig, Want};
    /// use headworks::{Priority, PrioritySemaphore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let semaphore = PrioritySemaphore::new(1, SemaphoreConfig::default())?;
    /// let _permit = semaphore.acquire(Priority::Normal).await?;
    /// let want = Want::new(Priority::High).within(Duration::from_millis(5));
    /// let late = semaphore.acquire(want).await;
    /// assert_eq!(late.err(), Some(AcquireError::Expired));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn acquire(&self, want: impl Into<Want>) -> Result<Permit<'_>, AcquireError> {
        let permits = self.grant(want.into()).await?;
        Ok(Permit::new(self, permits))
    }

    /// [`acquire`](Self::acquire) for a permit that shares the semaphore, and a future that is
    /// `'static`.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cost
    ///
    /// As [`acquire`](Self::acquire); no allocation for the permit, which takes over the `Arc`.
    pub async fn acquire_owned(
        self: Arc<Self>,
        want: impl Into<Want>,
    ) -> Result<OwnedPermit, AcquireError> {
        let permits = self.grant(want.into()).await?;
        Ok(OwnedPermit::new(self, permits))
    }

    /// So many permits from now on; clamped to 1 up to [`MAX_PERMITS`](Self::MAX_PERMITS).
    ///
    /// More: the next in line get them at once. Fewer than are out: nobody is granted until
    /// enough came back; permits that are out stay good. A waiter that now wants more than there
    /// are ends [`TooLarge`](AcquireError::TooLarge) when its turn comes; should the semaphore
    /// have grown again by then, it is granted.
    ///
    /// # Cost
    ///
    /// The lock of the line, in short holds, and O(1) for each waiter that is told.
    ///
    /// # Examples
    ///
    /// ```
    /// use headworks::PrioritySemaphore;
    /// use headworks::semaphore::SemaphoreConfig;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let semaphore = PrioritySemaphore::new(2, SemaphoreConfig::default())?;
    /// let (one, two) = (semaphore.try_acquire(), semaphore.try_acquire());
    /// semaphore.resize(1);
    /// drop(one);
    /// assert!(semaphore.try_acquire().is_none(), "one of one is still out");
    /// drop(two);
    /// assert!(semaphore.try_acquire().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn resize(&self, permits: usize) {
        let permits = permits.clamp(1, Self::MAX_PERMITS) as u32;
        let mut line = self.line.lock();
        // Held, nobody takes beside the lock while the number changes.
        let _ = self.hold();
        self.word.grow(line.resize(permits));
        self.serve(line, Told::default(), &Glance::default(), 0);
    }

    /// Ends it: waiters and later acquisitions end [`Closed`](AcquireError::Closed). Permits
    /// that are out stay good and still come back. Closing again does nothing.
    ///
    /// # Cost
    ///
    /// The lock of the line, in short holds, and O(1) for each waiter.
    pub fn close(&self) {
        let line = self.line.lock();
        let _ = self.hold();
        self.word.close();
        self.serve(line, Told::default(), &Glance::default(), 0);
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.word.look().closed
    }

    /// Permits, waiters and what became of those who waited.
    ///
    /// # Cost
    ///
    /// The lock of the line, O(1). Threads give up the permits they keep for themselves, and come
    /// to new ones by and by: look some times a second, not some thousand.
    #[must_use]
    pub fn snapshot(&self) -> SemaphoreSnapshot {
        let line = self.line.lock();
        let snapshot = line.snapshot(self.hold());
        self.let_go(&line);
        snapshot
    }

    async fn grant(&self, want: Want) -> Verdict {
        // One read of the clock for all of it, and none when nothing asks for it.
        let now = Glance::default();
        let has_passed = want.deadline.is_some_and(|deadline| deadline <= (&now).get());
        if !has_passed {
            match self.try_take(stripe::mine(), want.permits) {
                Took::Taken => return Ok(want.permits),
                Took::Closed => return Err(AcquireError::Closed),
                Took::Wait | Took::Look => {}
            }
        }
        // The look at the clock moves in: a future that lent it out could not go to another thread.
        let enter = move |cx: &mut Context<'_>| self.enter_at(want, cx.waker().clone(), &now);
        let entered = poll_fn(move |cx| Poll::Ready(enter(cx))).await;
        let mut waiting = match entered? {
            Entry::Granted(permits) => return Ok(permits),
            Entry::Waits(waiting) => waiting.just_entered(),
        };
        let Some(deadline) = want.deadline else { return waiting.await };
        // In a box, for a timer is larger than all the rest, and few want one.
        match Box::pin(time::until(Some(deadline), &mut waiting)).await {
            Some(verdict) => verdict,
            None => waiting.expire_at(time::now()),
        }
    }

    /// Takes beside the lock: from this stripe, else from the word that all share.
    #[inline]
    pub(super) fn try_take(&self, stripe: usize, permits: NonZeroU32) -> Took {
        if self.stripes.take(stripe, permits) {
            return Took::Taken;
        }
        let took = self.word.try_take(permits);
        if took == Took::Taken && self.stripes.passed(stripe) {
            self.lend(stripe);
        }
        took
    }

    /// Lends this stripe some permits, if they can be spared.
    #[cold]
    pub(super) fn lend(&self, stripe: usize) {
        let line = self.line.lock();
        let Some(loan) = line.loan(self.word.look()) else { return };
        if self.word.lend(loan.permits) {
            self.stripes.lend(stripe, loan);
        }
    }

    fn try_grant(&self, permits: NonZeroU32) -> bool {
        match self.try_take(stripe::mine(), permits) {
            Took::Taken => true,
            Took::Wait | Took::Closed => false,
            Took::Look => self.look_and_take(permits),
        }
    }

    /// Takes under the lock, where it can be seen what is free.
    #[cold]
    fn look_and_take(&self, permits: NonZeroU32) -> bool {
        let line = self.line.lock();
        let is_free = line.is_free(permits, self.hold());
        if is_free {
            self.word.take(permits.get());
        }
        self.serve(line, Told::default(), &Glance::default(), 0);
        is_free
    }

    /// Gets in line, or gets its permits, or neither. Goes through the lock whatever is free.
    pub(super) fn enter_at(
        &self,
        want: Want,
        waker: Waker,
        now: impl Now,
    ) -> Result<Entry<'_>, AcquireError> {
        let mut told = Told::default();
        let mut line = self.line.lock();
        let standing = self.hold();
        let entered = line.enter(want.place(), standing, now, waker, &mut told);
        if let Entered::Granted = entered {
            self.word.take(want.permits.get());
        }
        match entered {
            // The head stands as it stood: with nothing to grant it learns nothing new.
            Entered::Queued(_) if standing.grantable() == 0 && told.is_empty() => {
                self.let_go(&line)
            }
            _ => self.serve(line, told, now, 0),
        }
        match entered {
            Entered::Granted => Ok(Entry::Granted(want.permits)),
            Entered::Refused(why) => Err(why),
            Entered::Queued(spot) => Ok(Entry::Waits(Waiting::new(self, spot))),
        }
    }

    /// See [`Line::look_up`].
    pub(super) fn look_up(
        &self,
        spot: Spot,
        waker: &Waker,
        fresh: &mut Option<Waker>,
    ) -> Option<Poll<Verdict>> {
        self.line.lock().look_up(spot, waker, fresh)
    }

    /// A waiter goes. What it had been told, if it had.
    pub(super) fn leave_at(&self, spot: Spot, leaving: Leaving, now: impl Now) -> Option<Verdict> {
        let mut line = self.line.lock();
        match line.leave(spot, leaving) {
            Ok(verdict) => Some(verdict),
            Err(waker) => {
                // It may have been the head that did not fit.
                self.serve(line, Told::default(), now, 0);
                drop_quietly(waker);
                None
            }
        }
    }

    #[inline]
    pub(super) fn give_back(&self, stripe: usize, permits: NonZeroU32) {
        if self.stripes.give(stripe, permits) {
            return;
        }
        let (line, in_hand) = if self.word.has_line() {
            // Most likely it goes to the next in line, and the word is left alone.
            (self.line.lock(), permits.get())
        } else {
            match self.word.give(permits.get()) {
                Gave::Done => return,
                Gave::Serve => (self.line.lock(), 0),
            }
        };
        self.serve(line, Told::default(), &Glance::default(), in_hand);
    }

    /// Under the lock: from here on nobody takes or gives beside it but through the word, where
    /// everything is that is free.
    fn hold(&self) -> Standing {
        match self.word.hold() {
            standing if standing.lent => self.word.take_back(self.stripes.recall()),
            standing => standing,
        }
    }

    /// Under the lock, before it is let go: leaves the fast path open if the line is empty.
    fn let_go(&self, line: &Line) {
        if line.is_empty() { self.word.release() } else { self.word.keep_held() }
    }

    /// Tells everybody whose turn it is, in batches. Every hold of the lock that may have changed
    /// something ends here. `in_hand` are permits that come back by it.
    fn serve<'a>(
        &'a self,
        mut line: MutexGuard<'a, Line>,
        mut told: Told,
        now: impl Now,
        mut in_hand: u32,
    ) {
        loop {
            let is_done = self.serve_some(&mut line, &mut told, now, mem::take(&mut in_hand));
            drop(line);
            told.wake();
            if is_done {
                return;
            }
            told = Told::default();
            line = self.line.lock();
        }
    }

    /// Whether that was all.
    fn serve_some(
        &self,
        line: &mut Line,
        told: &mut Told,
        now: impl Now,
        mut in_hand: u32,
    ) -> bool {
        loop {
            let standing = self.word.look().with(in_hand);
            let granted = match standing.grantable() {
                _ if standing.closed => line.expel(told),
                0 => None,
                grantable => line.next(grantable, now, told),
            };
            let Some(granted) = granted else { break };
            let from_hand = granted.min(in_hand);
            in_hand -= from_hand;
            if granted > from_hand {
                self.word.take(granted - from_hand);
            }
            if told.is_full() {
                break;
            }
        }
        if in_hand > 0 {
            let _served_here = self.word.give(in_hand);
        }
        self.let_go(line);
        !told.is_full()
    }
}

impl fmt::Debug for PrioritySemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = self.word.look();
        f.debug_struct("PrioritySemaphore")
            .field("name", &self.config.name)
            .field("free", &standing.free)
            .field("closed", &standing.closed)
            .finish_non_exhaustive()
    }
}
