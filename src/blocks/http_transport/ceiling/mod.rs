//! A ceiling over the open connections of several pools.
//!
//! A pool decides under its own lock; what it may not decide alone is whether there is a place for
//! one more connection in the process. `seats.rs` is who of the pools gets it, `pools.rs` how the
//! others learn of it, and how one pool's idle connection makes room for another's request.
//!
//! # Invariants
//!
//! 1. `taken` ≤ `most`. Taken are the places that pools have, and those on their way to one.
//! 2. While a pool wants more places than are on their way to it, all are taken: what it wants it says
//!    at the end of each section under its own lock, and has at once what is free; and what is freed
//!    goes to one that wants it, before anybody else sees it. So no pool waits beside a free place,
//!    and none takes one that another waits for.
//! 3. A place that is freed goes to the pool whose head is of the highest class, and among these to the
//!    one that was served least recently. It is *called*: it looks again, with no lock held, and takes
//!    what is on its way to it. Whatever of it looks before that takes it as well.
//! 4. What a pool has no use for any more (its waiter has left) goes on to the next when it says so,
//!    which it does at the end of that look, or when it is gone.
//! 5. Idle connections are closed for other pools: as many as are wanted beyond the places that are
//!    on their way, being freed, or claimed by somebody who is about to close one; the oldest of all
//!    pools first. Whoever has claimed looks again when it is done. Whoever wants a place, or has a
//!    connection that became idle, says so first and then looks whether there is the other; and where a
//!    claim hides that anything is wanted, its owner looks once more after giving it up.
//! 6. A place is free when its socket is closed: what holds it ([`Token`]) is dropped with the place.
//!
//! Lock order: a pool → the ceiling. Nobody is called and nothing dropped under the ceiling's lock or
//! that of the known pools.

mod pools;
mod seats;

pub(super) use self::pools::{AllPools, Member, Token};
pub(super) use self::seats::{Calls, Seat, Wants};
#[cfg(all(test, not(headworks_loom)))]
pub(super) use self::seats::{Ceiling, SeatId};
