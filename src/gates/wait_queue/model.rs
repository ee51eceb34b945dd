//! The naive model: plain vectors, every rule by looking at everybody. It runs beside the real
//! queue and disagrees loudly. Shared by the property tests and the fuzz target.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use super::{CoDel, Overload, Place, Plan, Rules, Take, Thresholds, Ticket, WaitQueue};
use crate::Priority;
use crate::ground::tenant::Tenant;
use crate::ground::time::Instant;

const BOUND: u32 = 4;
/// A deadline is found at most this late (see `deadlines.rs`).
const TICK: Duration = Duration::from_nanos(1 << 20);

/// Some steps of time reach it, few go far beyond.
const CODEL: CoDel = CoDel { target: TICK.saturating_mul(4), interval: TICK.saturating_mul(20) };
/// Most that are shed for one grant.
const SHED_AT_ONCE: u32 = 32;

/// One step, four bytes: what, and three arguments.
pub(crate) type Op = [u8; 4];

#[derive(Clone, Copy, Debug)]
struct Waiter {
    id: u32,
    ticket: Ticket,
    accept_no: u64,
    weight: u32,
    deadline: Option<Instant>,
    pinned: bool,
    /// Since when it waits, in a class that sheds.
    since: Option<Instant>,
}

#[derive(Debug)]
struct Lane {
    tenant: Tenant,
    deficit: u32,
    held: bool,
    waiters: Vec<Waiter>,
    /// Since when its oldest is above the target.
    above: Option<Instant>,
    stands: bool,
}

impl Lane {
    fn fresh(&self) -> usize {
        self.waiters.iter().filter(|w| !w.pinned).count()
    }

    /// Who is next.
    fn first(&self) -> Waiter {
        let mut fresh = self.waiters.iter().filter(|w| !w.pinned);
        let fresh = if self.stands { fresh.next_back() } else { fresh.next() };
        let pinned = self.waiters.iter().find(|w| w.pinned);
        *[fresh, pinned].into_iter().flatten().min_by_key(|w| w.accept_no).expect("not empty")
    }

    /// Who gives its place.
    fn last(&self) -> Option<&Waiter> {
        let mut fresh = self.waiters.iter().filter(|w| !w.pinned);
        if self.stands { fresh.next() } else { fresh.next_back() }
    }

    /// Who is to be shed.
    fn stale(&mut self, now: Instant) -> Option<Waiter> {
        let oldest = *self.waiters.iter().find(|w| !w.pinned)?;
        let age = oldest.since.map_or(Duration::ZERO, |since| now - since);
        if age <= CODEL.target {
            (self.above, self.stands) = (None, false);
            return None;
        }
        let above = *self.above.get_or_insert(now);
        self.stands |= now - above >= CODEL.interval;
        (self.stands && age > 2 * CODEL.target).then_some(oldest)
    }
}

#[derive(Debug, Default)]
struct Class {
    lanes: VecDeque<Lane>,
    passed: u32,
    /// Somebody's lane is here beside nobody's or held, or was since the class was last empty.
    has_tenants: bool,
}

/// The real queue and what it ought to do.
#[derive(Debug)]
pub(crate) struct Pair {
    real: WaitQueue<u32>,
    classes: [Class; 4],
    cap: usize,
    held: usize,
    max_weight: u32,
    now: Instant,
    /// By class.
    sheds: [bool; 4],
    shed_in_a_row: u32,
    next_id: u32,
    /// Granted ones, to be readmitted: class, tenant, weight, accept number.
    granted: Vec<(Priority, Tenant, NonZeroU32, u64)>,
    /// Tickets of those who left: they must name nobody.
    gone: Vec<Ticket>,
}

impl Pair {
    pub(crate) fn new(now: Instant) -> Self {
        Self::with(Overload::default(), now)
    }

    /// The two lower classes shed.
    pub(crate) fn shedding(now: Instant) -> Self {
        let overload = Overload::default().with(Priority::Low, CODEL).with(Priority::Normal, CODEL);
        Self::with(overload, now)
    }

