//! Asking a running task to stop.

use std::task::Waker;

use crate::ground::primitives::Mutex;

/// The cell between whoever wants a running task to stop and the worker that polls it.
///
/// No request is lost: `watch` looks for one and registers the worker under the one lock that
/// `ask` takes, so either the worker sees the request or the asker gets the worker's waker.
#[derive(Debug)]
pub(super) struct Stop(Mutex<State>);

#[derive(Debug)]
struct State {
    asked: bool,
    worker: Option<Waker>,
}

impl Stop {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { asked: false, worker: None }))
    }

    /// From now on it is to stop. Wake the worker, if it watches.
    #[must_use = "the worker may be asleep"]
    pub(super) fn ask(&self) -> Option<Waker> {
        let mut state = self.0.lock();
        state.asked = true;
        state.worker.take()
    }

    pub(super) fn is_asked(&self) -> bool {
        self.0.lock().asked
    }

    /// Whether it is to stop; if not yet, `worker` is woken when it is.
    pub(super) fn watch(&self, worker: &Waker) -> bool {
        let mut state = self.0.lock();
        if state.asked {
            return true;
        }
        if state.worker.as_ref().is_some_and(|old| old.will_wake(worker)) {
            return false;
        }
        // A worker's waker is the runtime's own: to clone or drop one runs no code of a user's.
        state.worker = Some(worker.clone());
        false
    }

    /// The task has ended: nobody is to be woken any more.
    pub(super) fn forget(&self) {
        self.0.lock().worker = None;
    }
}
