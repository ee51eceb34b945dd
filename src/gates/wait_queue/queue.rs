//! The queue itself: the rules of the room, over classes, lanes and slab.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::class::{Class, NOBODYS};
use super::codel::Shedding;
use super::lane::Entry;
use super::rules::{Place, Rules};
use crate::Priority;
use crate::ground::deadlines::Deadlines;
use crate::ground::list::Links;
use crate::ground::slab::{Slab, Ticket};
use crate::ground::tenant::Tenant;
use crate::ground::time::Now;

/// How many expired waiters one full queue drops before it evicts or refuses: enough to make
/// room, few enough to bound the lock.
const EXPIRED_AT_ONCE: usize = 8;

/// See the room's head.
#[derive(Debug)]
pub(crate) struct WaitQueue<T> {
    rules: Rules,
    limits: [usize; 4],
    /// Places counted against the cap by somebody who does not stand in line.
    held: usize,
    max_weight: u32,
    accepted: u64,
    /// Waiters by class.
    depth: [usize; 4],
    /// One bit for each class in which somebody stands: waits, and is not held.
    waiting: u8,
    /// One bit for each of them whose turn it is by having been passed over.
    starving: u8,
    /// Grants above each class in a row while it waited.
    passed: [u32; 4],
    classes: [Class; 4],
    slab: Slab<Entry<T>>,
    /// By index, for those that have something rare.
    rare: Vec<Rare>,
    links: Links,
    deadlines: Deadlines,
    /// `None`: no class sheds anybody.
    shedding: Option<Box<Shedding>>,
}

/// What most waiters do not have.
#[derive(Clone, Copy, Debug)]
struct Rare {
    tenant: Tenant,
    weight: NonZeroU32,
    deadline: Option<Instant>,
}

impl Rare {
    const NONE: Self = Self { tenant: Tenant::NONE, weight: NonZeroU32::MIN, deadline: None };

    fn of(place: &Place) -> Self {
        Self { tenant: place.tenant, weight: place.weight, deadline: place.deadline }
    }

    fn is_none(&self) -> bool {
        self.deadline.is_none() && self.weight == NonZeroU32::MIN && self.tenant == Tenant::NONE
    }
}

/// What admitting would mean. Good under the lock it was made under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// There is room.
    Queue,
    /// This waiter gives its place.
    Evict(Ticket),
    /// No.
    Refuse,
}

/// One admission.
#[derive(Debug)]
pub(crate) struct Committed<T> {
    pub(crate) ticket: Ticket,
    #[cfg_attr(
        not(any(test, fuzzing)),
        allow(dead_code, reason = "the queue is complete; the model checks all of it")
    )]
    pub(crate) accept_no: u64,
    pub(crate) evicted: Option<T>,
}

/// What a seat, permit or token that came free goes to.
#[derive(Debug)]
pub(crate) enum Take<T> {
    Granted(Granted<T>),
    /// Its deadline passed while it waited. Ask again.
    Expired(T),
    /// Heavier than the capacity has become. Ask again.
    TooLarge(T),
    /// Waited too long in a queue that stands. Ask again.
    Shed(T),
    /// The head needs this much more than is free.
    Short {
        missing: u32,
    },
    Empty,
}

/// One waiter's turn.
#[derive(Debug)]
pub(crate) struct Granted<T> {
    pub(crate) value: T,
    pub(crate) class: Priority,
    #[cfg_attr(
        not(any(test, fuzzing)),
        allow(dead_code, reason = "the queue is complete; the model checks all of it")
    )]
    pub(crate) tenant: Tenant,
    pub(crate) weight: NonZeroU32,
    #[cfg_attr(
        not(any(test, fuzzing)),
        allow(dead_code, reason = "the queue is complete; the model checks all of it")
    )]
    pub(crate) accept_no: u64,
}

/// Whom the next [`WaitQueue::take`] would look at.
#[derive(Debug)]
pub(crate) struct Head<'a, T> {
    pub(crate) ticket: Ticket,
    pub(crate) value: &'a T,
    pub(crate) class: Priority,
    pub(crate) weight: NonZeroU32,
    pub(crate) deadline: Option<Instant>,
    /// It stands here by its starvation turn: nothing goes before it, of any class.
    pub(crate) by_turn: bool,
}

