//! A count that many threads keep, exactly, without a read-modify-write of most of them.
//!
//! A read-modify-write costs twenty cycles even on a line that nobody else touches; a load and a
//! store cost one, but lose counts unless the word has one writer. So the threads with the lowest
//! numbers own a word each, and the others count by read-modify-write, beside them.
//!
//! An owned word has at most one writer at a time, which sees the counts of the one before: as the
//! number has one thread (`thread_number.rs`, 1 and 3).

use super::primitives::atomic::{AtomicU64, Ordering};
use super::stripe::Padded;
use super::thread_number::{self, Number};

/// Threads that own a word.
const OWNERS: usize = 8;

#[derive(Debug)]
pub(crate) struct Tally(Box<[Padded<Line>; OWNERS]>);

#[derive(Debug)]
struct Line {
    /// Written by the thread with this number only.
    own: AtomicU64,
    /// Written by threads with higher numbers, and by those without one.
    others: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        let line = || Line { own: AtomicU64::new(0), others: AtomicU64::new(0) };
        Self(Box::new(std::array::from_fn(|_| Padded::new(line()))))
    }
}

impl Tally {
    /// Counts one more; a number that no other count has had.
    #[inline]
    pub(crate) fn add(&self) -> u64 {
        self.add_by(thread_number::mine())
    }

    #[inline]
    pub(super) fn add_by(&self, me: Option<Number>) -> u64 {
        // Relaxed, here and below: see the head.
        match me.map(Number::index) {
            Some(me) if me < OWNERS => {
                let own = &self.0[me].own;
                let count = own.load(Ordering::Relaxed);
                own.store(count.wrapping_add(1), Ordering::Relaxed);
                number(count, me)
            }
            other => self.add_beside(other.unwrap_or_else(thread_number::mine_or_shared) % OWNERS),
        }
    }

    #[cold]
    fn add_beside(&self, line: usize) -> u64 {
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

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn many_threads_lose_no_count_and_no_number_is_given_twice() {
        let tally = Tally::default();
        // More threads than owners, over and over, so that words change hands.
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
}
