//! One bucket that many threads take from: a [`Gcra`] word behind compare-and-swap.

use super::core::{Gcra, NEVER_USED};
use crate::ground::primitives::atomic::{AtomicU64, Ordering};

/// Each transition is one compare-and-swap from the word that the decision was made on, so
/// decisions are as if made one after the other; a refusal writes nothing.
///
/// Relaxed throughout: the word is all the state there is, and nothing else is read or written on
/// the strength of it.
#[derive(Debug)]
pub(super) struct Bucket(AtomicU64);

impl Bucket {
    /// A full one.
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(NEVER_USED))
    }

    pub(super) fn word(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes `cost` tokens, or says how many units too early it is.
    pub(super) fn take(&self, gcra: &Gcra, now: u64, cost: u32) -> Result<(), u64> {
        let mut word = self.word();
        loop {
            let next = gcra.take(word, now, cost, 0)?;
            match self.0.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(seen) => word = seen,
            }
        }
    }

    /// Gives `cost` tokens back, never above the burst.
    pub(super) fn give_back(&self, gcra: &Gcra, now: u64, cost: u32) {
        let mut word = self.word();
        loop {
            let next = gcra.give_back(word, now, cost);
            match self.0.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }
}