impl<T> WaitQueue<T> {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            limits: rules.thresholds.limits(rules.cap),
            shedding: Shedding::new(rules.overload),
            rules,
            held: 0,
            max_weight: u32::MAX,
            accepted: 0,
            depth: [0; 4],
            waiting: 0,
            starving: 0,
            passed: [0; 4],
            classes: Default::default(),
            slab: Slab::new(),
            rare: Vec::new(),
            links: Links::default(),
            deadlines: Deadlines::default(),
        }
    }

    /// Waiters in line.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waiters of this class.
    pub(crate) fn depth(&self, class: Priority) -> usize {
        self.depth[class.index()]
    }

    /// How many of its own class are served before a newcomer of this class and tenant, at most, if
    /// nobody comes after: as many turns of each tenant as it has to wait for itself. By waiters,
    /// not by their weights.
    pub(crate) fn ahead_in_class(&self, class: Priority, tenant: Tenant) -> usize {
        let turns = self.classes[class.index()].ahead(tenant);
        turns.map_or(self.depth(class), |turns| turns.min(self.depth(class)))
    }

    /// Places this class may fill.
    pub(crate) fn limit(&self, class: Priority) -> usize {
        self.limits[class.index()]
    }

    /// The share of it that this class may plan on.
    pub(crate) fn share(&self, class: Priority, time: Duration) -> Duration {
        time.mul_f64(self.rules.thresholds.ratio(class))
    }

    /// A new cap, from the next admission on; nobody who waits loses the place.
    #[cfg_attr(
        not(any(test, fuzzing)),
        allow(dead_code, reason = "the queue is complete; the model checks all of it")
    )]
    pub(crate) fn set_cap(&mut self, cap: usize) {
        self.rules.cap = cap;
        self.limits = self.rules.thresholds.limits(cap);
    }

    /// Places taken by somebody who is not in line, counted against the cap.
    pub(crate) fn set_held(&mut self, held: usize) {
        self.held = held;
    }

    /// The greatest weight that can ever be granted: heavier heads leave as `TooLarge`.
    pub(crate) fn set_max_weight(&mut self, max: u32) {
        self.max_weight = max;
    }

    /// How long one takes that was granted: queues are judged by it.
    pub(crate) fn set_mean_service(&mut self, mean: Duration) {
        if let Some(shedding) = &mut self.shedding {
            shedding.set_mean_service(mean);
        }
    }

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
    fn decide(&self, class: Priority, tenant: Tenant) -> Plan {
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
    fn insert_anew(&mut self, place: Place, accept_no: u64, pinned: bool, value: T) -> Ticket {
        let ticket = self.insert(Place { deadline: None, ..place }, accept_no, pinned, value);
        if let Some(shedding) = &mut self.shedding {
            shedding.came(ticket.index, None);
        }
        ticket
    }

    #[inline]
    fn insert(&mut self, place: Place, accept_no: u64, pinned: bool, value: T) -> Ticket {
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

    #[inline]
    fn rare(&self, index: u32) -> Rare {
        rare(&self.slab, &self.rare, index)
    }

    /// Offers `free` seats to whoever is next.
    #[inline]
    pub(crate) fn take(&mut self, free: u32, now: impl Now) -> Take<T> {
        if let Some(index) = self.stale(now) {
            return self.shed(index, now);
        }
        let Some((index, _)) = self.next() else { return Take::Empty };
        let Rare { tenant, weight, deadline } = self.rare(index);
        if deadline.is_some_and(|deadline| deadline <= now.get()) {
            return Take::Expired(self.remove(index).value);
        }
        if weight.get() > self.max_weight {
            return Take::TooLarge(self.remove(index).value);
        }
        if weight.get() > free {
            return Take::Short { missing: weight.get() - free };
        }
        let class = self.slab.get(index).class;
        self.passed_over(class);
        if deadline.is_some() {
            self.deadlines.remove(index);
        }
        let Self { classes, links, slab, rare: column, .. } = self;
        let weight_of = |index| rare(slab, column, index).weight.get();
        let stand = classes[class.index()].serve(links, slab, index, weight_of);
        self.passed[class.index()] = 0;
        self.starving &= !bit(class);
        self.departed(class, stand);
        if let Some(shedding) = &mut self.shedding {
            shedding.in_a_row = 0;
        }
        let accept_no = self.slab.serial(index);
        let Entry { value, .. } = self.slab.remove(index);
        self.shrink();
        Take::Granted(Granted { value, class, tenant, weight, accept_no })
    }

    /// Rule 7: who has to go before the next one is granted. Looks at the lane whose turn it is,
    /// which may change whom it serves first.
    #[inline]
    fn stale(&mut self, now: impl Now) -> Option<u32> {
        let shedding = self.shedding.as_deref()?;
        let (class, _) = next_class(self.waiting, self.starving)?;
        let codel = shedding.of(Priority::ALL[class])?;
        let stale = self.classes[class].stale(codel, shedding, now.get())?;
        // The last one of a class is served: nobody gains by a seat that stays empty.
        let may_shed = shedding.in_a_row < Shedding::AT_ONCE && self.depth[class] > 1;
        may_shed.then_some(stale)
    }

    fn shed(&mut self, index: u32, now: impl Now) -> Take<T> {
        if let Some(shedding) = &mut self.shedding {
            shedding.in_a_row += 1;
        }
        let has_expired = self.rare(index).deadline.is_some_and(|deadline| deadline <= now.get());
        let value = self.remove(index).value;
        if has_expired { Take::Expired(value) } else { Take::Shed(value) }
    }

    /// A grant of this class went by: here, or in a line that shares its seats with this one.
    #[inline]
    pub(crate) fn passed_over(&mut self, class: Priority) {
        let mut below = self.waiting & (bit(class) - 1);
        while below != 0 {
            let lower = below.trailing_zeros() as usize;
            below &= below - 1;
            self.passed[lower] = self.passed[lower].saturating_add(1);
            if self.passed[lower] >= self.rules.starvation_bound {
                self.starving |= 1 << lower;
            }
        }
    }

    /// `stands`: it is not held.
    #[inline]
    fn arrived(&mut self, class: Priority, stands: bool) {
        self.depth[class.index()] += 1;
        self.waiting |= u8::from(stands) << class.index();
    }

    /// `stand`: somebody of its class still does.
    #[inline]
    fn departed(&mut self, class: Priority, stand: bool) {
        self.depth[class.index()] -= 1;
        if !stand {
            self.nobody_stands(class);
        }
    }

    #[inline]
    fn nobody_stands(&mut self, class: Priority) {
        self.passed[class.index()] = 0;
        self.waiting &= !bit(class);
        self.starving &= !bit(class);
    }

    /// Whether somebody stands in this class or above.
    #[inline]
    pub(crate) fn stands(&self, class: Priority) -> bool {
        self.waiting >> class.index() != 0
    }

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
    fn shrink(&mut self) {
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

    /// Whether this is whom a `take` would look at now.
    #[inline]
    pub(crate) fn is_next(&mut self, ticket: Ticket, now: impl Now) -> bool {
        self.stale(now).is_none()
            && self.next().is_some_and(|(index, _)| self.slab.index(ticket) == Some(index))
    }

    /// Whom the next `take` would look at.
    pub(crate) fn head(&mut self) -> Option<Head<'_, T>> {
        let (index, by_turn) = self.next()?;
        let ticket = self.slab.ticket(index);
        let Rare { weight, deadline, .. } = self.rare(index);
        let Entry { value, class, .. } = self.slab.get(index);
        Some(Head { ticket, value, class: *class, weight, deadline, by_turn })
    }

    #[inline]
    fn next(&mut self) -> Option<(u32, bool)> {
        let (class, by_turn) = next_class(self.waiting, self.starving)?;
        let Self { classes, slab, rare: column, .. } = self;
        let index = classes[class].front(slab, |index| rare(slab, column, index).weight.get())?;
        Some((index, by_turn))
    }

    /// Out of line, if it still waits.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> Option<T> {
        let index = self.slab.index(ticket)?;
        Some(self.remove(index).value)
    }

    fn remove(&mut self, index: u32) -> Entry<T> {
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

    fn restand(&mut self, ticket: Ticket, change: impl FnOnce(&mut Entry<T>)) {
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

#[inline]
fn bit(class: Priority) -> u8 {
    1 << class.index()
}

/// Rule 2: the lowest class whose turn it is by being passed over, else the highest. Whether it
/// was passed over.
#[inline]
fn next_class(waiting: u8, starving: u8) -> Option<(usize, bool)> {
    match starving {
        0 => Some((waiting.checked_ilog2()? as usize, false)),
        _ => Some((starving.trailing_zeros() as usize, true)),
    }
}

#[inline]
fn rare<T>(slab: &Slab<Entry<T>>, column: &[Rare], index: u32) -> Rare {
    if slab.get(index).is_rare { column[index as usize] } else { Rare::NONE }
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
