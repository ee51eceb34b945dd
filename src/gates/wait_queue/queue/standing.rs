//! What befalls those who stand in line.

use super::{Rare, WaitQueue, bit};
use crate::Priority;
use crate::gates::wait_queue::Place;
use crate::gates::wait_queue::class::NOBODYS;
use crate::gates::wait_queue::lane::Entry;
use crate::ground::deadlines::Deadlines;
use crate::ground::list::Links;
use crate::ground::slab::Ticket;
use crate::ground::tenant::Tenant;

impl<T> WaitQueue<T> {
    /// Those of this tenant who wait now stand no longer: they keep their places and count against
    /// the cap, but take no turns; nor does who joins them in a class, until [`release`](Self::release) or all of that class have left.
    pub(crate) fn hold(&mut self, tenant: Tenant) {
        for class in Priority::ALL {
            if self.depth(class) > 0 && !self.classes[class.index()].hold(tenant) {
                self.nobody_stands(class);
            }
        }
    }

    /// Those of this tenant who are held stand again, with the last turn of the round.
    pub(crate) fn release(&mut self, tenant: Tenant) {
        for class in Priority::ALL {
            if self.classes[class.index()].release(tenant) {
                self.waiting |= bit(class);
            }
        }
    }

    /// Whose waiter it is, if it has not left.
    pub(crate) fn tenant(&self, ticket: Ticket) -> Option<Tenant> {
        self.slab.index(ticket).map(|index| self.rare(index).tenant)
    }

    /// What it asked for, if it has not left.
    pub(crate) fn place(&self, ticket: Ticket) -> Option<Place> {
        let index = self.slab.index(ticket)?;
        let Rare { tenant, weight, deadline } = self.rare(index);
        Some(Place { class: self.slab.get(index).class, tenant, weight, deadline })
    }

    /// An empty queue gives the memory of a past flood back, as its slab does.
    #[inline]
    pub(super) fn shrink(&mut self) {
        const KEPT: usize = 1024;
        if self.slab.len() == 0 && self.links.len() > KEPT {
            self.links = Links::default();
            self.rare = Vec::new();
            self.deadlines = Deadlines::default();
            if let Some(shedding) = &mut self.shedding {
                shedding.shrink();
            }
        }
    }

    /// Out of line, if it still waits.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> Option<T> {
        let index = self.slab.index(ticket)?;
        Some(self.remove(index).value)
    }

    pub(super) fn remove(&mut self, index: u32) -> Entry<T> {
        let Rare { weight, deadline, .. } = self.rare(index);
        if deadline.is_some() {
            self.deadlines.remove(index);
        }
        let class = self.slab.get(index).class;
        let Self { classes, links, slab, .. } = self;
        let stand = classes[class.index()].unlink(links, slab, index, weight.get());
        self.departed(class, stand);
        let entry = self.slab.remove(index);
        self.shrink();
        entry
    }

    /// Moves a waiter to another class, in order of acceptance there. Nothing if it has left.
    pub(crate) fn raise(&mut self, ticket: Ticket, class: Priority) {
        self.restand(ticket, |entry| entry.class = class);
    }

    /// From now on it is never evicted. Nothing if it has left.
    #[cfg_attr(
        not(any(test, fuzzing)),
        allow(dead_code, reason = "the queue is complete; the model checks all of it")
    )]
    pub(crate) fn pin(&mut self, ticket: Ticket) {
        self.restand(ticket, |entry| entry.pinned = true);
    }

    pub(super) fn restand(&mut self, ticket: Ticket, change: impl FnOnce(&mut Entry<T>)) {
        let Some(index) = self.slab.index(ticket) else { return };
        let Rare { tenant, weight, .. } = self.rare(index);
        let class = self.slab.get(index).class;
        let Self { classes, links, slab, .. } = self;
        let stand = classes[class.index()].unlink(links, slab, index, weight.get());
        self.departed(class, stand);
        let Self { classes, links, slab, .. } = self;
        change(slab.get_mut(index));
        let class = slab.get(index).class;
        slab.get_mut(index).lane = NOBODYS;
        let stands = classes[class.index()].insert(links, slab, index, (tenant, weight.get()));
        self.arrived(class, stands);
    }

    /// Another value in the same place: the old one, or `Err` with the new one if it has left.
    pub(crate) fn replace(&mut self, ticket: Ticket, value: T) -> Result<T, T> {
        match self.slab.index(ticket) {
            Some(index) => Ok(std::mem::replace(&mut self.slab.get_mut(index).value, value)),
            None => Err(value),
        }
    }

    /// Everybody out, in the order they would have been served (the held of a class behind the
    /// others). The queue is empty at once; the values are for after the unlock.
    pub(crate) fn close(&mut self) -> Drain<T> {
        for class in Priority::ALL.into_iter().filter(|&class| self.depth[class.index()] > 0) {
            self.classes[class.index()].release_all();
            self.waiting |= bit(class);
        }
        let mut empty = Self::new(self.rules);
        empty.held = self.held;
        empty.max_weight = self.max_weight;
        empty.accepted = self.accepted;
        empty.slab = self.slab.successor();
        Drain(std::mem::replace(self, empty))
    }
}

/// Those who waited when the queue was closed.
#[derive(Debug)]
pub(crate) struct Drain<T>(WaitQueue<T>);

impl<T> Iterator for Drain<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        let (index, _) = self.0.next()?;
        Some(self.0.remove(index).value)
    }
}
