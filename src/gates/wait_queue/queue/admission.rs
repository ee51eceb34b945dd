//! Who comes in.

use super::{Committed, Plan, Rare, WaitQueue};
use crate::Priority;
use crate::gates::wait_queue::Place;
use crate::gates::wait_queue::class::NOBODYS;
use crate::gates::wait_queue::lane::Entry;
use crate::ground::slab::Ticket;
use crate::ground::tenant::Tenant;
use crate::ground::time::Now;

/// How many expired waiters one full queue drops before it evicts or refuses: enough to make
/// room, few enough to bound the lock.
const EXPIRED_AT_ONCE: usize = 8;

impl<T> WaitQueue<T> {
    /// What admitting one of this class and tenant would mean. Changes nothing, but that up to 8
    /// expired waiters leave (into `expired`) before it says anything but `Queue`.
    #[inline]
    pub(crate) fn plan(
        &mut self,
        class: Priority,
        tenant: Tenant,
        now: impl Now,
        expired: &mut Vec<T>,
    ) -> Plan {
        let plan = self.decide(class, tenant);
        if plan == Plan::Queue || self.deadlines.is_empty() {
            return plan;
        }
        let now = now.get();
        let before = expired.len();
        while let Some(index) = self.deadlines.expired(now) {
            expired.push(self.remove(index).value);
            if expired.len() - before == EXPIRED_AT_ONCE {
                break;
            }
        }
        if expired.len() == before { plan } else { self.decide(class, tenant) }
    }

    /// Rule 1.
    #[inline]
    pub(super) fn decide(&self, class: Priority, tenant: Tenant) -> Plan {
        if self.len() + self.held < self.limits[class.index()] {
            return Plan::Queue;
        }
        if !self.rules.evicts {
            return Plan::Refuse;
        }
        let below = self.classes[..class.index()].iter().zip(self.depth);
        let lower = below.filter(|&(_, depth)| depth > 0).find_map(|(class, _)| class.evictable());
        let own = &self.classes[class.index()];
        let longer = || if own.has_longer(tenant) { own.evictable() } else { None };
        match lower.or_else(longer) {
            Some(victim) => Plan::Evict(self.slab.ticket(victim)),
            None => Plan::Refuse,
        }
    }

    /// Carries a plan out. `now` starts the clocks of deadlines and of classes that shed.
    #[inline]
    pub(crate) fn commit(
        &mut self,
        plan: Plan,
        place: Place,
        value: T,
        now: impl Now,
    ) -> Committed<T> {
        debug_assert!(plan != Plan::Refuse, "a refusal is not to be committed");
        let (accept_no, evicted) = self.reserve(plan);
        let ticket = self.insert(place, accept_no, false, value);
        if let Some(shedding) = &mut self.shedding {
            let sheds = shedding.of(place.class).is_some();
            shedding.came(ticket.index, sheds.then(|| now.get()));
        }
        if let Some(deadline) = place.deadline {
            self.deadlines.insert(ticket.index, deadline, now.get());
        }
        Committed { ticket, accept_no, evicted }
    }

    /// Carries a plan out for one that will stand in line later, by `resume`: its number, and who
    /// was evicted for it. Until then its owner counts it as held.
    #[inline]
    pub(crate) fn reserve(&mut self, plan: Plan) -> (u64, Option<T>) {
        let evicted = match plan {
            Plan::Evict(victim) => self.cancel(victim),
            Plan::Queue | Plan::Refuse => None,
        };
        (self.next_number(), evicted)
    }

    /// The last number given.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.accepted
    }

    /// The number of one that is accepted without standing in line.
    #[inline]
    pub(crate) fn next_number(&mut self) -> u64 {
        self.accepted += 1;
        self.accepted
    }

    /// `plan` and `commit` in one; a refusal gives the value back.
    pub(crate) fn offer(
        &mut self,
        place: Place,
        value: T,
        now: impl Now,
        expired: &mut Vec<T>,
    ) -> Result<Committed<T>, T> {
        match self.plan(place.class, place.tenant, now, expired) {
            Plan::Refuse => Err(value),
            plan => Ok(self.commit(plan, place, value, now)),
        }
    }

    /// Back in line with the place it was first accepted at: past the cap, never evicted, and
    /// without a deadline of the queue's (its owner keeps that time).
    pub(crate) fn readmit(&mut self, place: Place, accept_no: u64, value: T) -> Ticket {
        self.insert_anew(place, accept_no, true, value)
    }

    /// In line with the place it was accepted at, past the cap, and evictable like any other.
    pub(crate) fn resume(&mut self, place: Place, accept_no: u64, value: T) -> Ticket {
        self.insert_anew(place, accept_no, false, value)
    }

    /// One that was here before: nobody asks how long it has waited.
    pub(super) fn insert_anew(
        &mut self,
        place: Place,
        accept_no: u64,
        pinned: bool,
        value: T,
    ) -> Ticket {
        let ticket = self.insert(Place { deadline: None, ..place }, accept_no, pinned, value);
        if let Some(shedding) = &mut self.shedding {
            shedding.came(ticket.index, None);
        }
        ticket
    }

    #[inline]
    pub(super) fn insert(
        &mut self,
        place: Place,
        accept_no: u64,
        pinned: bool,
        value: T,
    ) -> Ticket {
        let Place { class, tenant, weight, .. } = place;
        let rare = Rare::of(&place);
        let is_rare = !rare.is_none();
        let entry = Entry { value, lane: NOBODYS, class, pinned, is_rare };
        let ticket = self.slab.insert_as(accept_no, entry);
        if is_rare {
            let needed = ticket.index as usize + 1;
            self.rare.resize(self.rare.len().max(needed), Rare::NONE);
            self.rare[ticket.index as usize] = rare;
        }
        let Self { classes, links, slab, .. } = self;
        let stands =
            classes[class.index()].insert(links, slab, ticket.index, (tenant, weight.get()));
        self.arrived(class, stands);
        ticket
    }
}
