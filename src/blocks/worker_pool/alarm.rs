//! When what runs must have ended, without a timer for each task.
//!
//! To register a timer with the runtime and to take it out again costs more than a short task.
//! Nearly all tasks end long before their time. So a worker keeps one timer from task to task: it
//! rings at the time of one that may be long over, and only then, or for a task that must end
//! sooner, is it set anew. A worker is so woken for nothing at most once in the shortest time that
//! its tasks were given.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

use crate::ground::time::{self, Instant};

/// By when a task must have ended, if it has a limit; not settled before its first await point.
pub(super) type Due = Option<Option<Instant>>;

/// A timer that is kept.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Set>);

#[derive(Debug)]
struct Set {
    timer: Pin<Box<Sleep>>,
    at: Instant,
    /// Whom it wakes.
    waker: Waker,
}

impl Alarm {
    /// Whether the time has come; else whoever asks is woken then, or earlier.
    #[inline]
    pub(super) fn poll(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        match &self.0 {
            Some(set) if set.rings_by(due) && set.waker.will_wake(cx.waker()) => Poll::Pending,
            _ => self.set(due, cx),
        }
    }

    #[cold]
    fn set(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if due <= time::now() {
            return Poll::Ready(());
        }
        let at = time::timer_at(due);
        let set = self.0.get_or_insert_with(|| Set {
            timer: Box::pin(tokio::time::sleep_until(at)),
            at: due,
            waker: cx.waker().clone(),
        });
        if !set.rings_by(due) {
            set.timer.as_mut().reset(at);
            set.at = due;
        }
        set.waker.clone_from(cx.waker());
        set.poll(cx)
    }
}

impl Set {
    fn rings_by(&self, due: Instant) -> bool {
        self.at <= due && !self.timer.is_elapsed()
    }

    /// Unconstrained: a task that uses up its budget in every poll must still run out of time.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        pin!(unconstrained(self.timer.as_mut())).poll(cx)
    }
}
