//! `headworks::RateLimiter` and `headworks::TieredRateLimiter`.

use headworks::rate_limit::{Quota, TieredQuota};
use headworks::{RateLimiter, TieredRateLimiter};

use super::contestant::{Expect, KEYS, Key, Limiter, PLENTY};

fn quota(expect: Expect) -> Quota {
    match expect {
        Expect::Allowed => Quota::per_second(PLENTY.get()),
        Expect::Refused => Quota::new(1, std::time::Duration::from_secs(3_600)),
    }
}

pub struct Direct(RateLimiter);

impl Limiter for Direct {
    const NAME: &'static str = "headworks";

    fn new(expect: Expect) -> Self {
        Self(RateLimiter::new(quota(expect)).expect("a quota in range"))
    }

    fn allows(&self, _: &Key) -> bool {
        self.0.try_acquire(1).is_ok()
    }
}

/// Two tiers, always: the key's and everybody's.
pub struct Tiered(TieredRateLimiter<Key>);

impl Limiter for Tiered {
    const NAME: &'static str = "headworks tiered";

    fn new(expect: Expect) -> Self {
        assert!(KEYS < TieredQuota::default().max_keys.get(), "every key has its own bucket");
        let quotas =
            TieredQuota::default().with_global(quota(Expect::Allowed)).with_per_key(quota(expect));
        Self(TieredRateLimiter::new(quotas).expect("quotas in range"))
    }

    fn allows(&self, key: &Key) -> bool {
        self.0.try_acquire(key, 1).is_ok()
    }
}