    fn with(overload: Overload, now: Instant) -> Self {
        let rules = Rules { starvation_bound: BOUND, overload, ..Rules::new(12) };
        Self {
            sheds: [overload.low, overload.normal, overload.high, overload.urgent]
                .map(|codel| codel.is_some()),
            shed_in_a_row: 0,
            real: WaitQueue::new(rules),
            classes: Default::default(),
            cap: 12,
            held: 0,
            max_weight: u32::MAX,
            now,
            next_id: 0,
            granted: Vec::new(),
            gone: Vec::new(),
        }
    }

    pub(crate) fn run(&mut self, ops: &[Op]) {
        for &[what, a, b, c] in ops {
            match what % 16 {
                0..=5 => self.offer(a, b, c),
                6..=9 => self.take(u32::from(a % 8)),
                10 => self.cancel(usize::from(a)),
                11 => self.restand(usize::from(a), b, c),
                12 => self.readmit(usize::from(a)),
                13 => self.now += TICK * u32::from(a) / 16 * if b % 16 == 0 { 4096 } else { 1 },
                14 => self.resize(a, b, c),
                _ if a % 16 == 0 => self.close(),
                _ if a % 16 <= 6 => self.hold(b),
                _ if a % 16 <= 11 => self.release(b),
                _ => self.replace(usize::from(b)),
            }
            self.agree();
        }
    }

    fn len(&self) -> usize {
        self.classes.iter().map(Class::len).sum()
    }

    fn limit(&self, class: usize) -> usize {
        let t = Thresholds::default();
        let ratio = [t.low, t.normal, t.high, t.urgent][class];
        ((self.cap as f64 * ratio).ceil() as usize).max(1)
    }

