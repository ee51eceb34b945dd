//! `headworks::RateLimiter` and `headworks::TieredRateLimiter`.

use headworks::Instant;
use std::num::NonZeroUsize;

use headworks::rate_limit::{Quota, RateLimiterConfig, TieredQuota, Tokens};
use headworks::{RateLimiter, TieredRateLimiter};

use super::contestant::{Expect, KEYS, Key, KeyedLimiter, Limiter, PLENTY};

fn quota(expect: Expect) -> Quota {
    match expect {
        Expect::Allowed => Quota::per_second(PLENTY.get()),
        Expect::Refused => Quota::new(1, std::time::Duration::from_secs(3_600)),
    }
}

pub struct Direct(RateLimiter);

impl Limiter for Direct {
    const NAME: &'static str = "headworks";

    type Now = ();

    fn now() {}

    fn new(expect: Expect) -> Self {
        Self(RateLimiter::new(quota(expect)).expect("a quota in range"))
    }

    #[inline(always)]
    fn allows(&self, _: &Key, (): ()) -> bool {
        self.0.try_acquire(1).is_ok()
    }
}

/// The time is passed in.
pub struct DirectAt(RateLimiter);

impl Limiter for DirectAt {
    const NAME: &'static str = "headworks (passed now)";

    type Now = Instant;

    fn now() -> Instant {
        Instant::now()
    }

    fn new(expect: Expect) -> Self {
        Self(Direct::new(expect).0)
    }

    #[inline(always)]
    fn allows(&self, _: &Key, now: Instant) -> bool {
        self.0.try_acquire_at(1, now).is_ok()
    }
}

/// With leases; a burst that can be leased from is never refused all through, so only for rows
/// that are allowed.
pub struct Leased(RateLimiter);

impl Limiter for Leased {
    const NAME: &'static str = "headworks (leases)";

    type Now = ();

    fn now() {}

    fn new(expect: Expect) -> Self {
        let config = RateLimiterConfig::from(quota(expect)).with_tokens(Tokens::Leased);
        Self(RateLimiter::new(config).expect("a burst that can be leased from"))
    }

    #[inline(always)]
    fn allows(&self, _: &Key, (): ()) -> bool {
        self.0.try_acquire(1).is_ok()
    }
}

/// Two tiers, always: the key's and everybody's.
pub struct Tiered(TieredRateLimiter<Key>);

impl Limiter for Tiered {
    const NAME: &'static str = "headworks tiered";

    type Now = ();

    fn now() {}

    fn new(expect: Expect) -> Self {
        assert!(KEYS < TieredQuota::default().max_keys.get(), "every key has its own bucket");
        let quotas =
            TieredQuota::default().with_global(quota(Expect::Allowed)).with_per_key(quota(expect));
        Self(TieredRateLimiter::new(quotas).expect("quotas in range"))
    }

    #[inline(always)]
    fn allows(&self, key: &Key, (): ()) -> bool {
        self.0.try_acquire(key, 1).is_ok()
    }
}

/// The time is passed in.
pub struct TieredAt(TieredRateLimiter<Key>);

impl Limiter for TieredAt {
    const NAME: &'static str = "headworks tiered (passed now)";

    type Now = Instant;

    fn now() -> Instant {
        Instant::now()
    }

    fn new(expect: Expect) -> Self {
        Self(Tiered::new(expect).0)
    }

    #[inline(always)]
    fn allows(&self, key: &Key, now: Instant) -> bool {
        self.0.try_acquire_at(key, 1, now).is_ok()
    }
}

/// Small keys, many of them.
pub struct Many(TieredRateLimiter<u64>);

impl KeyedLimiter for Many {
    const NAME: &'static str = "headworks tiered";

    fn new(keys: usize) -> Self {
        // Once the map is full it forgets who is idle: there is room for all.
        let max = NonZeroUsize::new(keys * 2).expect("some keys");
        let quotas = TieredQuota::default()
            .with_global(quota(Expect::Allowed))
            .with_per_key(quota(Expect::Allowed))
            .with_max_keys(max);
        Self(TieredRateLimiter::new(quotas).expect("quotas in range"))
    }

    #[inline(always)]
    fn allows(&self, key: u64, now: Instant) -> bool {
        self.0.try_acquire_at(&key, 1, now).is_ok()
    }
}
