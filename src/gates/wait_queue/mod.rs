//! The one waiting line of the crate: bounded, ordered by class, fair between tenants.
//!
//! Pure: it lives behind its owner's lock, takes `now` as an argument, wakes nobody and drops
//! nothing. What waits is a value: a task, a waiting future's cell, a run. Every value that
//! leaves is returned, to be dropped or woken after the unlock. It holds no permits: its owner
//! keeps `free` and calls [`WaitQueue::take`] again after every release, cancel, expiry, raise
//! and resize.
//!
//! # Rules
//!
//! 1. *Thresholds.* A class may fill the queue up to `max(1, ceil(cap × ratio))` places. In this
//!    order: below that → in; else a lower class waits → its newest (of the longest tenant of the
//!    lowest class) is evicted; else the caller's tenant holds at least two places fewer than the
//!    longest of its class → that one's newest is evicted; else refused.
//! 2. *Starvation bound.* A class that waits while `N` grants in a row went above it gets the
//!    next one, the lowest first on a tie. So a waiter with `p` waiters of its class at or before
//!    it in the round starts within `p × (N + 3)` grants, or leaves for a stated reason.
//! 3. *Tenants.* Deficit round robin in seats (Shreedhar and Varghese, 1995). The quantum is the
//!    heaviest weight that waits in the class, rounded up to a power of two above it, so each visit
//!    serves somebody: O(1). With weights each tenant ahead counts in rule 2 with as many waiters
//!    as twice that weight. First in, first out holds inside a class and tenant. At most 1,024
//!    tenants of a class have lanes of their own; the rest share 256 by hash.
//! 4. *Weights.* A head that does not fit yields `Short`, and nothing of its class or below is
//!    granted until it fits; a higher class is, unless the head stands there by its starvation
//!    turn. So a heavy waiter can't be starved by light ones.
//! 5. *Expiry.* An expired head is returned as such and never granted. Before it evicts or
//!    refuses, the queue drops up to 8 expired waiters, wherever they stand.
//! 6. *Pinned* waiters (readmitted, or pinned by hand) are never evicted, and stand in the order
//!    in which they were first accepted, ahead of all that was accepted later.
//! 7. *Overload*, in classes that opt in (`codel.rs`): a lane whose oldest waiter has been older
//!    than the target for an interval is served newest first, and whoever in it gets older than
//!    twice the target leaves as `Shed` when the lane has its turn, up to 32 for each grant. Order
//!    and bound are suspended there until the oldest is younger than the target. Who gives a place
//!    in such a lane is the oldest. The pinned are not shed, nor is the last one of a class.
//! 8. *Held* tenants keep their places and count against the cap, but do not stand in line: they
//!    take no turns, hold up nobody and are passed over by nobody. Released, they have the last
//!    turn of the round. Tenants that share a lane are held together.
//!
//! Push, pop, cancel and evict are O(1); `readmit`, `pin` and `raise` are O(1) at either end of
//! the lane and else walk past the waiters accepted later.

mod class;
mod codel;
#[cfg(all(test, not(headworks_loom)))]
mod cost;
mod lane;
mod longest;
#[cfg(all(any(test, fuzzing), not(headworks_loom)))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(crate) mod model;
mod queue;
mod room;
#[cfg(all(test, not(headworks_loom)))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod room_tests;
mod rules;
#[cfg(all(test, not(headworks_loom)))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
mod weights;

pub(crate) use crate::ground::slab::Ticket;
pub use codel::{CoDel, Overload};
pub(crate) use queue::{Committed, Drain, Granted, Plan, Take, WaitQueue};
pub(crate) use room::{Entered, Room, Turn};
pub use rules::Thresholds;
pub(crate) use rules::{Place, Rules};
