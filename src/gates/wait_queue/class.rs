//! One class: its lanes, served by deficit round robin.

use std::collections::HashMap;

use super::codel::{CoDel, Delay, Shedding};
use super::lane::{Entry, Lane, LaneId, Owner};
use super::longest::Longest;
use super::weights::Weights;
use crate::ground::list::{Links, List};
use crate::ground::slab::Slab;
use crate::ground::tenant::Tenant;
use crate::ground::time::Instant;

/// Tenants of a class with a lane of their own at a time. Enough for every operator seen; a
/// bound on what a flood of made-up tenants can cost.
pub(super) const EXACT_TENANTS: usize = 1024;
/// Lanes that the tenants beyond share by hash.
pub(super) const SHARED_LANES: u64 = 256;
/// The lane of those without a tenant: always there, so that it costs no look-up.
pub(super) const NOBODYS: LaneId = 0;

#[derive(Debug)]
pub(super) struct Class {
    lanes: Vec<Lane>,
    vacant: Vec<LaneId>,
    /// Lanes with waiters that are not held, in the order of their turns; the first one's turn is
    /// now.
    turns: List,
    turn_links: Links,
    /// How many lanes are held.
    held: usize,
    weights: Weights,
    by_tenant: HashMap<Tenant, LaneId>,
    by_hash: HashMap<u8, LaneId>,
    longest: Longest,
    /// There is a lane beside nobody's or one that is held, or was since the class was last empty.
    /// Until then there are no turns to take, no accounts to keep, and the longest lane is known.
    has_tenants: bool,
}

impl Default for Class {
    fn default() -> Self {
        Self {
            lanes: vec![Lane::new(Owner::Tenant(Tenant::NONE))],
            vacant: Vec::new(),
            turns: List::default(),
            turn_links: Links::default(),
            held: 0,
            weights: Weights::default(),
            by_tenant: HashMap::new(),
            by_hash: HashMap::new(),
            longest: Longest::default(),
            has_tenants: false,
        }
    }
}

impl Class {
    #[inline]
    fn lane(&self, id: LaneId) -> &Lane {
        &self.lanes[id as usize]
    }

    /// Fresh places that this tenant's lane holds.
    pub(super) fn held_by(&self, tenant: Tenant) -> usize {
        self.find(tenant).map_or(0, |id| self.lane(id).fresh.len())
    }

    /// How many turns pass before a newcomer of this tenant has its own; `None` where nobody takes
    /// turns.
    pub(super) fn ahead(&self, tenant: Tenant) -> Option<usize> {
        if !self.has_tenants {
            return (tenant != Tenant::NONE).then(|| usize::from(!self.lane(NOBODYS).is_empty()));
        }
        let own = |id| self.lane(id).fresh.len() + self.lane(id).pinned.len();
        let own = self.find(tenant).map_or(0, own);
        Some((own + 1).saturating_mul(self.turns.len()))
    }

    /// Fresh places that the longest lane holds.
    pub(super) fn longest(&self) -> usize {
        if self.has_tenants { self.longest.len() } else { self.lane(NOBODYS).fresh.len() }
    }

    /// Whether some tenant holds at least two more than this one.
    #[inline]
    pub(super) fn has_longer(&self, tenant: Tenant) -> bool {
        let is_the_only_one = !self.has_tenants && tenant == Tenant::NONE;
        !is_the_only_one && self.longest() >= self.held_by(tenant) + 2
    }

    /// The fresh waiter of the longest lane that would be served last.
    pub(super) fn evictable(&self) -> Option<u32> {
        let longest = if self.has_tenants { self.longest.lane() } else { Some(NOBODYS) };
        longest.and_then(|id| self.lane(id).last())
    }

