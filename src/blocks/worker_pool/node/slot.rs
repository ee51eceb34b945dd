//! Where one task lies beside the pool's lock, between its submission and its first poll.
//!
//! Most tasks are awaited by whoever submits them, in the same breath. Such a task is put here, and
//! taken out again by its own handle, without a lock and without another thread noticing.
//!
//! 1. Who takes the pointer out has the pool's side of that task, and nobody else has: it goes in as
//!    a [`Work`], and comes out as one, once.
//! 2. A slot is opened and closed under the pool's lock only. Closing takes the task out in the same
//!    operation: afterwards none is here, and none comes.
//! 3. *Told.* A task that lies here is looked for by a worker sooner or later: who puts one into an
//!    `OPEN` slot must have a worker roused; in a `TOLD` one, a worker is about to look. The worker
//!    makes it `OPEN` by the operation with which it looks: a task that comes later finds it `OPEN`.

use std::ptr::{NonNull, null_mut, without_provenance_mut};

use super::{Header, Join, Work};
use crate::ground::primitives::atomic::{AtomicPtr, Ordering};

/// Nothing may be put here.
const CLOSED: *mut Header = null_mut();
/// Empty, and nobody is going to look.
const OPEN: *mut Header = without_provenance_mut(1);
/// Empty, and a worker is going to look. Anything else is a task, for which the same holds.
const TOLD: *mut Header = without_provenance_mut(2);

/// One slot. Closed when it is made, and must be closed when it is dropped.
#[derive(Debug)]
pub(in crate::blocks::worker_pool) struct Slot(AtomicPtr<Header>);

/// What is left to do for a task that was put into a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(in crate::blocks::worker_pool) enum Put {
    /// A worker is going to look anyway.
    Told,
    /// Have a worker look.
    Tell,
}

impl Default for Slot {
    fn default() -> Self {
        Self(AtomicPtr::new(CLOSED))
    }
}

impl Slot {
    /// Whether a task could be put here. A hint.
    #[inline]
    pub(in crate::blocks::worker_pool) fn is_free(&self) -> bool {
        // Relaxed: `put` checks it.
        is_free(self.0.load(Ordering::Relaxed))
    }

    /// Puts a task here; back, if the slot is taken or closed.
    #[inline]
    pub(in crate::blocks::worker_pool) fn put(&self, work: Work) -> Result<Put, Work> {
        // Relaxed: the exchange checks it.
        let mut was = self.0.load(Ordering::Relaxed);
        while is_free(was) {
            // Release: who takes it out sees the task. Acquire: pairs with `look`, see the head.
            match self.0.compare_exchange_weak(
                was,
                work.head.as_ptr(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(if was == TOLD { Put::Told } else { Put::Tell }),
                Err(now) => was = now,
            }
        }
        Err(work)
    }

    /// This handle's task, if it still lies here.
    #[inline]
    pub(in crate::blocks::worker_pool) fn take_own<T>(&self, join: &Join<T>) -> Option<Work> {
        // Equal only if it is this very task: its node lives, for its handle does.
        // AcqRel: as in `put`.
        let taken =
            self.0.compare_exchange(join.head.as_ptr(), TOLD, Ordering::AcqRel, Ordering::Relaxed);
        taken.is_ok().then_some(Work { head: join.head })
    }

    /// Under the lock: tasks may be put here from now on.
    pub(in crate::blocks::worker_pool) fn open(&self) {
        // AcqRel: what was done under the lock before is seen by who puts something here. An open
        // one stays as it is.
        let opened = self.0.compare_exchange(CLOSED, OPEN, Ordering::AcqRel, Ordering::Relaxed);
        debug_assert!(opened.is_ok(), "opened once, under the lock");
    }

    /// Under the lock, of an open slot: takes a task out. Nobody is told from here on.
    pub(in crate::blocks::worker_pool) fn look(&self) -> Option<Work> {
        task(self.0.swap(OPEN, Ordering::AcqRel))
    }

    /// Under the lock: takes a task out, and lets no other in.
    pub(in crate::blocks::worker_pool) fn close(&self) -> Option<Work> {
        task(self.0.swap(CLOSED, Ordering::AcqRel))
    }
}

fn is_free(state: *mut Header) -> bool {
    state == OPEN || state == TOLD
}

fn task(state: *mut Header) -> Option<Work> {
    let head = NonNull::new(state).filter(|_| !is_free(state))?;
    Some(Work { head })
}
