//! One value handed to one waiting future.
//!
//! A [`Handoff`] is the cell between somebody who waits and whoever serves the queue it waits in.
//! Its three states are `Waiting → Full → Gone`, or `Waiting → Gone`.
//!
//! 1. A value is put at most once, and taken at most once: by `poll`, by `leave`, or given back
//!    to the one who puts it when the waiter has left.
//! 2. Who puts a value into a cell that waits gets the waker, if one is registered, and must wake
//!    it after dropping its own locks. No waker is registered after the value: `poll` looks at the
//!    state and registers under the one lock, so no wake-up is lost.
//! 3. Lock order: a room's lock before the cell's. The cell calls nobody while it is locked: it
//!    clones, drops and wakes wakers outside.

use std::task::{Context, Poll, Waker};

use super::primitives::Mutex;

/// The cell. Shared by `Arc` between the waiting future and the queue.
#[derive(Debug)]
pub(crate) struct Handoff<V>(Mutex<State<V>>);

#[derive(Debug)]
enum State<V> {
    Waiting(Option<Waker>),
    Full(V),
    Gone,
}

impl<V> Handoff<V> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State::Waiting(None)))
    }

    /// Puts the value. `Ok`: wake this, if any, after unlocking. `Err`: the waiter has left; the
    /// value is yours again.
    pub(crate) fn put(&self, value: V) -> Result<Option<Waker>, V> {
        let mut state = self.0.lock();
        match &mut *state {
            State::Waiting(waker) => {
                let waker = waker.take();
                *state = State::Full(value);
                Ok(waker)
            }
            State::Full(_) | State::Gone => Err(value),
        }
    }

    /// The value, once it is there; registers the waker until then.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<V> {
        let fresh = cx.waker().clone();
        let mut state = self.0.lock();
        match std::mem::replace(&mut *state, State::Gone) {
            State::Full(value) => Poll::Ready(value),
            State::Waiting(old) => {
                *state = State::Waiting(Some(fresh));
                drop(state);
                drop(old);
                Poll::Pending
            }
            State::Gone => Poll::Pending,
        }
    }

    /// The waiter leaves: nothing can be put any more. Gives a value that had already come.
    #[must_use = "a value that had already come must go back"]
    pub(crate) fn leave(&self) -> Option<V> {
        let state = std::mem::replace(&mut *self.0.lock(), State::Gone);
        match state {
            State::Full(value) => Some(value),
            State::Waiting(_) | State::Gone => None,
        }
    }
}