    /// Puts the waiter in line, in order of acceptance. Whether it stands there: its lane is not
    /// held.
    #[inline]
    pub(super) fn insert<T>(
        &mut self,
        links: &mut Links,
        slab: &mut Slab<Entry<T>>,
        index: u32,
        (tenant, weight): (Tenant, u32),
    ) -> bool {
        self.weights.came(weight);
        if !self.has_tenants && tenant == Tenant::NONE {
            self.lanes[NOBODYS as usize].insert(links, slab, index);
            return true;
        }
        let id = self.find(tenant).unwrap_or_else(|| self.open(tenant));
        slab.get_mut(index).lane = id;
        let lane = &mut self.lanes[id as usize];
        let (was, was_empty) = (lane.fresh.len(), lane.is_empty());
        lane.insert(links, slab, index);
        let stands = !lane.held;
        if was_empty {
            self.turn_links.push_back(&mut self.turns, id);
        }
        self.measure(id, was);
        stands
    }

    /// Takes the waiter out of line; closes its lane when it was the last. Whether anybody still
    /// stands in the class.
    #[inline]
    pub(super) fn unlink<T>(
        &mut self,
        links: &mut Links,
        slab: &Slab<Entry<T>>,
        index: u32,
        weight: u32,
    ) -> bool {
        self.weights.left(weight);
        let id = slab.get(index).lane;
        let lane = &mut self.lanes[id as usize];
        let was = lane.fresh.len();
        lane.unlink(links, slab, index);
        let is_empty = lane.is_empty();
        if is_empty {
            lane.delay = Delay::default();
        }
        if !self.has_tenants {
            return !is_empty;
        }
        self.measure(id, was);
        if is_empty {
            self.close(id);
            if self.turns.is_empty() && self.held == 0 {
                self.has_tenants = false;
            }
        }
        !self.turns.is_empty()
    }

    /// Looks how old the oldest is of the lane whose turn it is: who is to be shed, if anybody.
    pub(super) fn stale(&mut self, codel: CoDel, shedding: &Shedding, now: Instant) -> Option<u32> {
        let id = if self.has_tenants { self.turns.head()? } else { NOBODYS };
        let lane = &mut self.lanes[id as usize];
        let oldest = lane.fresh.head()?;
        let Some(age) = shedding.age(oldest, now) else {
            // It came before this began to count: as if nobody stood here.
            lane.delay = Delay::default();
            return None;
        };
        lane.delay.observe(codel, age, now).then_some(oldest)
    }

    /// Takes the tenant's lane out of the turns, if anybody waits there. Whether anybody still
    /// stands in the class, which is not empty.
    pub(super) fn hold(&mut self, tenant: Tenant) -> bool {
        if let Some(id) = self.find(tenant).filter(|&id| !self.lane(id).is_empty()) {
            self.begin_turns();
            let lane = &mut self.lanes[id as usize];
            if !lane.held {
                lane.held = true;
                lane.deficit = 0;
                self.held += 1;
                self.turn_links.unlink(&mut self.turns, id);
            }
        }
        !(self.has_tenants && self.turns.is_empty())
    }

    /// Gives the tenant's lane the last turn of this round, if it was held. Whether it was.
    pub(super) fn release(&mut self, tenant: Tenant) -> bool {
        if self.held == 0 {
            return false;
        }
        let held = self.find(tenant).filter(|&id| self.lane(id).held);
        if let Some(id) = held {
            self.release_lane(id);
        }
        held.is_some()
    }

    /// As `release`, whoever's lane it is.
    pub(super) fn release_all(&mut self) {
        for id in 0..self.lanes.len() as LaneId {
            if self.held > 0 && self.lane(id).held {
                self.release_lane(id);
            }
        }
    }

    fn release_lane(&mut self, id: LaneId) {
        self.lanes[id as usize].held = false;
        self.held -= 1;
        self.turn_links.push_back(&mut self.turns, id);
    }

    /// The lane's fresh length was `was`.
    fn measure(&mut self, id: LaneId, was: usize) {
        let lane = &mut self.lanes[id as usize];
        if lane.fresh.len() != was {
            self.longest.moved(id, lane, was);
        }
    }

