//! Lines of memory that threads do not share.
//!
//! A word that every operation writes costs 50 to 130 ns as soon as two threads do so; a word for
//! each thread costs 7. Each thread that lives has a number of its own, so that few of them never meet.

use std::ops::Deref;

use super::thread_number;

/// So many lines of each kind: threads that have the same number share one.
pub(crate) const STRIPES: usize = 8;

/// Alone on its cache lines: two, for they are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(T);

impl<T> Padded<T> {
    pub(crate) const fn new(alone: T) -> Self {
        Self(alone)
    }
}

impl<T> Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// This thread's stripe. Those of the first threads with a [number](super::thread_number) differ.
#[inline]
pub(crate) fn mine() -> usize {
    thread_number::mine_or_shared() % STRIPES
}
