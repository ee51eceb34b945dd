//! What a limiter counts about itself.

use super::error::{Denied, RateLimited, TryAcquireError};
use crate::ground::enforcement::Enforcement;
use crate::ground::metrics::{Counter, Metric, MetricValue};
use crate::ground::rng::Rng;
use crate::ground::tally::Tally;

/// Refusals, which also number themselves: each number seeds one piece of chance.
#[derive(Debug)]
pub(super) struct Refusals {
    seed: u64,
    /// All that was to be refused.
    count: Tally,
    let_through: Counter,
    enforcement: Enforcement,
}

impl Refusals {
    pub(super) fn new(enforcement: Enforcement) -> Self {
        let seed = Rng::from_entropy().next();
        Self { seed, count: Tally::default(), let_through: Counter::default(), enforcement }
    }

    pub(super) fn always_refuses(&self) -> bool {
        self.enforcement == Enforcement::Full
    }

    /// What the caller is told; it is let through when this refusal is not carried out, unless
    /// waiting would not help.
    #[inline(always)]
    pub(super) fn tell(&self, denied: Denied) -> Result<(), TryAcquireError> {
        match denied {
            Denied::Early(scope, early) => {
                // Two draws each.
                let seed = self.seed.wrapping_add(self.count.add() << 1);
                if self.always_refuses() || self.enforcement.refuses(&mut Rng::seeded(seed)) {
                    return Err(RateLimited::new(scope, early, seed.wrapping_add(1)).into());
                }
                self.let_through.add(1);
                Ok(())
            }
            Denied::TooLarge { cost, burst } => Err(TryAcquireError::TooLarge { cost, burst }),
            Denied::Closed => Err(TryAcquireError::Closed),
        }
    }

    pub(super) fn refused(&self) -> u64 {
        let let_through = self.would_refuse();
        self.count.get().saturating_sub(let_through)
    }

    pub(super) fn would_refuse(&self) -> u64 {
        self.let_through.get()
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

impl RateLimiterSnapshot {
    /// Every number under the name it has in a metrics system; what ends in `_total` only grows.
    pub fn metrics(&self) -> impl Iterator<Item = Metric<'static>> {
        use MetricValue::{Counter, Gauge};
        Metric::all([
            ("rate_limiter_refused_total", Counter(self.refused)),
            ("rate_limiter_would_refuse_total", Counter(self.would_refuse)),
            ("rate_limiter_waiting", Gauge(self.waiting as u64)),
            ("rate_limiter_keys", Gauge(self.keys as u64)),
        ])
    }
}
