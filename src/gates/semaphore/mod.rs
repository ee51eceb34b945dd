//! Permits handed out in order of priority: a semaphore whose waiting line has classes.
//!
//! An async semaphore that serves first in, first out makes an urgent caller wait behind every
//! batch job that came before it. [`PrioritySemaphore`] keeps a bounded line by class: higher
//! classes go first, a class that keeps being passed over gets a turn of its own
//! ([`SemaphoreConfig::starvation_bound`]), tenants of a class take turns, and when the line is
//! full the least important waiter gives its place and is told
//! ([`AcquireError::Evicted`]).
//!
//! Use it to bound how much of something happens at once when callers differ in importance. To
//! run whole tasks, take the worker pool: a queued task costs less than a parked future. Where
//! all callers are equal and the line may grow without bound, tokio's semaphore is enough.
//!
//! A class can opt in to [shedding](SemaphoreConfig::overload): when its line does not go away, who
//! has waited too long is evicted and the newest goes first, until it is gone.
//!
//! # Guarantees
//!
//! - Never more permits out than there are; after a shrinking
//!   [`resize`](PrioritySemaphore::resize) no new grant until enough came back.
//! - No barging: who does not wait never goes before a waiter of its class or above.
//! - [`try_acquire`](PrioritySemaphore::try_acquire) is refused only while somebody waits or all
//!   permits are out.
//! - Every waiter ends: with a permit, or with the reason in [`AcquireError`].
//! - A dropped future loses its place and nothing else: a permit that had already come goes back
//!   and to the next in line.
//! - While nobody waits, to acquire and to release are one atomic operation each: no allocation,
//!   and almost never a lock. While half of the permits are free, threads keep a few of them at
//!   hand, so that they do not get in each other's way; the total stays exact.

// Invariants
// 1. *One word* (`word.rs`) holds the free permits that are not lent, which may be negative after
//    a shrink, and flags. Everything that changes it is an atomic read-modify-write. A taker
//    beside the lock takes only when neither `WAITERS` nor `CLOSED` is set and enough is free; a
//    giver adds always. Flags are changed, and permits taken while `WAITERS` is set, only under
//    the lock of the line.
// 2. *No lost wake-up.* Who wants to wait sets `WAITERS` **before** it looks at the free permits.
//    A permit that came back before that is seen by the look; one that comes back later finds the
//    flag in the same operation that gives it, and so its giver takes the lock, behind the waiter,
//    and serves the line. There is no third order.
// 3. `WAITERS` is set whenever the lock is held to change something, and cleared only under the
//    lock and only when the line is empty; if it is not, `LINE` says so beside the lock. So who
//    would not wait is refused at once while somebody does, and else, if it finds `WAITERS`, asks
//    under the lock. A giver that had still seen `WAITERS` finds nobody to serve. So, whenever the lock is free, somebody waits only
//    while its flag is set and, but for a giver that stands at the lock already, only because the
//    head of the line does not fit.
// 4. Whoever takes a waiter out of the line decides how it ended, counts it and writes it down, all
//    in one hold of the lock; the waiter's waker goes out with the hold, to be woken after it. The
//    waiter reads it in a hold of its own, or leaves in one: then it gets the verdict, or is out
//    of line. So a permit is in the word, on its way there, or some waiter's, always.
// 5. Who leaves the line serves it afterwards: it may have been the head that did not fit. With
//    nothing to grant nobody is told anything: a head that has expired, or is too large by now,
//    stops nobody then.
// 6. *Loans* (`stripes.rs`). Under the lock, while nobody waits and half of the permits are free,
//    a stripe is lent a few: it opens, and its threads take from it and give back to it by one
//    exchange on a line of memory of its own. A closed stripe is zero: nothing to take, no room
//    to give. It opens only in the hold of the lock in which the permits were taken from the
//    word, and they were taken only if `WAITERS` was not set.
// 7. *Recall.* Who holds the lock to change something first sets `WAITERS` and, if `LENT` is set,
//    closes every stripe and adds what was in them to the word. So somebody waits only while no
//    stripe is open; a permit that comes back later finds its stripe closed and goes to the word,
//    where its giver finds the flag (rule 2). Nobody is told that nothing is free, nor does the
//    number of permits change, nor is the semaphore closed, before that.
// 8. A permit in a stripe is free, is in no word, and is in nobody's hands. `LENT` is set by the
//    operation that takes permits for a stripe, and cleared by the one that adds the recalled to
//    the word: so whoever finds too few there knows whether there may be more.
// 9. *Locks*: one, the line's. No waker is cloned, woken or dropped under it: they come in as
//    clones and go out by value. A long row of grants, or of waiters of a closed semaphore, is
//    told in batches, so that the lock is never held for long.

mod config;
mod core;
mod error;
#[cfg(all(test, headworks_loom))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod loom_tests;
mod metrics;
mod permit;
#[allow(clippy::module_inception, reason = "a file is named for its noun")]
mod semaphore;
mod stripes;
#[cfg(all(test, not(headworks_loom)))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
mod told;
mod waiting;
mod want;
mod word;

pub use config::SemaphoreConfig;
pub use error::AcquireError;
pub use metrics::SemaphoreSnapshot;
pub use permit::{OwnedPermit, Permit};
pub use semaphore::PrioritySemaphore;
pub use want::Want;

pub use crate::ground::metrics::{Metric, MetricValue};
