//! Futures that wait for tokens, in order.
//!
//! Who waits takes the tokens itself, when it is polled at the head of the line: nothing is ever
//! under way to somebody who may have left. Only the head needs a timer; whoever leaves the head,
//! served or dropped, wakes the next one, which takes it over.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};

use super::error::{AcquireError, Denied};
use crate::gates::wait_queue::{Place, Rules, Ticket, WaitQueue};
use crate::ground::priority::Priority;
use crate::ground::quiet::wake_quietly;
use crate::ground::tenant::Tenant;
use crate::ground::time::{self, Instant};

/// One line, behind its owner's lock. No waker is cloned, woken or dropped in here.
#[derive(Debug)]
pub(super) struct Line {
    /// `None` until its turn was first asked for, and from a wake-up to the next poll.
    queue: WaitQueue<Option<Waker>>,
    /// Tokens that all in line want together.
    cost: u64,
}

/// What somebody in line may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Turn {
    /// Try, and set a timer if it is too early.
    Yours,
    /// Wait to be woken, without a timer.
    Wait,
}

impl Line {
    pub(super) fn new(cap: usize) -> Self {
        Self { queue: WaitQueue::new(Rules::flat(cap)), cost: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    /// Into line; `None` when it is full. Then it must ask for its [`turn`](Self::turn), before
    /// the unlock. `wakes` gets the head if this one stands before it.
    pub(super) fn enter(&mut self, wish: Wish, now: Instant, wakes: &mut Wakes) -> Option<Ticket> {
        let former = self.queue.head().map(|head| head.ticket);
        let place = Place { tenant: wish.tenant, ..Place::new(wish.class) };
        // Nobody here has a deadline of the queue's, so nobody expires.
        let entered = self.queue.offer(place, None, now, &mut Vec::new()).ok()?;
        self.cost += u64::from(wish.cost);
        if self.queue.head().is_some_and(|head| head.ticket == entered.ticket) {
            wakes.extend(former.and_then(|former| self.waker(former)));
        }
        Some(entered.ticket)
    }

    /// Whether it is this one's turn. Remembers its waker; the old one is for after the unlock.
    pub(super) fn turn(&mut self, ticket: Ticket, waker: Option<Waker>, wakes: &mut Wakes) -> Turn {
        match self.queue.replace(ticket, waker) {
            Ok(spent) | Err(spent) => wakes.drop_later(spent),
        }
        match self.queue.head() {
            Some(head) if head.ticket == ticket => Turn::Yours,
            _ => Turn::Wait,
        }
    }

    /// The head has taken its tokens: out of line, and the next one is woken.
    pub(super) fn served(&mut self, ticket: Ticket, wish: Wish, now: Instant, wakes: &mut Wakes) {
        use crate::gates::wait_queue::Take;
        debug_assert!(self.queue.head().is_some_and(|head| head.ticket == ticket));
        if let Take::Granted(granted) = self.queue.take(u32::MAX, now) {
            wakes.drop_later(granted.value);
            self.cost -= u64::from(wish.cost);
        }
        wakes.extend(self.head());
    }

    /// Out of line unserved; the next one is woken if this one was the head.
    pub(super) fn leave(&mut self, ticket: Ticket, wish: Wish, wakes: &mut Wakes) {
        let was_head = self.queue.head().is_some_and(|head| head.ticket == ticket);
        if let Some(waker) = self.queue.cancel(ticket) {
            wakes.drop_later(waker);
            self.cost -= u64::from(wish.cost);
        }
        if was_head {
            wakes.extend(self.head());
        }
    }

    /// Whom to wake when tokens came back. Nobody if the head is awake already: it looks when it
    /// is polled, under the owner's lock.
    pub(super) fn head(&mut self) -> Option<Waker> {
        let head = self.queue.head()?.ticket;
        self.waker(head)
    }

    fn waker(&mut self, ticket: Ticket) -> Option<Waker> {
        self.queue.replace(ticket, None).ok().flatten()
    }

    /// Everybody out.
    pub(super) fn close(&mut self, wakes: &mut Wakes) {
        self.cost = 0;
        wakes.extend(self.queue.close().flatten());
    }
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) cost: u32,
    pub(super) class: Priority,
    pub(super) tenant: Tenant,
}

/// Wakers to be woken, or dropped, after the unlock: both can run anybody's code.
#[derive(Debug, Default)]
#[must_use = "to be woken after the unlock"]
pub(super) struct Wakes {
    wake: Vec<Waker>,
    old: [Option<Waker>; 4],
}

impl Wakes {
    fn drop_later(&mut self, waker: Option<Waker>) {
        match self.old.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = waker,
            // More than a step can have; a needless wake-up does no harm.
            None => self.wake.extend(waker),
        }
    }

    pub(super) fn extend(&mut self, wakers: impl IntoIterator<Item = Waker>) {
        self.wake.extend(wakers);
    }

    pub(super) fn wake(self) {
        self.wake.into_iter().for_each(wake_quietly);
    }
}

/// What a waiting future does next.
#[derive(Debug)]
pub(super) enum Step {
    Done(Result<(), AcquireError>),
    /// Until it is woken.
    Wait,
    /// Until it is woken, or then.
    Until(Instant),
}

impl Step {
    /// What to do about this.
    pub(super) fn after(denied: Denied) -> Self {
        match denied {
            Denied::Early(_, early) => Self::Until(early.at()),
            Denied::TooLarge { cost, burst } => {
                Self::Done(Err(AcquireError::TooLarge { cost, burst }))
            }
            Denied::Closed => Self::Done(Err(AcquireError::Closed)),
        }
    }
}

/// Whether it is too late.
pub(super) fn has_passed(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| deadline <= now)
}

/// Steps at every wake-up, at every instant that a step names and at the deadline, until one is
/// done; at the deadline one must be.
pub(super) async fn drive(
    deadline: Option<Instant>,
    mut step: impl FnMut(&Waker, Instant) -> Step,
) -> Result<(), AcquireError> {
    let mut timer = pin!(None);
    let mut set_for = None;
    poll_fn(|cx| {
        loop {
            let at = match step(cx.waker(), time::now()) {
                Step::Done(result) => return Poll::Ready(result),
                Step::Until(at) => time::earlier(Some(at), deadline),
                Step::Wait => deadline,
            };
            if set_for != at {
                timer.set(at.map(|at| tokio::time::sleep_until(time::timer_at(at))));
                set_for = at;
            }
            match timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
                Some(Poll::Ready(())) => set_for = None,
                Some(Poll::Pending) | None => return Poll::Pending,
            }
        }
    })
    .await
}
