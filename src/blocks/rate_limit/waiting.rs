//! Futures that wait for tokens of one bucket.

use std::task::Waker;

use super::error::AcquireError;
use super::limiter::{CLOSED, RateLimiter};
use super::line::{Line, Step, Turn, Wakes, Wish, has_passed};
use crate::gates::wait_queue::Ticket;
use crate::ground::primitives::atomic::Ordering;
use crate::ground::priority::Priority;
use crate::ground::refused::Scope;
use crate::ground::tenant::Tenant;
use crate::ground::time::Instant;

/// One that waits. In line from its first step until it is done or dropped.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    limiter: &'a RateLimiter,
    wish: Wish,
    ticket: Option<Ticket>,
    deadline: Option<Instant>,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(
        limiter: &'a RateLimiter,
        cost: u32,
        class: Priority,
        deadline: Option<Instant>,
    ) -> Self {
        let wish = Wish { cost, class, tenant: Tenant::NONE };
        Self { limiter, wish, ticket: None, deadline }
    }

    pub(super) fn step(&mut self, waker: &Waker, now: Instant) -> Step {
        let mut wakes = Wakes::default();
        // Somebody else's code, as the drop of what is left of it: not under the lock.
        let mut waker = Some(waker.clone());
        let mut line = self.limiter.line.lock();
        let mut step = self.step_in(&mut line, &mut waker, now, &mut wakes);
        if has_passed(self.deadline, now) && !matches!(step, Step::Done(_)) {
            step = Step::Done(Err(AcquireError::Expired));
        }
        if let Step::Done(Err(_)) = step {
            self.leave(&mut line, &mut wakes);
        }
        self.count(&line);
        drop(line);
        wakes.wake();
        step
    }

    fn step_in(
        &mut self,
        line: &mut Line,
        waker: &mut Option<Waker>,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Step {
        // Relaxed: set under the lock that is held here.
        if self.limiter.waiting.load(Ordering::Relaxed) == CLOSED {
            return Step::Done(Err(AcquireError::Closed));
        }
        let ticket = match self.ticket {
            Some(ticket) => ticket,
            None if self.is_hopeless(now) => return Step::Done(Err(AcquireError::Expired)),
            None => match line.enter(self.wish, now, wakes) {
                Some(ticket) => *self.ticket.insert(ticket),
                None => return Step::Done(Err(AcquireError::Full { scope: Scope::Global })),
            },
        };
        if line.turn(ticket, waker.take(), wakes) == Turn::Wait {
            return Step::Wait;
        }
        match self.limiter.take(self.wish.cost, now) {
            Ok(()) => {
                line.served(ticket, self.wish, now, wakes);
                self.ticket = None;
                Step::Done(Ok(()))
            }
            Err(denied) => Step::after(denied),
        }
    }

    /// Whether not even with nobody before it its time would do.
    fn is_hopeless(&self, now: Instant) -> bool {
        let Some(deadline) = self.deadline else { return false };
        let denied = self.limiter.look(self.wish.cost, 0, now).err();
        denied.and_then(|denied| denied.at()).is_some_and(|at| at > deadline)
    }

    fn leave(&mut self, line: &mut Line, wakes: &mut Wakes) {
        if let Some(ticket) = self.ticket.take() {
            line.leave(ticket, self.wish, wakes);
        }
    }

    fn count(&self, line: &Line) {
        let waiting = &self.limiter.waiting;
        // Relaxed: written under the lock only, which is held here.
        if waiting.load(Ordering::Relaxed) != CLOSED {
            waiting.store(line.cost(), Ordering::Relaxed);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.ticket.is_none() {
            return;
        }
        let mut wakes = Wakes::default();
        let mut line = self.limiter.line.lock();
        self.leave(&mut line, &mut wakes);
        self.count(&line);
        drop(line);
        wakes.wake();
    }
}
