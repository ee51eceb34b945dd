//! What a limiter counts about itself.

use super::error::{Denied, RateLimited, TryAcquireError};
use crate::ground::enforcement::Enforcement;
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::rng::Rng;

/// Refusals, which also number themselves: each number seeds one piece of chance.
#[derive(Debug)]
pub(super) struct Refusals {
    seed: u64,
    count: AtomicU64,
    let_through: AtomicU64,
    enforcement: Enforcement,
}

impl Refusals {
    pub(super) fn new(enforcement: Enforcement) -> Self {
        let (count, let_through) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { seed: Rng::from_entropy().next(), count, let_through, enforcement }
    }

    pub(super) fn always_refuses(&self) -> bool {
        self.enforcement == Enforcement::Full
    }

    /// What the caller is told; it is let through when this refusal is not carried out, unless
    /// waiting would not help.
    pub(super) fn tell(&self, denied: Denied) -> Result<(), TryAcquireError> {
        match denied {
            Denied::Early(scope, early) => match self.refuse() {
                Some(seed) => Err(RateLimited::new(scope, early, seed).into()),
                None => Ok(()),
            },
            Denied::TooLarge { cost, burst } => Err(TryAcquireError::TooLarge { cost, burst }),
            Denied::Closed => Err(TryAcquireError::Closed),
        }
    }

    /// Something is to be refused: the seed of its jitter, or `None` when it is let through.
    fn refuse(&self) -> Option<u64> {
        // Relaxed, all three: statistics, of which only the difference of numbers matters.
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let mut rng = Rng::seeded(self.seed.wrapping_add(number << 1));
        if self.enforcement.refuses(&mut rng) {
            return Some(rng.next());
        }
        self.let_through.fetch_add(1, Ordering::Relaxed);
        None
    }

    pub(super) fn refused(&self) -> u64 {
        let let_through = self.would_refuse();
        self.count.load(Ordering::Relaxed).saturating_sub(let_through)
    }

    pub(super) fn would_refuse(&self) -> u64 {
        self.let_through.load(Ordering::Relaxed)
    }
}

/// A limiter at one moment; counts since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimiterSnapshot {
    /// Times something was refused or had to wait.
    pub refused: u64,
    /// Times something was let through only because [`Enforcement`] isn't full.
    pub would_refuse: u64,
    /// Futures waiting now.
    pub waiting: usize,
    /// Keys remembered now; 0 without keys.
    pub keys: usize,
}
