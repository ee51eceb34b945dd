//! One result that several wait for, made by a future that whoever waits drives.
//!
//! ```text
//! Free ──poll──▶ Led ──share──▶ Shared ⇄ Polled ──▶ Done
//!  ▲              │ leave                  │ panic
//!  └──────────────┴────────────────────────┘
//! ```
//! Who is polled while it is free leads: it shares a future, or makes the result by itself
//! (`finish`, for the cache). There is no task: the future is polled by those who wait for it, so it goes on when
//! the one who brought it leaves, and is dropped with the last.
//!
//! 1. The future is polled by one at a time, outside of the lock, and dropped outside of it.
//! 2. A wake-up of the future wakes all who wait: some may be held by somebody who does not poll
//!    them, and one who does must be enough. The first of them that looks polls; the others wait on.
//! 3. `woken` is set under the lock before anybody is woken, and taken by whoever polls. One that
//!    comes during a poll is kept for the end of that poll, which then wakes all: so it is not lost,
//!    whoever has come or gone meanwhile.
//! 4. A waker is registered under the lock that the stage is looked at under. Wakers are cloned
//!    before that lock, woken and dropped behind it.
//! 5. A panic of the future frees the place and goes to the one who brought the future, if it still
//!    waits; another one leads.
//! 6. `T` is cloned and dropped under the lock: only handles of the crate's own may be one.

use std::any::Any;
use std::future::Future;
use std::mem::{replace, take};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use super::primitives::Mutex;
use super::quiet::{drop_quietly, wake_all_quietly};
use super::slab::{Slab, Ticket};

/// The future that makes the result.
pub(crate) type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Panic = Box<dyn Any + Send>;

pub(crate) struct Joint<T>(Mutex<State<T>>);

struct State<T> {
    stage: Stage<T>,
    /// The future asked to be polled and was not yet.
    woken: bool,
    waiting: Slab<Place>,
}

#[derive(Default)]
struct Place {
    /// There from the last poll until it is woken.
    waker: Option<Waker>,
    /// Of the future that this one brought.
    panic: Option<Panic>,
}

enum Stage<T> {
    Free,
    Led,
    Shared { work: Work<T>, brought: Ticket },
    Polled,
    Done(T),
}

/// What somebody who waits learns.
#[must_use]
pub(crate) enum Turn<T> {
    Done(T),
    /// Make it: [`Waiter::share`] or [`Waiter::finish`].
    Lead,
}

impl<T> Joint<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { stage: Stage::Free, woken: false, waiting: Slab::new() }))
    }

    /// One more who waits.
    pub(crate) fn join(self: &Arc<Self>) -> Waiter<T> {
        let ticket = self.0.lock().waiting.insert(Place::default());
        Waiter { joint: Arc::clone(self), ticket, leads: false }
    }

    #[cfg(any(feature = "cache", all(test, headworks_loom)))]
    pub(crate) fn is_deserted(&self) -> bool {
        self.0.lock().waiting.len() == 0
    }

    /// As the leader said, who looks again by itself.
    fn end(&self, stage: Stage<T>, leader: Ticket) {
        let wakers = {
            let mut state = self.0.lock();
            state.stage = stage;
            // What is shared is to be polled.
            state.woken = true;
            let own = state.waiting.index(leader);
            let own = own.and_then(|own| state.waiting.get_mut(own).waker.take());
            let wakers = state.wakers();
            drop(state);
            drop(own);
            wakers
        };
        wake_all_quietly(wakers);
    }
}

impl<T> State<T> {
    fn wakers(&mut self) -> Vec<Waker> {
        self.waiting.entries().filter_map(|place| place.waker.take()).collect()
    }
}

impl<T: Send + 'static> Wake for Joint<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let wakers = {
            let mut state = self.0.lock();
            state.woken = true;
            // During a poll: see 3.
            if matches!(state.stage, Stage::Polled) { Vec::new() } else { state.wakers() }
        };
        wake_all_quietly(wakers);
    }
}

/// One who waits. Dropping it leaves.
pub(crate) struct Waiter<T> {
    joint: Arc<Joint<T>>,
    ticket: Ticket,
    leads: bool,
}

/// What a waiter leaves behind: to be dropped outside of every lock.
#[must_use = "dropped where no lock is held"]
pub(crate) struct Left<T> {
    place: Option<Place>,
    work: Option<Work<T>>,
    wakers: Vec<Waker>,
}

impl<T> Drop for Left<T> {
    fn drop(&mut self) {
        drop_quietly(self.work.take());
        drop_quietly(self.place.take());
        wake_all_quietly(take(&mut self.wakers));
    }
}