    /// Who is next. The lane whose turn it is gets its quantum when its head is heavier than what
    /// is left of the last one; asking twice changes nothing more.
    #[inline]
    pub(super) fn front<T>(
        &mut self,
        slab: &Slab<Entry<T>>,
        weight_of: impl Fn(u32) -> u32,
    ) -> Option<u32> {
        if !self.has_tenants {
            return self.lane(NOBODYS).front(slab);
        }
        let id = self.turns.head()?;
        let lane = &mut self.lanes[id as usize];
        let front = lane.front(slab)?;
        let quantum = self.weights.quantum();
        // What was given for a heavy waiter that left ungranted is not for lighter ones.
        lane.deficit = lane.deficit.min(quantum.saturating_mul(2));
        if lane.deficit < weight_of(front) {
            lane.deficit = lane.deficit.saturating_add(quantum);
        }
        Some(front)
    }

    /// Takes a granted waiter out of line and charges its lane; the turn passes on when what is
    /// left does not pay for the next. Whether anybody still stands in the class.
    #[inline]
    pub(super) fn serve<T>(
        &mut self,
        links: &mut Links,
        slab: &Slab<Entry<T>>,
        index: u32,
        weight_of: impl Fn(u32) -> u32,
    ) -> bool {
        let weight = weight_of(index);
        if !self.has_tenants {
            return self.unlink(links, slab, index, weight);
        }
        let id = slab.get(index).lane;
        let lane = &mut self.lanes[id as usize];
        lane.deficit = lane.deficit.saturating_sub(weight);
        let stands = self.unlink(links, slab, index, weight);
        let lane = self.lane(id);
        let next = lane.front(slab).map(weight_of);
        if next.is_some_and(|weight| lane.deficit < weight) {
            self.turn_links.unlink(&mut self.turns, id);
            self.turn_links.push_back(&mut self.turns, id);
        }
        stands
    }

    /// A tenant keeps to the lane it stands in: one that waits in a shared lane stays there until
    /// that lane is empty, so that its own order holds.
    fn find(&self, tenant: Tenant) -> Option<LaneId> {
        if tenant == Tenant::NONE {
            return Some(NOBODYS);
        }
        let exact = self.by_tenant.get(&tenant);
        exact.or_else(|| self.by_hash.get(&shared(tenant))).copied()
    }

    /// From now on nobody's lane takes turns like any other.
    fn begin_turns(&mut self) {
        if !self.has_tenants {
            self.has_tenants = true;
            if !self.lane(NOBODYS).is_empty() {
                self.turn_links.push_back(&mut self.turns, NOBODYS);
                self.measure(NOBODYS, 0);
            }
        }
    }

    fn open(&mut self, tenant: Tenant) -> LaneId {
        self.begin_turns();
        let owner = if self.by_tenant.len() < EXACT_TENANTS {
            Owner::Tenant(tenant)
        } else {
            Owner::Shared(shared(tenant))
        };
        let id = match self.vacant.pop() {
            Some(id) => {
                self.lanes[id as usize] = Lane::new(owner);
                id
            }
            None => {
                self.lanes.push(Lane::new(owner));
                (self.lanes.len() - 1) as LaneId
            }
        };
        match owner {
            Owner::Tenant(tenant) => self.by_tenant.insert(tenant, id),
            Owner::Shared(hash) => self.by_hash.insert(hash, id),
        };
        id
    }

    fn close(&mut self, id: LaneId) {
        let lane = &mut self.lanes[id as usize];
        if lane.held {
            lane.held = false;
            self.held -= 1;
        } else {
            self.turn_links.unlink(&mut self.turns, id);
        }
        if id == NOBODYS {
            lane.deficit = 0;
            return;
        }
        match self.lane(id).owner {
            Owner::Tenant(tenant) => self.by_tenant.remove(&tenant),
            Owner::Shared(hash) => self.by_hash.remove(&hash),
        };
        self.vacant.push(id);
    }
}

/// The shared lane of a tenant. Tenants are hashes already; the high bits are as good as any.
fn shared(tenant: Tenant) -> u8 {
    ((tenant.0 >> 32) % SHARED_LANES) as u8
}
