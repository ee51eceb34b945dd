//! Lines of memory that threads do not share.
//!
//! A word that every operation writes costs 50 to 130 ns as soon as two threads do so; a word for
//! each thread costs 7. Threads are numbered as they first come, so that few of them never meet.

use std::cell::Cell;
use std::ops::Deref;

use super::primitives::StaticUsize;
use super::primitives::atomic::Ordering;

/// So many lines of each kind: threads that have the same number share one.
pub(crate) const STRIPES: usize = 8;

/// Alone on its cache lines: two, for they are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(T);

impl<T> Padded<T> {
    pub(crate) fn new(alone: T) -> Self {
        Self(alone)
    }
}

impl<T> Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// This thread's number, below [`STRIPES`].
#[inline]
pub(crate) fn mine() -> usize {
    static THREADS: StaticUsize = StaticUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let mine = MINE.get();
    if mine != usize::MAX {
        return mine;
    }
    // Relaxed: only the number matters.
    let mine = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES;
    MINE.set(mine);
    mine
}
