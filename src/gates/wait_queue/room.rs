//! The waiting room before a full queue: futures that wait to be accepted, in class order.
//!
//! The head tries again whenever a place may have come free; nobody else does, and nobody who
//! does not wait goes before those of its class or above. The room is bounded like a queue and
//! evicts by the same rules.
//!
//! A tenant may be *held*: something of its own, not of all, keeps its next one out, and the
//! others go on. Who was refused for that is the tenant's holder: it alone needs a timer, and when
//! it lets go or leaves, the next of the tenant has its turn, to be refused in its turn.
//!
//! No waker is cloned, woken or dropped in here: each comes in as an owned clone and goes out by
//! value, for these are calls into somebody else's code, and here is their owner's lock.

use std::collections::HashMap;
use std::task::Waker;

use super::codel::Overload;
use super::queue::{Committed, Plan, Take, WaitQueue};
use super::rules::{Place, Rules};
use crate::Priority;
use crate::ground::slab::Ticket;
use crate::ground::tenant::Tenant;
use crate::ground::time::{Instant, Now};

/// Behind its owner's lock, the same as the queue it stands before.
#[derive(Debug)]
pub(crate) struct Room {
    /// `None` from a wake-up to the next poll, which brings another.
    line: WaitQueue<Option<Waker>>,
    /// Each by one that waits, so there are no more of them than places.
    held: HashMap<Tenant, Hold>,
}

/// Why a tenant has no turns.
#[derive(Clone, Copy, Debug)]
struct Hold {
    by: Ticket,
    until: Option<Instant>,
}

/// A place in the room.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) ticket: Ticket,
    /// To be woken after the unlock: who was displaced, and who has the turn if that one held its
    /// tenant.
    pub(crate) wakes: [Option<Waker>; 2],
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
    /// As many places as the queue has, by the same rules; but nobody is shed.
    pub(crate) fn new(rules: Rules) -> Self {
        let rules = Rules { overload: Overload::default(), ..rules };
        Self { line: WaitQueue::new(rules), held: HashMap::new() }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.line.len()
    }

    /// Another number of places, from the next one to enter on.
    pub(crate) fn set_cap(&mut self, cap: usize) {
        self.line.set_cap(cap);
    }

    /// Whether somebody who does not wait must let others go first.
    #[inline]
    pub(crate) fn stands_before(&self, class: Priority) -> bool {
        self.line.stands(class)
    }

    /// Until when this tenant is held (`Some(None)`: there is no telling). What comes free for it
    /// then is for its holder.
    pub(crate) fn held_until(&self, tenant: Tenant) -> Option<Option<Instant>> {
        self.held.get(&tenant).map(|hold| hold.until)
    }

    /// A place in the room. `Err` with the waker when the room is full.
    pub(crate) fn enter(
        &mut self,
        place: Place,
        waker: Waker,
        now: impl Now,
    ) -> Result<Entered, Option<Waker>> {
        // Who waits here has a timer of its own.
        let place = Place { deadline: None, ..place };
        let plan = self.line.plan(place.class, place.tenant, now, &mut Vec::new());
        let let_go = match plan {
            Plan::Refuse => return Err(Some(waker)),
            Plan::Queue => false,
            Plan::Evict(victim) => self.let_go(victim),
        };
        let Committed { ticket, evicted, .. } = self.line.commit(plan, place, Some(waker), now);
        if self.held.contains_key(&place.tenant) {
            self.line.hold(place.tenant);
        }
        let next = if let_go { self.next() } else { None };
        Ok(Entered { ticket, wakes: [evicted.flatten(), next] })
    }

    /// The tenant of this one, who was just refused for something of its tenant's, is held: it and
    /// all of its tenant keep their places and have no turns, until it lets go or leaves, or the
    /// tenant is released. Then [`next`](Self::next) is to be woken.
    pub(crate) fn hold(&mut self, ticket: Ticket, until: Option<Instant>) {
        if let Some(tenant) = self.line.tenant(ticket) {
            self.held.insert(tenant, Hold { by: ticket, until });
            self.line.hold(tenant);
        }
    }

    /// Ends the hold on its tenant if this one is the holder. Whether it was: then
    /// [`next`](Self::next) is to be woken.
    pub(crate) fn let_go(&mut self, ticket: Ticket) -> bool {
        self.holds(ticket).is_some_and(|tenant| self.release(tenant))
    }

    /// The tenant that this one holds.
    fn holds(&self, ticket: Ticket) -> Option<Tenant> {
        if self.held.is_empty() {
            return None;
        }
        let tenant = self.line.tenant(ticket)?;
        (self.held.get(&tenant)?.by == ticket).then_some(tenant)
    }

    /// Ends the hold on this tenant, if there is one. Whether there was: then
    /// [`next`](Self::next) is to be woken.
    pub(crate) fn release(&mut self, tenant: Tenant) -> bool {
        let was_held = self.held.remove(&tenant).is_some();
        if was_held {
            self.line.release(tenant);
        }
        was_held
    }

    /// Ends all holds; then [`next`](Self::next) is to be woken.
    pub(crate) fn release_all(&mut self) {
        for (tenant, _) in self.held.drain() {
            self.line.release(tenant);
        }
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
        // Even the head may hold its tenant: another tenant in its lane may have been released.
        let holds = self.holds(ticket);
        let own = match self.line.take(u32::MAX, now) {
            Take::Granted(granted) => granted.value,
            // Unreachable: it stands here without a deadline, nothing is too heavy, nobody shed.
            Take::Expired(waker) | Take::TooLarge(waker) | Take::Shed(waker) => waker,
            Take::Short { .. } | Take::Empty => None,
        };
        if let Some(tenant) = holds {
            self.release(tenant);
        }
        own
    }

    /// Out of the room, accepted or not. Then [`next`](Self::next) is to be woken.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Option<Waker> {
        self.let_go(ticket);
        self.line.cancel(ticket).flatten()
    }

    /// Whom to wake, after the unlock, when a place may have come free or the head has left.
    /// Nobody if the head is awake already: it looks when it is polled, under the owner's lock.
    pub(crate) fn next(&mut self) -> Option<Waker> {
        if self.line.is_empty() {
            return None;
        }
        let head = self.line.head()?.ticket;
        self.line.replace(head, None).ok().flatten()
    }

    /// Everybody out: wake them all after unlocking.
    pub(crate) fn close(&mut self) -> impl Iterator<Item = Waker> + use<> {
        self.held = HashMap::new();
        self.line.close().flatten()
    }
}
