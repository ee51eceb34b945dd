//! The number of a thread, which no other thread that lives has: a place in each pool by itself.
//!
//! 1. A bit of the word is set while some [`Lease`] has its number. It is set by an exchange that
//!    found it clear, and cleared by the drop of that lease; so two leases never share one.
//! 2. A thread makes one lease, at its first use of a pool, and drops it as it ends. From then on,
//!    in what else is torn down with the thread, it has no number.
//! 3. The clearing is a release and the setting an acquire: what a thread did under its number is
//!    seen by the next one that gets it.
//! 4. A [`Number`] can't leave its thread. It is used up in the operation that asked for it, and so
//!    before its lease ends.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;

use crate::ground::primitives::atomic::{AtomicU64, Ordering};

/// So many threads have numbers; those beyond share.
pub(super) const NUMBERS: usize = u64::BITS as usize;

/// Of a thread that has not asked.
const UNKNOWN: usize = usize::MAX;
/// Of a thread that found none free, or is being torn down.
const NONE: usize = NUMBERS;

/// A thread's own number, on that thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number(usize, PhantomData<*const ()>);

impl Number {
    /// Below [`NUMBERS`].
    #[inline]
    pub(super) fn index(self) -> usize {
        self.0
    }
}

/// Which numbers are taken.
#[derive(Debug)]
pub(super) struct Numbers(AtomicU64);

impl Numbers {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The lowest that is free: what lies under the numbers of threads that have ended is found
    /// again soon.
    fn take(&self) -> Option<usize> {
        // Relaxed: the exchange checks it. Acquire: pairs with the drop of a lease.
        let taken = self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, |taken| {
            (taken != u64::MAX).then(|| taken | (taken + 1))
        });
        taken.ok().map(|before| before.trailing_ones() as usize)
    }
}

/// A number for as long as it lives; none if all were taken.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    of: &'a Numbers,
    index: Option<usize>,
    /// It stays with its thread.
    here: PhantomData<*const ()>,
}

impl<'a> Lease<'a> {
    pub(super) fn new(of: &'a Numbers) -> Self {
        Self { of, index: of.take(), here: PhantomData }
    }

    pub(super) fn number(&self) -> Option<Number> {
        self.index.map(|index| Number(index, PhantomData))
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(index) = self.index {
            // Release: pairs with `take`.
            self.of.0.fetch_and(!(1 << index), Ordering::Release);
        }
    }
}

/// A thread's lease.
struct Mine(Lease<'static>);

impl Drop for Mine {
    fn drop(&mut self) {
        // Before the number is another's.
        MINE.set(NONE);
    }
}

static NUMBERED: OnceLock<Numbers> = OnceLock::new();

thread_local! {
    /// Read by every operation: no destructor, and nothing to initialise.
    static MINE: Cell<usize> = const { Cell::new(UNKNOWN) };
    static LEASE: Mine = Mine(Lease::new(NUMBERED.get_or_init(Numbers::new)));
}

/// This thread's number.
#[inline]
pub(super) fn mine() -> Option<Number> {
    let mine = MINE.get();
    if mine < NUMBERS { Some(Number(mine, PhantomData)) } else { first(mine) }
}

#[cold]
fn first(mine: usize) -> Option<Number> {
    if mine == NONE {
        return None;
    }
    let number = LEASE.try_with(|lease| lease.0.number()).ok().flatten();
    MINE.set(number.map_or(NONE, Number::index));
    number
}