    fn offer(&mut self, class: u8, tenant: u8, how: u8) {
        let class = Priority::ALL[usize::from(class % 4)];
        let tenant = Tenant(u64::from(tenant % 5));
        let weight = NonZeroU32::new(u32::from(how % 4) + 1).unwrap();
        let after = TICK * u32::from(how / 8) * if how.is_multiple_of(8) { 1000 } else { 1 };
        let deadline = how.is_multiple_of(3).then(|| self.now + after);
        let place = Place { class, tenant, weight, deadline };
        let mut expired = Vec::new();
        let plan = self.real.plan(class, tenant, self.now, &mut expired);
        self.expect_expired(class, &expired);
        let victim = self.expect_plan(class, tenant, plan);
        if plan == Plan::Refuse {
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        let committed = self.real.commit(plan, place, id, self.now);
        assert_eq!(committed.evicted, victim, "the victim");
        let waiter = Waiter {
            id,
            ticket: committed.ticket,
            accept_no: committed.accept_no,
            weight: weight.get(),
            deadline,
            pinned: false,
            since: self.sheds[class.index()].then_some(self.now),
        };
        self.stand(class, tenant, waiter);
    }

    /// Expired ones left only because the class was at its limit; they had expired; and all had
    /// to go, unless eight did.
    fn expect_expired(&mut self, class: Priority, expired: &[u32]) {
        let full = self.len() + self.held >= self.limit(class.index());
        assert!(full || expired.is_empty(), "room enough, yet expired ones were dropped");
        for &id in expired {
            let (waiter, _, _) = self.drop_id(id);
            assert!(waiter.deadline.is_some_and(|d| d <= self.now), "not expired yet");
        }
        assert!(expired.len() <= 8);
        let late = self.now.checked_sub(TICK);
        let overdue = |w: &Waiter| w.deadline.is_some_and(|d| late.is_some_and(|late| d <= late));
        let left = self.waiters().filter(|w| overdue(w)).count();
        assert!(!full || left == 0 || expired.len() == 8, "{left} expired ones overlooked");
    }

    fn expect_plan(&mut self, class: Priority, tenant: Tenant, plan: Plan) -> Option<u32> {
        let own = &self.classes[class.index()];
        let longest = own.longest();
        let mine = own.lanes.iter().find(|l| l.tenant == tenant).map_or(0, Lane::fresh);
        let lower = (0..class.index()).find(|&c| self.classes[c].longest() > 0);
        let from = if self.len() + self.held < self.limit(class.index()) {
            assert_eq!(plan, Plan::Queue);
            return None;
        } else if let Some(lower) = lower {
            lower
        } else if longest >= mine + 2 {
            class.index()
        } else {
            assert_eq!(plan, Plan::Refuse);
            return None;
        };
        let Plan::Evict(victim) = plan else { panic!("{plan:?} instead of an eviction") };
        let class = &self.classes[from];
        let longest = class.longest();
        let last = class.lanes.iter().filter(|l| l.fresh() == longest);
        let mut last = last.filter_map(Lane::last);
        let waiter = *last.find(|w| w.ticket == victim).expect("the last of a longest lane");
        self.drop_id(waiter.id);
        Some(waiter.id)
    }

    fn take(&mut self, free: u32) {
        let got = self.real.take(free, self.now);
        let (turn, class) = self.next();
        let Some(class) = class else {
            assert!(matches!(got, Take::Empty));
            return;
        };
        assert!(turn.is_none_or(|turn| turn == class));
        if self.expect_shed(class, &got) {
            return;
        }
        self.classes[class].begin_turn();
        let first = self.classes[class].front().first();
        match got {
            Take::Expired(id) => {
                assert_eq!(id, first.id);
                assert!(first.deadline.is_some_and(|d| d <= self.now));
                self.drop_id(id);
            }
            Take::TooLarge(id) => {
                assert_eq!(id, first.id);
                assert!(first.weight > self.max_weight);
                self.drop_id(id);
            }
            Take::Shed(id) => panic!("{id} was shed"),
            Take::Short { missing } => assert_eq!(free + missing, first.weight),
            Take::Granted(granted) => {
                assert_eq!(granted.value, first.id, "out of order");
                assert!(first.weight <= free);
                assert!(first.deadline.is_none_or(|d| d > self.now));
                self.granted.push((
                    granted.class,
                    granted.tenant,
                    granted.weight,
                    granted.accept_no,
                ));
                self.shed_in_a_row = 0;
                self.serve(class, first);
            }
            Take::Empty => panic!("somebody waits"),
        }
    }

    /// Whether somebody had to be shed before the next one is granted, and was.
    fn expect_shed(&mut self, class: usize, got: &Take<u32>) -> bool {
        let now = self.now;
        let stale = self.sheds[class].then(|| self.classes[class].front().stale(now)).flatten();
        let may_shed = self.shed_in_a_row < SHED_AT_ONCE && self.classes[class].len() > 1;
        let Some(stale) = stale.filter(|_| may_shed) else { return false };
        match got {
            Take::Expired(id) => {
                assert_eq!(*id, stale.id);
                assert!(stale.deadline.is_some_and(|d| d <= now));
            }
            Take::Shed(id) => {
                assert_eq!(*id, stale.id);
                assert!(stale.deadline.is_none_or(|d| d > now));
            }
            other => panic!("{other:?} instead of shedding"),
        }
        self.shed_in_a_row += 1;
        self.drop_id(stale.id);
        true
    }

    fn serve(&mut self, class: usize, first: Waiter) {
        if self.classes[class].has_tenants {
            self.classes[class].front().deficit -= first.weight;
        }
        let lanes_before = self.classes[class].lanes.len();
        self.drop_id(first.id);
        for lower in self.classes[..class].iter_mut().filter(|c| c.stands()) {
            lower.passed += 1;
        }
        let served = &mut self.classes[class];
        served.passed = 0;
        let same_lane = served.lanes.len() == lanes_before;
        if same_lane && served.has_tenants {
            let lane = served.front();
            if lane.deficit < lane.first().weight {
                let tenant = lane.tenant;
                served.turn_over(tenant);
            }
        }
    }

    fn hold(&mut self, tenant: u8) {
        let tenant = Tenant(u64::from(tenant % 5));
        self.real.hold(tenant);
        for class in &mut self.classes {
            if let Some(lane) = class.lanes.iter_mut().find(|l| l.tenant == tenant) {
                class.has_tenants = true;
                if !lane.held {
                    lane.deficit = 0;
                }
                lane.held = true;
                class.settle();
            }
        }
    }

    fn release(&mut self, tenant: u8) {
        let tenant = Tenant(u64::from(tenant % 5));
        self.real.release(tenant);
        for class in &mut self.classes {
            if let Some(lane) = class.lanes.iter_mut().find(|l| l.tenant == tenant && l.held) {
                lane.held = false;
                class.turn_over(tenant);
            }
        }
    }

    /// The class whose turn it is by being passed over, and the one that goes next.
    fn next(&self) -> (Option<usize>, Option<usize>) {
        let turn = self.classes.iter().position(|c| c.stands() && c.passed >= BOUND);
        (turn, turn.or_else(|| self.classes.iter().rposition(Class::stands)))
    }

    fn cancel(&mut self, nth: usize) {
        if let Some(waiter) = self.nth(nth) {
            assert_eq!(self.real.cancel(waiter.ticket), Some(waiter.id));
            self.drop_id(waiter.id);
        }
        if let Some(&gone) = self.gone.get(nth) {
            assert_eq!(self.real.cancel(gone), None, "a ticket outlived its waiter");
        }
    }

    fn restand(&mut self, nth: usize, class: u8, pin: u8) {
        let Some(waiter) = self.nth(nth) else { return };
        let (mut waiter, mut class_now, tenant) = self.drop_id(waiter.id);
        self.gone.pop();
        if pin.is_multiple_of(2) {
            self.real.pin(waiter.ticket);
            waiter.pinned = true;
        } else {
            class_now = Priority::ALL[usize::from(class % 4)];
            self.real.raise(waiter.ticket, class_now);
        }
        self.stand(class_now, tenant, waiter);
    }

    fn readmit(&mut self, nth: usize) {
        if self.granted.is_empty() {
            return;
        }
        let nth = nth % self.granted.len();
        let (class, tenant, weight, accept_no) = self.granted.swap_remove(nth);
        let id = self.next_id;
        self.next_id += 1;
        let place = Place { class, tenant, weight, deadline: None };
        let ticket = self.real.readmit(place, accept_no, id);
        // A waiter that comes back under its number may get its old ticket again.
        self.gone.retain(|gone| *gone != ticket);
        let weight = weight.get();
        let (deadline, since) = (None, None);
        let waiter = Waiter { id, ticket, accept_no, weight, deadline, pinned: true, since };
        self.stand(class, tenant, waiter);
    }

    fn resize(&mut self, cap: u8, held: u8, max_weight: u8) {
        self.cap = usize::from(cap % 16) + 1;
        self.held = usize::from(held % 4);
        self.max_weight = u32::from(max_weight % 4) + 2;
        self.real.set_cap(self.cap);
        self.real.set_held(self.held);
        self.real.set_max_weight(self.max_weight);
    }

    fn replace(&mut self, nth: usize) {
        let Some(waiter) = self.nth(nth) else { return };
        let id = self.next_id;
        self.next_id += 1;
        assert_eq!(self.real.replace(waiter.ticket, id), Ok(waiter.id));
        let found = self.classes.iter_mut().flat_map(|c| &mut c.lanes);
        let mut found = found.flat_map(|l| &mut l.waiters);
        found.find(|w| w.id == waiter.id).expect("it waits").id = id;
    }

    fn close(&mut self) {
        let mut out: Vec<u32> = self.real.close().collect();
        let mut all: Vec<u32> = self.waiters().map(|w| w.id).collect();
        out.sort_unstable();
        all.sort_unstable();
        assert_eq!(out, all);
        self.gone.extend(
            self.classes.iter().flat_map(|c| &c.lanes).flat_map(|l| &l.waiters).map(|w| w.ticket),
        );
        self.classes = Default::default();
        self.shed_in_a_row = 0;
    }

    fn agree(&mut self) {
        assert_eq!(self.real.len(), self.len());
        for class in Priority::ALL {
            assert_eq!(self.real.depth(class), self.classes[class.index()].len());
            let stands = self.classes[class.index()..].iter().any(Class::stands);
            assert_eq!(self.real.stands(class), stands);
        }
        for lane in self.classes.iter().flat_map(|c| &c.lanes) {
            let mut owners = lane.waiters.iter().map(|w| self.real.tenant(w.ticket));
            assert!(owners.all(|owner| owner == Some(lane.tenant)));
        }
        let (turn, class) = self.next();
        let expected = class.map(|class| self.classes[class].front().first().id);
        let head = self.real.head().map(|head| (*head.value, head.by_turn));
        assert_eq!(head, expected.map(|id| (id, turn.is_some())));
        if let Some(class) = class {
            self.classes[class].begin_turn();
        }
    }

    fn stand(&mut self, class: Priority, tenant: Tenant, waiter: Waiter) {
        let class = &mut self.classes[class.index()];
        class.has_tenants |= tenant != Tenant::NONE;
        let lane = match class.lanes.iter().position(|l| l.tenant == tenant) {
            Some(at) => at,
            None => {
                class.lanes.push_back(Lane {
                    tenant,
                    deficit: 0,
                    held: false,
                    waiters: Vec::new(),
                    above: None,
                    stands: false,
                });
                class.lanes.len() - 1
            }
        };
        let waiters = &mut class.lanes[lane].waiters;
        let at = waiters.iter().position(|w| w.accept_no > waiter.accept_no);
        waiters.insert(at.unwrap_or(waiters.len()), waiter);
    }

    fn drop_id(&mut self, id: u32) -> (Waiter, Priority, Tenant) {
        for class in Priority::ALL {
            let state = &mut self.classes[class.index()];
            for lane in 0..state.lanes.len() {
                let tenant = state.lanes[lane].tenant;
                let waiters = &mut state.lanes[lane].waiters;
                let Some(at) = waiters.iter().position(|w| w.id == id) else { continue };
                let waiter = waiters.remove(at);
                if waiters.is_empty() {
                    state.lanes.remove(lane);
                }
                if state.len() == 0 {
                    *state = Class::default();
                }
                state.settle();
                self.gone.push(waiter.ticket);
                return (waiter, class, tenant);
            }
        }
        panic!("{id} does not wait");
    }

    fn waiters(&self) -> impl Iterator<Item = &Waiter> {
        self.classes.iter().flat_map(|c| &c.lanes).flat_map(|l| &l.waiters)
    }

    fn nth(&self, nth: usize) -> Option<Waiter> {
        let len = self.len();
        (len > 0).then(|| self.waiters().nth(nth % len).copied()).flatten()
    }
}

impl Class {
    fn len(&self) -> usize {
        self.lanes.iter().map(|l| l.waiters.len()).sum()
    }

