//! One class: its lanes, served by deficit round robin.

use std::collections::HashMap;

use super::lane::{Entry, Lane, LaneId, Owner};
use super::longest::Longest;
use crate::ground::list::{Links, List, NIL};
use crate::ground::slab::Slab;
use crate::ground::tenant::Tenant;

/// Tenants of a class with a lane of their own at a time. Enough for every operator seen; a
/// bound on what a flood of made-up tenants can cost.
pub(super) const EXACT_TENANTS: usize = 1024;
/// Lanes that the tenants beyond share by hash.
pub(super) const SHARED_LANES: u64 = 256;

#[derive(Debug, Default)]
pub(super) struct Class {
    pub(super) len: usize,
    /// Grants above this class in a row while it waited.
    pub(super) passed: u32,
    pub(super) longest: Longest,
    lanes: Vec<Lane>,
    vacant: Vec<LaneId>,
    /// Lanes with waiters, in the order of their turns; the first one's turn is now.
    turns: List,
    turn_links: Links,
    /// The heaviest weight since the class was last empty.
    quantum: u32,
    by_tenant: HashMap<Tenant, LaneId>,
    by_hash: HashMap<u8, LaneId>,
}

impl Class {
    /// Fresh places that this tenant's lane holds.
    pub(super) fn held_by(&self, tenant: Tenant) -> usize {
        self.find(tenant).map_or(0, |id| self.lanes[id as usize].fresh.len())
    }

    /// The newest fresh waiter of the longest lane.
    pub(super) fn evictable(&self) -> Option<u32> {
        self.longest.lane().and_then(|id| self.lanes[id as usize].fresh.tail())
    }

    /// Puts the waiter in line, in order of acceptance.
    pub(super) fn insert<T>(&mut self, links: &mut Links, slab: &mut Slab<Entry<T>>, index: u32) {
        let place = slab.get(index).place;
        let id = self.find(place.tenant).unwrap_or_else(|| self.open(place.tenant));
        slab.get_mut(index).lane = id;
        let lane = &mut self.lanes[id as usize];
        let was = lane.fresh.len();
        lane.insert(links, slab, index);
        if lane.fresh.len() != was {
            self.longest.moved(id, lane, was);
        }
        self.len += 1;
        self.quantum = self.quantum.max(place.weight.get());
    }

    /// Takes the waiter out of line; closes its lane when it was the last.
    pub(super) fn unlink<T>(&mut self, links: &mut Links, slab: &Slab<Entry<T>>, index: u32) {
        let id = slab.get(index).lane;
        let lane = &mut self.lanes[id as usize];
        let was = lane.fresh.len();
        lane.unlink(links, slab, index);
        if lane.fresh.len() != was {
            self.longest.moved(id, lane, was);
        }
        self.len -= 1;
        if self.lanes[id as usize].is_empty() {
            self.close(id);
        }
        if self.len == 0 {
            self.passed = 0;
            self.quantum = 0;
        }
    }

    /// Who is next. The lane whose turn it is gets its quantum when its head is heavier than what
    /// is left of the last one; asking twice changes nothing more.
    pub(super) fn front<T>(&mut self, slab: &Slab<Entry<T>>) -> Option<u32> {
        let id = self.turns.head()?;
        let lane = &mut self.lanes[id as usize];
        let front = lane.front(slab)?;
        if lane.deficit < slab.get(front).place.weight.get() {
            lane.deficit = lane.deficit.saturating_add(self.quantum);
        }
        Some(front)
    }

    /// Takes a granted waiter out of line and charges its lane; the turn passes on when what is
    /// left does not pay for the next.
    pub(super) fn serve<T>(&mut self, links: &mut Links, slab: &Slab<Entry<T>>, index: u32) {
        let id = slab.get(index).lane;
        let weight = slab.get(index).place.weight.get();
        let lane = &mut self.lanes[id as usize];
        lane.deficit = lane.deficit.saturating_sub(weight);
        self.unlink(links, slab, index);
        let lane = &self.lanes[id as usize];
        let next = lane.front(slab).map(|next| slab.get(next).place.weight.get());
        if next.is_some_and(|weight| lane.deficit < weight) {
            self.turn_links.unlink(&mut self.turns, id);
            self.turn_links.push_back(&mut self.turns, id);
        }
        self.passed = 0;
    }

    /// A tenant keeps to the lane it stands in: one that waits in a shared lane stays there until
    /// that lane is empty, so that its own order holds.
    fn find(&self, tenant: Tenant) -> Option<LaneId> {
        let exact = self.by_tenant.get(&tenant);
        exact.or_else(|| self.by_hash.get(&shared(tenant))).copied()
    }

    fn open(&mut self, tenant: Tenant) -> LaneId {
        let owner = if self.by_tenant.len() < EXACT_TENANTS {
            Owner::Tenant(tenant)
        } else {
            Owner::Shared(shared(tenant))
        };
        let lane = Lane { owner, bucket: NIL, ..Lane::default() };
        let id = match self.vacant.pop() {
            Some(id) => {
                self.lanes[id as usize] = lane;
                id
            }
            None => {
                self.lanes.push(lane);
                (self.lanes.len() - 1) as LaneId
            }
        };
        match owner {
            Owner::Tenant(tenant) => self.by_tenant.insert(tenant, id),
            Owner::Shared(hash) => self.by_hash.insert(hash, id),
        };
        self.turn_links.push_back(&mut self.turns, id);
        id
    }

    fn close(&mut self, id: LaneId) {
        match self.lanes[id as usize].owner {
            Owner::Tenant(tenant) => self.by_tenant.remove(&tenant),
            Owner::Shared(hash) => self.by_hash.remove(&hash),
        };
        self.turn_links.unlink(&mut self.turns, id);
        self.vacant.push(id);
    }
}

/// The shared lane of a tenant. Tenants are hashes already; the high bits are as good as any.
fn shared(tenant: Tenant) -> u8 {
    ((tenant.0 >> 32) % SHARED_LANES) as u8
}