/// What a look under the lock found.
enum Seen<T> {
    Turn(Turn<T>),
    Poll(Work<T>, Ticket),
    Wait,
    Panicked(Panic),
}

impl<T> Waiter<T> {
    /// The leader: this makes the result, whoever polls it. Then [`poll`](Self::poll) again.
    pub(crate) fn share(&mut self, work: Work<T>) {
        self.leads = false;
        self.joint.end(Stage::Shared { work, brought: self.ticket }, self.ticket);
    }

    /// The leader: this is the result.
    #[cfg(feature = "cache")]
    pub(crate) fn finish(&mut self, result: T) {
        self.leads = false;
        self.joint.end(Stage::Done(result), self.ticket);
    }

    /// Waits no more. The last one's leaving ends the future; a leader's makes another one lead.
    pub(crate) fn leave(&mut self) -> Left<T> {
        let mut left = Left { place: None, work: None, wakers: Vec::new() };
        let mut state = self.joint.0.lock();
        let Some(index) = state.waiting.index(self.ticket) else { return left };
        left.place = Some(state.waiting.remove(index));
        if replace(&mut self.leads, false) {
            state.stage = Stage::Free;
            left.wakers = state.wakers();
        } else if state.waiting.len() == 0
            && matches!(state.stage, Stage::Shared { .. })
            && let Stage::Shared { work, .. } = replace(&mut state.stage, Stage::Free)
        {
            left.work = Some(work);
        }
        drop(state);
        left
    }

    fn look(&mut self, fresh: Waker) -> Seen<T>
    where
        T: Clone,
    {
        let mut state = self.joint.0.lock();
        let own = state.waiting.index(self.ticket);
        if let Some(panic) = own.and_then(|own| state.waiting.get_mut(own).panic.take()) {
            return Seen::Panicked(panic);
        }
        let woken = state.woken;
        let seen = match &mut state.stage {
            Stage::Done(result) => return Seen::Turn(Turn::Done(result.clone())),
            stage @ Stage::Free => {
                *stage = Stage::Led;
                self.leads = true;
                return Seen::Turn(Turn::Lead);
            }
            stage @ Stage::Shared { .. } if woken => match replace(stage, Stage::Polled) {
                Stage::Shared { work, brought } => Seen::Poll(work, brought),
                _ => Seen::Wait,
            },
            Stage::Led | Stage::Shared { .. } | Stage::Polled => Seen::Wait,
        };
        state.woken = woken && !matches!(seen, Seen::Poll(..));
        let unused = own.and_then(|own| state.waiting.get_mut(own).waker.replace(fresh));
        drop(state);
        drop(unused);
        seen
    }
}

impl<T: Clone + Send + 'static> Waiter<T> {
    /// The result; drives the shared future meanwhile, or says that this one has to bring it.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Turn<T>> {
        match self.look(cx.waker().clone()) {
            Seen::Turn(turn) => Poll::Ready(turn),
            Seen::Wait => Poll::Pending,
            Seen::Panicked(panic) => resume_unwind(panic),
            Seen::Poll(work, brought) => self.drive(work, brought),
        }
    }

    fn drive(&mut self, mut work: Work<T>, brought: Ticket) -> Poll<Turn<T>> {
        let waker = Waker::from(Arc::clone(&self.joint));
        let mut cx = Context::from_waker(&waker);
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut cx))) {
            Ok(Poll::Pending) => {
                let wakers = {
                    let mut state = self.joint.0.lock();
                    state.stage = Stage::Shared { work, brought };
                    if state.woken { state.wakers() } else { Vec::new() }
                };
                wake_all_quietly(wakers);
                Poll::Pending
            }
            Ok(Poll::Ready(result)) => {
                drop_quietly(work);
                self.joint.end(Stage::Done(result.clone()), self.ticket);
                Poll::Ready(Turn::Done(result))
            }
            Err(panic) => {
                drop_quietly(work);
                self.panicked(panic, brought)
            }
        }
    }

    fn panicked(&mut self, panic: Panic, brought: Ticket) -> Poll<Turn<T>> {
        if brought == self.ticket {
            self.joint.end(Stage::Free, self.ticket);
            resume_unwind(panic);
        }
        let unheard = {
            let mut state = self.joint.0.lock();
            match state.waiting.index(brought) {
                Some(index) => state.waiting.get_mut(index).panic.replace(panic),
                None => Some(panic),
            }
        };
        drop_quietly(unheard);
        self.joint.end(Stage::Led, self.ticket);
        self.leads = true;
        Poll::Ready(Turn::Lead)
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        drop(self.leave());
    }
}
