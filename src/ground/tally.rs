//! A count that many threads keep, exactly, without a read-modify-write of most of them.
//!
//! A read-modify-write costs twenty cycles even on a line that nobody else touches; a load and a
//! store cost one, but lose counts unless the word has one writer. So a few threads own a word each:
//! a thread takes the lowest free place when it first counts and frees it when it ends. Whoever
//! finds none counts by read-modify-write, beside them.
//!
//! 1. A place has at most one thread at a time: places are taken by a compare-and-swap on the mask.
//! 2. The next owner of a place sees the counts of the last one: freeing is a Release, taking an
//!    Acquire.

use std::cell::Cell;

use super::primitives::StaticUsize;
use super::primitives::atomic::{AtomicU64, Ordering};
use super::stripe::{self, Padded, STRIPES};

/// Threads that own a place.
const OWNERS: usize = 8;

#[derive(Debug)]
pub(crate) struct Tally(Box<[Padded<Line>; OWNERS]>);

#[derive(Debug)]
struct Line {
    /// Written by the owner of this place only.
    own: AtomicU64,
    /// Written by those who own none.
    others: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        let line = || Line { own: AtomicU64::new(0), others: AtomicU64::new(0) };
        Self(Box::new(std::array::from_fn(|_| Padded::new(line()))))
    }
}

const _: () = assert!(STRIPES <= OWNERS && OWNERS <= 32);

impl Tally {
    /// Counts one more; a number that no other count has had.
    #[inline]
    pub(crate) fn add(&self) -> u64 {
        // Relaxed, here and below: see the head.
        match place() {
            Some(place) => {
                let own = &self.0[place].own;
                let count = own.load(Ordering::Relaxed);
                own.store(count.wrapping_add(1), Ordering::Relaxed);
                number(count, place)
            }
            None => self.add_beside(),
        }
    }

    #[cold]
    fn add_beside(&self) -> u64 {
        let line = stripe::mine();
        number(self.0[line].others.fetch_add(1, Ordering::Relaxed), OWNERS + line)
    }

    pub(crate) fn get(&self) -> u64 {
        let of = |line: &Padded<Line>| {
            line.own.load(Ordering::Relaxed) + line.others.load(Ordering::Relaxed)
        };
        self.0.iter().map(of).sum()
    }
}

fn number(count: u64, writer: usize) -> u64 {
    (count << 6) | writer as u64
}

/// Not asked yet, and asked in vain.
const UNKNOWN: usize = OWNERS;
const NONE: usize = OWNERS + 1;

/// Which places are taken.
static TAKEN: StaticUsize = StaticUsize::new(0);

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(UNKNOWN) };
    static OWNED: Owned = const { Owned(Cell::new(NONE)) };
}

/// Frees the place when the thread ends.
struct Owned(Cell<usize>);

impl Drop for Owned {
    fn drop(&mut self) {
        PLACE.set(NONE);
        let place = self.0.get();
        if place < OWNERS {
            TAKEN.fetch_and(!(1 << place), Ordering::Release);
        }
    }
}

/// This thread's own place, if it has one.
#[inline]
fn place() -> Option<usize> {
    match PLACE.get() {
        place if place < OWNERS => Some(place),
        UNKNOWN => take(),
        _ => None,
    }
}

#[cold]
fn take() -> Option<usize> {
    let lowest =
        |taken: usize| Some(taken.trailing_ones() as usize).filter(|&place| place < OWNERS);
    let claim = |taken| lowest(taken).map(|place| taken | 1 << place);
    // While the thread ends there is nobody left who would free a place.
    let place = OWNED.try_with(|owned| {
        let taken = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, claim).ok()?;
        lowest(taken).inspect(|&place| owned.0.set(place))
    });
    let place = place.ok().flatten();
    PLACE.set(place.unwrap_or(NONE));
    place
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn many_threads_lose_no_count_and_no_number_is_given_twice() {
        let tally = Tally::default();
        // More threads than places, over and over, so that places change hands.
        for round in 1..=20 {
            let numbers: Vec<u64> = std::thread::scope(|scope| {
                let count = || (0..500).map(|_| tally.add()).collect::<Vec<_>>();
                let threads: Vec<_> = (0..2 * OWNERS).map(|_| scope.spawn(count)).collect();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len());
            assert_eq!(tally.get(), round * 500 * 2 * OWNERS as u64);
        }
    }

    #[test]
    fn a_thread_keeps_its_place_and_gives_it_back() {
        let tally = Tally::default();
        for _ in 0..10 * OWNERS {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let place = place();
                    tally.add();
                    assert_eq!(super::place(), place);
                });
            });
        }
        assert_eq!(tally.get(), 10 * OWNERS as u64);
    }
}
