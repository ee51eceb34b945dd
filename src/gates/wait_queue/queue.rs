//! The queue itself: the rules of the room, over classes, lanes and slab.

mod admission;
mod serving;
mod standing;

pub(crate) use standing::Drain;

use std::num::NonZeroU32;
use std::time::Duration;

use super::class::Class;
use super::codel::Shedding;
use super::lane::Entry;
use super::rules::{Place, Rules};
use crate::Priority;
use crate::ground::deadlines::Deadlines;
use crate::ground::list::Links;
use crate::ground::slab::{Slab, Ticket};
use crate::ground::tenant::Tenant;
use crate::ground::time::Instant;

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

    #[inline]
    fn rare(&self, index: u32) -> Rare {
        rare(&self.slab, &self.rare, index)
    }
}

#[inline]
fn bit(class: Priority) -> u8 {
    1 << class.index()
}

#[inline]
fn rare<T>(slab: &Slab<Entry<T>>, column: &[Rare], index: u32) -> Rare {
    if slab.get(index).is_rare { column[index as usize] } else { Rare::NONE }
}
