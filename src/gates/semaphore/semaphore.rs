//! The handle: word, lock and wakers. The order is the line's (`core.rs`).

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::config::SemaphoreConfig;
use super::core::{Entered, Leaving, Line, Verdict};
use super::error::AcquireError;
use super::metrics::SemaphoreSnapshot;
use super::permit::{OwnedPermit, Permit};
use super::told::Told;
use super::waiting::{Cell, Waiting};
use super::want::Want;
use super::word::{Gave, Took, Word};
use crate::ConfigError;
use crate::gates::wait_queue::Ticket;
use crate::ground::handoff::Handoff;
use crate::ground::primitives::{Mutex, MutexGuard};
use crate::ground::time;

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
    line: Mutex<Line<Cell>>,
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
        Ok(Self { word: Word::new(permits), line: Mutex::new(Line::new(permits, rules)), config })
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// One permit if one is free and nobody waits; never waits itself.
    ///
    /// # Cost
    ///
    /// One atomic operation; no lock, no allocation.
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.try_acquire_many(NonZeroU32::MIN)
    }

    /// So many permits, all of them, if they are free and nobody waits; never waits itself.
    ///
    /// # Cost
    ///
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_many(&self, permits: NonZeroU32) -> Option<Permit<'_>> {
        (self.word.try_take(permits) == Took::Taken).then(|| Permit::new(self, permits))
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
    /// One atomic operation when permits are free and nobody waits. Else the lock of the line,
    /// one allocation, O(1), and a timer if there is a deadline.
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
    pub fn resize(&self, permits: usize) {
        let permits = permits.clamp(1, Self::MAX_PERMITS) as u32;
        let now = time::now();
        let mut line = self.line.lock();
        // With the flag set nobody takes beside the lock while the number changes.
        let _ = self.word.hold();
        self.word.grow(line.resize(permits));
        self.serve(line, Told::default(), now);
    }

    /// Ends it: waiters and later acquisitions end [`Closed`](AcquireError::Closed). Permits
    /// that are out stay good and still come back. Closing again does nothing.
    ///
    /// # Cost
    ///
    /// The lock of the line once, and O(1) for each waiter after the unlock.
    pub fn close(&self) {
        let mut line = self.line.lock();
        if !self.word.close() {
            return;
        }
        let waiters = line.close();
        self.word.release();
        drop(line);
        for cell in waiters {
            let waker = cell.put(Err(AcquireError::Closed));
            if let Ok(Some(waker)) = waker {
                waker.wake();
            }
        }
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
    /// The lock of the line, O(1).
    #[must_use]
    pub fn snapshot(&self) -> SemaphoreSnapshot {
        let line = self.line.lock();
        line.snapshot(self.word.look())
    }

    async fn grant(&self, want: Want) -> Verdict {
        // One read of the clock for all of it, and none when nothing asks for it.
        let now = want.deadline.map(|_| time::now());
        let has_passed = now.zip(want.deadline).is_some_and(|(now, deadline)| deadline <= now);
        if !has_passed {
            match self.word.try_take(want.permits) {
                Took::Taken => return Ok(want.permits),
                Took::Closed => return Err(AcquireError::Closed),
                Took::Wait => {}
            }
        }
        let mut waiting = match self.enter_at(want, now.unwrap_or_else(time::now))? {
            Entry::Granted(permits) => return Ok(permits),
            Entry::Waits(waiting) => waiting,
        };
        match time::until(want.deadline, &mut waiting).await {
            Some(verdict) => verdict,
            None => waiting.expire_at(time::now()),
        }
    }

    /// Gets in line, or gets its permits, or neither. Goes through the lock whatever is free.
    pub(super) fn enter_at(&self, want: Want, now: Instant) -> Result<Entry<'_>, AcquireError> {
        let mut gone = Vec::new();
        let mut told = Told::default();
        let mut line = self.line.lock();
        let standing = self.word.hold();
        let make = || Arc::new(Handoff::new());
        let entered = line.enter(want.place(), standing, now, make, &mut gone);
        if let Entered::Granted = entered {
            self.word.take(want.permits);
        }
        for (cell, why) in &gone {
            told.add(cell.put(Err(*why)).unwrap_or_default());
        }
        self.serve(line, told, now);
        match entered {
            Entered::Granted => Ok(Entry::Granted(want.permits)),
            Entered::Refused(why) => Err(why),
            Entered::Queued { ticket, value } => {
                Ok(Entry::Waits(Waiting::new(self, value, ticket)))
            }
        }
    }

    /// The waiter's cell is left already; now its place.
    pub(super) fn leave_at(&self, ticket: Ticket, leaving: Leaving, now: Instant) {
        let mut line = self.line.lock();
        let cell = line.leave(ticket, leaving);
        self.serve(line, Told::default(), now);
        drop(cell);
    }

    pub(super) fn give_back(&self, permits: NonZeroU32) {
        match self.word.give(permits) {
            Gave::Done => {}
            Gave::Serve => self.serve(self.line.lock(), Told::default(), time::now()),
        }
    }

    /// Tells everybody whose turn it is, in batches; leaves the fast path open if the line is
    /// empty. Every hold of the lock that may have changed something ends here.
    fn serve<'a>(&'a self, mut line: MutexGuard<'a, Line<Cell>>, mut told: Told, now: Instant) {
        loop {
            let is_done = self.serve_some(&mut line, &mut told, now);
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
    fn serve_some(&self, line: &mut Line<Cell>, told: &mut Told, now: Instant) -> bool {
        while let Some((cell, verdict)) = line.next(self.word.look().grantable(), now) {
            if let Ok(permits) = verdict {
                self.word.take(permits);
            }
            match (cell.put(verdict), verdict) {
                (Ok(waker), _) => told.add(waker),
                // It has left: on to the next, under this very lock.
                (Err(_), Ok(permits)) => {
                    let _served_here = self.word.give(permits);
                }
                (Err(_), Err(_)) => {}
            }
            if told.is_full() {
                return false;
            }
        }
        if line.is_empty() {
            self.word.release();
        }
        true
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
