//! One tenant's line inside a class.

use super::codel::Delay;
use crate::Priority;
use crate::ground::list::{Links, List, NIL};
use crate::ground::slab::Slab;
use crate::ground::tenant::Tenant;

pub(super) type LaneId = u32;

/// One waiter. Its accept number is its serial in the slab; a tenant, a weight other than 1 and a
/// deadline lie in a column of their own (`Rare`), so that who has none of them stays small.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) value: T,
    pub(super) lane: LaneId,
    pub(super) class: Priority,
    pub(super) pinned: bool,
    pub(super) is_rare: bool,
}

/// Two lines, served in order of acceptance: the fresh ones, which may be evicted from the tail,
/// and the pinned ones, which may not.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) fresh: List,
    pub(super) pinned: List,
    /// Seats this lane may still take in its turn.
    pub(super) deficit: u32,
    pub(super) owner: Owner,
    /// Its bucket among the lanes of the class, by length (`longest.rs`).
    pub(super) bucket: u32,
    /// It takes no turns, though somebody waits in it.
    pub(super) held: bool,
    /// Whether its queue stands, in a class that sheds.
    pub(super) delay: Delay,
}

/// How a lane is found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The lane of exactly this tenant.
    Tenant(Tenant),
    /// One of the lanes shared by hash.
    Shared(u8),
}

impl Lane {
    pub(super) fn new(owner: Owner) -> Self {
        let (fresh, pinned) = (List::default(), List::default());
        Self { fresh, pinned, deficit: 0, owner, bucket: NIL, held: false, delay: Delay::default() }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.pinned.is_empty()
    }

    /// Who is next: the one accepted first; of the fresh the last, while the queue stands.
    #[inline]
    pub(super) fn front<T>(&self, slab: &Slab<Entry<T>>) -> Option<u32> {
        let newest_first = self.delay.newest_first();
        let fresh = if newest_first { self.fresh.tail() } else { self.fresh.head() };
        match (self.pinned.head(), fresh) {
            (Some(pinned), Some(fresh)) => {
                let pinned_first = slab.serial(pinned) < slab.serial(fresh);
                Some(if pinned_first { pinned } else { fresh })
            }
            (pinned, fresh) => pinned.or(fresh),
        }
    }

    /// The fresh one that would be served last.
    pub(super) fn last(&self) -> Option<u32> {
        if self.delay.newest_first() { self.fresh.head() } else { self.fresh.tail() }
    }

    /// Inserts in order of acceptance into the fresh or the pinned line.
    #[inline]
    pub(super) fn insert<T>(&mut self, links: &mut Links, slab: &Slab<Entry<T>>, index: u32) {
        let serial = slab.serial(index);
        let list = if slab.get(index).pinned { &mut self.pinned } else { &mut self.fresh };
        let is_later = |other: u32| slab.serial(other) > serial;
        let mut after = list.tail();
        if after.is_some_and(is_later) {
            // Not the newest: at the front, or somewhere between.
            let before_all = list.head().is_some_and(is_later);
            after = after.filter(|_| !before_all);
            while let Some(other) = after.filter(|&other| is_later(other)) {
                after = links.prev(other);
            }
        }
        links.insert_after(list, after, index);
    }

    #[inline]
    pub(super) fn unlink<T>(&mut self, links: &mut Links, slab: &Slab<Entry<T>>, index: u32) {
        let list = if slab.get(index).pinned { &mut self.pinned } else { &mut self.fresh };
        links.unlink(list, index);
    }
}