    fn stands(&self) -> bool {
        self.lanes.iter().any(|l| !l.held)
    }

    /// Nobody is passed over in a class where nobody stands.
    fn settle(&mut self) {
        if !self.stands() {
            self.passed = 0;
        }
    }

    /// The lane whose turn it is.
    fn front(&mut self) -> &mut Lane {
        self.lanes.iter_mut().find(|l| !l.held).expect("somebody stands")
    }

    /// What its head costs, if it has not got that yet.
    fn begin_turn(&mut self) {
        let weights = self.lanes.iter().flat_map(|l| &l.waiters).map(|w| w.weight);
        let heaviest = weights.max().expect("somebody waits");
        let quantum = if heaviest == 1 { 1 } else { (heaviest + 1).next_power_of_two() };
        if self.has_tenants {
            let lane = self.front();
            lane.deficit = lane.deficit.min(2 * quantum);
            if lane.deficit < lane.first().weight {
                lane.deficit += quantum;
            }
        }
    }

    /// Its turn is the last of the round.
    fn turn_over(&mut self, tenant: Tenant) {
        let at = self.lanes.iter().position(|l| l.tenant == tenant).expect("it has a lane");
        let lane = self.lanes.remove(at).expect("just found");
        self.lanes.push_back(lane);
    }

    fn longest(&self) -> usize {
        self.lanes.iter().map(Lane::fresh).max().unwrap_or(0)
    }
}
