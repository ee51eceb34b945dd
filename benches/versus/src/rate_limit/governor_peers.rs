//! governor, with the clock it comes with and with one that stands still.

use headworks::Instant;
use std::num::NonZeroU32;

use governor::clock::{FakeRelativeClock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::contestant::{Expect, Key, KeyedLimiter, Limiter, PLENTY};

fn quota(expect: Expect) -> Quota {
    match expect {
        Expect::Allowed => Quota::per_second(PLENTY),
        Expect::Refused => Quota::per_hour(NonZeroU32::MIN),
    }
}

pub struct Direct(DefaultDirectRateLimiter);

impl Limiter for Direct {
    const NAME: &'static str = "governor (quanta clock)";

    type Now = ();

    fn now() {}

    fn new(expect: Expect) -> Self {
        Self(RateLimiter::direct(quota(expect)))
    }

    #[inline(always)]
    fn allows(&self, _: &Key, (): ()) -> bool {
        self.0.check().is_ok()
    }
}

/// Without the price of a clock: what is left when the time is passed in.
pub struct DirectFakeClock(
    RateLimiter<NotKeyed, InMemoryState, FakeRelativeClock, NoOpMiddleware<Nanos>>,
);

impl Limiter for DirectFakeClock {
    const NAME: &'static str = "governor (fake clock)";

    type Now = ();

    fn now() {}

    fn new(expect: Expect) -> Self {
        Self(RateLimiter::direct_with_clock(quota(expect), FakeRelativeClock::default()))
    }

    #[inline(always)]
    fn allows(&self, _: &Key, (): ()) -> bool {
        self.0.check().is_ok()
    }
}

/// With std's clock, as ours.
pub struct DirectStdClock(
    RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>,
);

impl Limiter for DirectStdClock {
    const NAME: &'static str = "governor (std clock)";

    type Now = ();

    fn now() {}

    fn new(expect: Expect) -> Self {
        Self(RateLimiter::direct_with_clock(quota(expect), MonotonicClock))
    }

    #[inline(always)]
    fn allows(&self, _: &Key, (): ()) -> bool {
        self.0.check().is_ok()
    }
}

pub struct Keyed(DefaultKeyedRateLimiter<Key>);

impl Limiter for Keyed {
    const NAME: &'static str = "governor keyed (quanta clock)";

    type Now = ();

    fn now() {}

    fn new(expect: Expect) -> Self {
        Self(RateLimiter::keyed(quota(expect)))
    }

    #[inline(always)]
    fn allows(&self, key: &Key, (): ()) -> bool {
        self.0.check_key(key).is_ok()
    }
}

pub struct KeyedFakeClock(
    RateLimiter<Key, DashMapStateStore<Key>, FakeRelativeClock, NoOpMiddleware<Nanos>>,
);

impl Limiter for KeyedFakeClock {
    const NAME: &'static str = "governor keyed (fake clock)";

    type Now = ();

    fn now() {}

    fn new(expect: Expect) -> Self {
        let states = DashMapStateStore::default();
        Self(RateLimiter::new(quota(expect), states, FakeRelativeClock::default()))
    }

    #[inline(always)]
    fn allows(&self, key: &Key, (): ()) -> bool {
        self.0.check_key(key).is_ok()
    }
}

/// Small keys, many of them; one tier, and no clock.
pub struct Many(RateLimiter<u64, DashMapStateStore<u64>, FakeRelativeClock, NoOpMiddleware<Nanos>>);

impl KeyedLimiter for Many {
    const NAME: &'static str = "governor keyed (fake clock)";

    fn new(_: usize) -> Self {
        let states = DashMapStateStore::default();
        Self(RateLimiter::new(quota(Expect::Allowed), states, FakeRelativeClock::default()))
    }

    #[inline(always)]
    fn allows(&self, key: u64, _: Instant) -> bool {
        self.0.check_key(&key).is_ok()
    }
}

/// Two tiers as people stack them: the key's, then everybody's.
pub struct KeyedThenDirect {
    per_key: DefaultKeyedRateLimiter<Key>,
    global: DefaultDirectRateLimiter,
}

impl Limiter for KeyedThenDirect {
    const NAME: &'static str = "governor keyed, then direct (quanta clock)";

    type Now = ();

    fn now() {}

    fn new(expect: Expect) -> Self {
        Self {
            per_key: RateLimiter::keyed(quota(expect)),
            global: RateLimiter::direct(quota(Expect::Allowed)),
        }
    }

    #[inline(always)]
    fn allows(&self, key: &Key, (): ()) -> bool {
        self.per_key.check_key(key).is_ok() && self.global.check().is_ok()
    }
}
