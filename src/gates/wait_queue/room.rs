//! The waiting room before a full queue: futures that wait to be accepted, in class order.
//!
//! The head tries again whenever a place may have come free; nobody else does, and nobody who
//! does not wait goes before those of its class or above. The room is bounded like a queue and
//! evicts by the same rules.
//!
//! No waker is cloned, woken or dropped in here: each comes in as an owned clone and goes out by
//! value, for these are calls into somebody else's code, and here is their owner's lock.

use std::task::Waker;

use super::queue::{Committed, Take, WaitQueue};
use super::rules::{Place, Rules};
use crate::Priority;
use crate::ground::slab::Ticket;
use crate::ground::time::Now;

/// Behind its owner's lock, the same as the queue it stands before.
#[derive(Debug)]
pub(crate) struct Room {
    /// `None` from a wake-up to the next poll, which brings another.
    line: WaitQueue<Option<Waker>>,
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

    /// A place in the room, and whom to wake after unlocking: who was displaced. `Err` with the
    /// waker when the room is full.
    pub(crate) fn enter(
        &mut self,
        place: Place,
        waker: Waker,
        now: impl Now,
    ) -> Result<(Ticket, Option<Waker>), Option<Waker>> {
        // Who waits here has a timer of its own.
        let place = Place { deadline: None, ..place };
        let entered = self.line.offer(place, Some(waker), now, &mut Vec::new())?;
        let Committed { ticket, evicted, .. } = entered;
        Ok((ticket, evicted.flatten()))
    }

    /// Whether it is this one's turn. Remembers its waker, and gives the old one back to be
    /// dropped after the unlock; the new one if its place is lost.
    pub(crate) fn turn(&mut self, ticket: Ticket, waker: Waker) -> (Turn, Option<Waker>) {
        match self.line.replace(ticket, Some(waker)) {
            Err(unused) => (Turn::Lost, unused),
            Ok(old) => {
                let is_head = self.line.head().is_some_and(|head| head.ticket == ticket);
                (if is_head { Turn::Yours } else { Turn::Wait }, old)
            }
        }
    }

    /// The head was accepted: its turn is used, and it is out.
    pub(crate) fn accepted(&mut self, ticket: Ticket, now: impl Now) -> Option<Waker> {
        if self.line.head().is_none_or(|head| head.ticket != ticket) {
            return self.leave(ticket);
        }
        match self.line.take(u32::MAX, now) {
            Take::Granted(granted) => granted.value,
            // Unreachable: it stands here without a deadline, and nothing is too heavy.
            Take::Expired(waker) | Take::TooLarge(waker) => waker,
            Take::Short { .. } | Take::Empty => None,
        }
    }

    /// Out of the room, accepted or not. Then [`next`](Self::next) is to be woken.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Option<Waker> {
        self.line.cancel(ticket).flatten()
    }

    /// Whom to wake, after the unlock, when a place may have come free or the head has left.
    /// Nobody if the head is awake already: it looks when it is polled, under the owner's lock.
    pub(crate) fn next(&mut self) -> Option<Waker> {
        let head = self.line.head()?.ticket;
        self.line.replace(head, None).ok().flatten()
    }

    /// Everybody out: wake them all after unlocking.
    pub(crate) fn close(&mut self) -> impl Iterator<Item = Waker> + use<> {
        self.line.close().flatten()
    }
}
