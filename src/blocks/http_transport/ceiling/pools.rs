//! The pools beneath a ceiling, and how they are called.

use std::sync::{Arc, Weak};

use super::seats::{Calls, Ceiling, Seat, SeatId};
use crate::blocks::http_transport::metrics::CeilingCounts;
use crate::blocks::http_transport::shared::Shared;
use crate::ground::primitives::Mutex;

/// See the head of [`ceiling`](super).
#[derive(Debug)]
pub(in crate::blocks::http_transport) struct AllPools {
    ceiling: Arc<Ceiling>,
    known: Mutex<Vec<(SeatId, Weak<Shared>)>>,
}

impl AllPools {
    pub(in crate::blocks::http_transport) fn new(most: usize) -> Self {
        Self { ceiling: Arc::new(Ceiling::new(most)), known: Mutex::new(Vec::new()) }
    }

    /// For a pool that is being made.
    pub(in crate::blocks::http_transport) fn join(self: &Arc<Self>, pool: &Weak<Shared>) -> Member {
        let seat = self.ceiling.sit();
        self.known.lock().push((seat.id(), Weak::clone(pool)));
        Member { all: Arc::clone(self), seat }
    }

    pub(in crate::blocks::http_transport) fn counts(&self) -> CeilingCounts {
        let (max, open) = self.ceiling.look();
        CeilingCounts { open, max }
    }

    /// Each looks again. One that is gone has passed on, or will, what was on its way to it.
    fn call(&self, calls: impl IntoIterator<Item = SeatId>) {
        for seat in calls {
            let pool = {
                let known = self.known.lock();
                known.iter().find(|it| it.0 == seat).and_then(|it| it.1.upgrade())
            };
            if let Some(pool) = pool {
                pool.looks_again();
            }
        }
    }

    /// Closes the oldest idle connections of all pools, as many as others wait for.
    fn make_room(&self) {
        /// Given up when dropped.
        struct Claim<'a>(&'a Ceiling);
        impl Drop for Claim<'_> {
            fn drop(&mut self) {
                self.0.has_closed();
            }
        }
        while self.ceiling.claim() {
            let claim = Claim(&self.ceiling);
            if let Some(pool) = self.longest_idle() {
                // If it has none any more, the next look finds another.
                pool.makes_room();
                continue;
            }
            // Whoever came meanwhile may have seen the claim, and left it to us.
            drop(claim);
            if self.longest_idle().is_none() {
                return;
            }
        }
    }

    /// The pool whose oldest idle connection is idle for longest.
    fn longest_idle(&self) -> Option<Arc<Shared>> {
        let pools = self.known.lock().clone();
        let pools = pools.into_iter().filter_map(|(_, pool)| pool.upgrade());
        let idle = pools.filter_map(|pool| Some((pool.oldest_idle()?, pool)));
        idle.min_by_key(|(since, _)| *since).map(|(_, pool)| pool)
    }
}

/// A pool's membership: it ends with the pool.
#[derive(Debug)]
pub(in crate::blocks::http_transport) struct Member {
    all: Arc<AllPools>,
    seat: Seat,
}

impl Member {
    pub(in crate::blocks::http_transport) fn seat(&self) -> Seat {
        self.seat.clone()
    }

    /// For a place that the seat took.
    pub(in crate::blocks::http_transport) fn token(&self) -> Token {
        Token(Arc::clone(&self.all))
    }

    pub(in crate::blocks::http_transport) fn counts(&self) -> CeilingCounts {
        self.all.counts()
    }

    /// After each section under the pool's lock.
    pub(in crate::blocks::http_transport) fn call(&self, calls: Calls) {
        self.all.call(calls);
    }

    /// If others wait for places.
    #[inline]
    pub(in crate::blocks::http_transport) fn make_room(&self) {
        if self.seat.can_make_room() {
            self.all.make_room();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.all.known.lock().retain(|it| it.0 != self.seat.id());
        let calls = self.all.ceiling.leave(self.seat.id());
        self.all.call(calls);
    }
}

/// A place beneath the ceiling. Dropping it frees it.
#[derive(Debug)]
pub(in crate::blocks::http_transport) struct Token(Arc<AllPools>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.call(self.0.ceiling.release());
    }
}
