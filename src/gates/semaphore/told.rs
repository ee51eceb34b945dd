//! Whom to wake after the unlock.

use std::task::Waker;

use crate::ground::quiet::{drop_quietly, wake_quietly};

/// Most that are told under one lock. A grant costs some tens of nanoseconds, so the lock is held
/// for microseconds, however many a resize sets free.
const AT_ONCE: usize = 32;

/// Wakers carried out of the lock. One costs no allocation: most often it is one.
#[derive(Debug, Default)]
#[must_use = "somebody waits to be woken"]
pub(super) struct Told {
    first: Option<Waker>,
    rest: Vec<Waker>,
    told: usize,
    spent: Option<Waker>,
}

impl Told {
    /// Somebody was told.
    pub(super) fn add(&mut self, waker: Waker) {
        self.told += 1;
        match &self.first {
            None => self.first = Some(waker),
            Some(_) => self.rest.push(waker),
        }
    }

    /// Whose newcomer needs it no more: nobody is woken by it. At most one.
    pub(super) fn spent(&mut self, waker: Waker) {
        self.spent = Some(waker);
    }

    /// Whether it is time to unlock.
    pub(super) fn is_full(&self) -> bool {
        self.told >= AT_ONCE
    }

    pub(super) fn is_empty(&self) -> bool {
        self.told == 0
    }

    /// After the unlock.
    #[inline]
    pub(super) fn wake(self) {
        if let Some(first) = self.first {
            wake_quietly(first);
            self.rest.into_iter().for_each(wake_quietly);
        }
        if let Some(spent) = self.spent {
            drop_quietly(spent);
        }
    }
}
