//! Whom to wake after the unlock.

use crate::ground::quiet::wake_quietly;
use std::task::Waker;

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
}

impl Told {
    /// Somebody was told; `None`: nobody had yet asked to be woken.
    pub(super) fn add(&mut self, waker: Option<Waker>) {
        self.told += 1;
        match (&self.first, waker) {
            (None, waker) => self.first = waker,
            (Some(_), Some(waker)) => self.rest.push(waker),
            (Some(_), None) => {}
        }
    }

    /// Whether it is time to unlock.
    pub(super) fn is_full(&self) -> bool {
        self.told >= AT_ONCE
    }

    /// After the unlock.
    pub(super) fn wake(self) {
        self.first.into_iter().chain(self.rest).for_each(wake_quietly);
    }
}
