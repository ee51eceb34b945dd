//! The smaller peers, and a bare map.

use std::collections::HashMap;
use std::time::Duration;

use headworks::Instant;

use parking_lot::Mutex;

use super::contestant::{Expect, Key, KeyedLimiter, Limiter, PLENTY};

pub struct LeakyBucket(leaky_bucket::RateLimiter);

impl Limiter for LeakyBucket {
    const NAME: &'static str = "leaky-bucket";

    type Now = ();

    fn now() {}

    fn new(expect: Expect) -> Self {
        let all = PLENTY.get() as usize;
        let (initial, refill, interval) = match expect {
            Expect::Allowed => (all, all / 1_000, Duration::from_millis(1)),
            Expect::Refused => (1, 1, Duration::from_secs(3_600)),
        };
        let mut limiter = leaky_bucket::RateLimiter::builder();
        limiter.initial(initial).max(initial).refill(refill).interval(interval);
        Self(limiter.build())
    }

    #[inline(always)]
    fn allows(&self, _: &Key, (): ()) -> bool {
        self.0.try_acquire(1)
    }
}

pub struct Ratelimit(ratelimit::Ratelimiter);

impl Limiter for Ratelimit {
    const NAME: &'static str = "ratelimit";

    type Now = ();

    fn now() {}

    fn new(expect: Expect) -> Self {
        // It knows no rate below one a second; a sample is shorter than that.
        let rate = match expect {
            Expect::Allowed => u64::from(PLENTY.get()),
            Expect::Refused => 1,
        };
        let limiter = ratelimit::Ratelimiter::builder(rate).max_tokens(rate).initial_available(
            match expect {
                Expect::Allowed => rate,
                Expect::Refused => 0,
            },
        );
        Self(limiter.build().expect("in range"))
    }

    #[inline(always)]
    fn allows(&self, _: &Key, (): ()) -> bool {
        self.0.try_wait().is_ok()
    }
}

/// A look-up and a write in as many locked maps of the kind that our keys lie in (std's is the
/// same table), and nothing else.
pub struct BareMap(Vec<Mutex<HashMap<u64, u64>>>);

impl KeyedLimiter for BareMap {
    const NAME: &'static str = "a bare look-up in such maps";

    fn new(keys: usize) -> Self {
        let shards = (keys * 2 / 1_024).next_power_of_two().clamp(1, 4_096);
        Self((0..shards).map(|_| Mutex::default()).collect())
    }

    #[inline(always)]
    fn allows(&self, key: u64, _: Instant) -> bool {
        // Its keys are chance already.
        let shard = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let mut map = self.0[shard as usize & (self.0.len() - 1)].lock();
        *map.entry(key).or_default() += 1;
        true
    }
}
