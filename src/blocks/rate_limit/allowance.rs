//! What is left.

use std::time::Duration;

use super::core::Gcra;
use crate::ground::time::Instant;

/// What a bucket holds at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Allowance {
    /// Tokens that could be taken at once.
    pub available: u32,
    /// Tokens it holds when full.
    pub burst: u32,
    /// How long it takes from empty to full.
    pub refill: Duration,
    /// When it is full again, if nothing more is taken; in the past when it is.
    pub full_at: Instant,
}

impl Allowance {
    pub(super) fn of(quota: &Gcra, word: u64, now: Instant) -> Self {
        let available = quota.available(word, quota.word(now));
        let (burst, refill) = (quota.burst, quota.refill());
        Self { available, burst, refill, full_at: quota.full_at(word, now) }
    }
}
