//! The waiting room before a full queue: futures that wait to be accepted, in class order.
//!
//! The head tries again whenever a place may have come free; nobody else does, and nobody who
//! does not wait goes before those of its class or above. The room is bounded like a queue and
//! evicts by the same rules.

use std::task::Waker;

use super::queue::{Committed, Take, WaitQueue};
use super::rules::{Place, Rules};
use crate::Priority;
use crate::ground::slab::Ticket;
use crate::ground::time::Now;

/// Behind its owner's lock, the same as the queue it stands before.
#[derive(Debug)]
pub(crate) struct Room {
    line: WaitQueue<Waker>,
}

/// What somebody in the room may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Try; still in line until [`Room::leave`].
    Yours,
    /// Wait to be woken.
    Wait,
    /// Displaced by somebody more important, or the room was closed.
    Lost,
}

impl Room {
    /// As many places as the queue has, by the same rules.
    pub(crate) fn new(rules: Rules) -> Self {
        Self { line: WaitQueue::new(rules) }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.line.len()
    }

    /// Whether somebody who does not wait must let others go first.
    #[inline]
    pub(crate) fn stands_before(&self, class: Priority) -> bool {
        Priority::ALL[class.index()..].iter().any(|&c| self.line.depth(c) > 0)
    }

    /// A place in the room; `None` when it is full. Wake who was displaced after unlocking.
    pub(crate) fn enter(
        &mut self,
        place: Place,
        waker: Waker,
        now: impl Now,
    ) -> Option<(Ticket, Option<Waker>)> {
        // Who waits here has a timer of its own.
        let place = Place { deadline: None, ..place };
        let entered = self.line.offer(place, waker, now, &mut Vec::new()).ok()?;
        let Committed { ticket, evicted, .. } = entered;
        Some((ticket, evicted))
    }

    /// Whether it is this one's turn; remembers its waker when not, and gives the old one back to
    /// be dropped after the unlock.
    pub(crate) fn turn(&mut self, ticket: Ticket, waker: &Waker) -> (Turn, Option<Waker>) {
        match self.line.replace(ticket, waker.clone()) {
            Err(_) => (Turn::Lost, None),
            Ok(old) => {
                let is_head = self.line.head().is_some_and(|head| head.ticket == ticket);
                (if is_head { Turn::Yours } else { Turn::Wait }, Some(old))
            }
        }
    }

    /// The head was accepted: its turn is used, and it is out.
    pub(crate) fn accepted(&mut self, ticket: Ticket, now: impl Now) -> Option<Waker> {
        if self.line.head().is_none_or(|head| head.ticket != ticket) {
            return self.line.cancel(ticket);
        }
        match self.line.take(u32::MAX, now) {
            Take::Granted(granted) => Some(granted.value),
            // Unreachable: it stands here without a deadline, and nothing is too heavy.
            Take::Expired(waker) | Take::TooLarge(waker) => Some(waker),
            Take::Short { .. } | Take::Empty => None,
        }
    }

    /// Out of the room, accepted or not. Then [`next`](Self::next) is to be woken.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Option<Waker> {
        self.line.cancel(ticket)
    }

    /// Whom to wake, after the unlock, when a place may have come free or the head has left.
    pub(crate) fn next(&mut self) -> Option<Waker> {
        self.line.head().map(|head| head.value.clone())
    }

    /// Everybody out: wake them all after unlocking.
    pub(crate) fn close(&mut self) -> impl Iterator<Item = Waker> + use<> {
        self.line.close()
    }
}
