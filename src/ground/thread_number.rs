//! The number of a thread, which no other thread that lives has: what is kept for each number is
//! touched by one thread at a time, and needs no read-modify-write.
//!
//! 1. A bit of the word is set while some [`Lease`] has its number. It is set by an exchange that
//!    found it clear, and cleared by the drop of that lease; so two leases never share one.
//! 2. A thread makes one lease, when it is first asked for its number, and drops it as it ends. From
//!    then on, in what else is torn down with the thread, it has no number.
//! 3. The clearing is a release and the setting an acquire: what a thread did under its number is
//!    seen by the next one that gets it.
//! 4. A [`Number`] can't leave its thread. It is used up in the operation that asked for it, and so
//!    before its lease ends.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::primitives::atomic::{AtomicU64, Ordering};
use super::primitives::{StaticU64, THREADS_ARE_REAL};

/// So many threads have numbers; those beyond have none.
pub(crate) const NUMBERS: usize = u64::BITS as usize;

/// Of a thread that has not asked.
const UNKNOWN: usize = usize::MAX;
/// From here on: of a thread that found none free, or is being torn down, above the one it shares.
const NONE: usize = NUMBERS;

/// A thread's own number, on that thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number(usize, PhantomData<*const ()>);

impl Number {
    /// Below [`NUMBERS`].
    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// Which numbers are taken.
#[derive(Debug)]
pub(crate) struct Numbers(AtomicU64);

impl Numbers {
    pub(crate) fn new() -> Self {
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
pub(crate) struct Lease<'a> {
    of: &'a Numbers,
    index: Option<usize>,
    /// It stays with its thread.
    here: PhantomData<*const ()>,
}

impl<'a> Lease<'a> {
    pub(crate) fn new(of: &'a Numbers) -> Self {
        Self { of, index: of.take(), here: PhantomData }
    }

    pub(crate) fn number(&self) -> Option<Number> {
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

/// How many threads found none.
static OTHERS: StaticU64 = StaticU64::new(0);

/// This thread's number; or, of a thread that has none, one that it shares. Below [`NUMBERS`].
#[inline]
pub(crate) fn mine_or_shared() -> usize {
    let mine = MINE.get();
    if mine < NUMBERS { mine } else { shared(mine) }
}

#[cold]
fn shared(mine: usize) -> usize {
    if mine == UNKNOWN {
        first(mine);
    }
    match MINE.get() {
        UNKNOWN => 0,
        mine => mine % NUMBERS,
    }
}

/// This thread's number.
#[inline]
pub(crate) fn mine() -> Option<Number> {
    let mine = MINE.get();
    if mine < NUMBERS { Some(Number(mine, PhantomData)) } else { first(mine) }
}

#[cold]
fn first(mine: usize) -> Option<Number> {
    if mine != UNKNOWN || !THREADS_ARE_REAL {
        return None;
    }
    let number = LEASE.try_with(|lease| lease.0.number()).ok().flatten();
    // Relaxed: only the number matters.
    let other = || NONE + OTHERS.fetch_add(1, Ordering::Relaxed) as usize % NUMBERS;
    MINE.set(number.map_or_else(other, Number::index));
    number
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use super::*;

    fn index(lease: &Lease<'_>) -> Option<usize> {
        lease.number().map(Number::index)
    }

    #[test]
    fn numbers_are_the_lowest_free_and_no_two_the_same() {
        let numbers = Numbers::new();
        let mut leases: Vec<_> = (0..NUMBERS).map(|_| Lease::new(&numbers)).collect();
        assert!(leases.iter().enumerate().all(|(at, lease)| index(lease) == Some(at)));
        assert_eq!(index(&Lease::new(&numbers)), None, "those beyond have none");
        drop(leases.remove(7));
        drop(leases.remove(3));
        let (third, seventh) = (Lease::new(&numbers), Lease::new(&numbers));
        assert_eq!((index(&third), index(&seventh)), (Some(3), Some(7)));
    }

    #[test]
    fn a_thread_keeps_its_number_and_gives_it_back() {
        // Other tests' threads have numbers too, so a few may find none; far more threads than
        // there are numbers get one, after each other.
        let numbered = (0..4 * NUMBERS).filter(|_| {
            let thread = std::thread::spawn(|| {
                let number = mine().map(Number::index);
                assert_eq!(mine().map(Number::index), number);
                number.is_some()
            });
            thread.join().unwrap()
        });
        assert!(numbered.count() > 2 * NUMBERS);
    }
}
