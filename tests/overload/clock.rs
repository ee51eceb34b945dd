//! D9, clock: it stalls for five seconds, then jumps; some callers have an older `now` than the last
//! one.
//!
//! The time that counts is the latest that anybody has shown the limiter. Many callers ask a limiter, and the
//! keys of a tiered one, more than they may, each by a clock of its own that is up to five seconds
//! behind.

use std::time::{Duration, Instant};

use headworks::rate_limit::{Quota, TieredQuota};
use headworks::{RateLimiter, TieredRateLimiter};

use crate::harness::claims::Claims;
use crate::harness::rng::Rng;
use crate::harness::{every_seed, some_seeds};
use crate::windows::violations;

#[test]
fn a_clock_that_stalls_jumps_or_is_older_gives_nothing_and_locks_nobody_out() {
    every_seed(20, |seed| {
        for quota in QUOTAS {
            trial::<RateLimiter>(seed, quota).all_hold();
            trial::<TieredRateLimiter<u8>>(seed, quota).all_hold();
            trial::<ByItsKey>(seed, quota).all_hold();
        }
    });
}

#[test]
fn control_a_bucket_that_believes_every_now_gives_too_much() {
    some_seeds(|seed| trial::<Believing>(seed, QUOTAS[0]).breaks(&["bound"]));
}

#[test]
fn control_a_window_that_takes_the_last_now_for_its_start_locks_out() {
    some_seeds(|seed| trial::<FixedWindow>(seed, QUOTAS[0]).breaks(&["open"]));
}

const QUOTAS: [Quota; 4] = [
    Quota::per_second(100).with_burst(20),
    Quota::per_second(2_000).with_burst(5),
    Quota::per_second(1_000_000).with_burst(50),
    Quota::new(24, Duration::from_secs(86_400)).with_burst(2),
];

/// Limits one quota.
trait Limits {
    fn new(quota: Quota, now: Instant) -> Self;
    fn allows(&mut self, now: Instant) -> bool;
}

impl Limits for RateLimiter {
    fn new(quota: Quota, _: Instant) -> Self {
        Self::new(quota).unwrap()
    }

    fn allows(&mut self, now: Instant) -> bool {
        self.try_acquire_at(1, now).is_ok()
    }
}

impl Limits for TieredRateLimiter<u8> {
    fn new(quota: Quota, _: Instant) -> Self {
        let plenty = Quota::per_second(10_000_000);
        Self::new(TieredQuota::default().with_global(quota).with_per_key(plenty)).unwrap()
    }

    fn allows(&mut self, now: Instant) -> bool {
        self.try_acquire_at(&1, 1, now).is_ok()
    }
}

struct ByItsKey(TieredRateLimiter<u8>);

impl Limits for ByItsKey {
    fn new(quota: Quota, _: Instant) -> Self {
        let plenty = Quota::per_second(10_000_000);
        let quota = TieredQuota::default().with_global(plenty).with_per_key(quota);
        Self(TieredRateLimiter::new(quota).unwrap())
    }

    fn allows(&mut self, now: Instant) -> bool {
        self.0.try_acquire_at(&1, 1, now).is_ok()
    }
}

/// Refills by the time since the last call, whoever's that was.
struct Believing {
    quota: Quota,
    tokens: f64,
    last: Instant,
}

impl Limits for Believing {
    fn new(quota: Quota, now: Instant) -> Self {
        Self { quota, tokens: f64::from(quota.burst), last: now }
    }

    fn allows(&mut self, now: Instant) -> bool {
        let gone = now.saturating_duration_since(self.last).as_secs_f64();
        let rate = f64::from(self.quota.rate) / self.quota.period.as_secs_f64();
        self.tokens = (self.tokens + gone * rate).min(f64::from(self.quota.burst));
        self.last = now;
        let allows = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(allows));
        allows
    }
}

/// So many until the window that the last call began has passed.
struct FixedWindow {
    quota: Quota,
    left: u32,
    until: Instant,
}

impl Limits for FixedWindow {
    fn new(quota: Quota, now: Instant) -> Self {
        Self { quota, left: quota.burst, until: now }
    }

    fn allows(&mut self, now: Instant) -> bool {
        if self.left == 0 && now < self.until {
            // Whoever comes too early makes it longer.
            self.until = now + self.quota.period;
            return false;
        }
        if self.left == 0 {
            self.left = self.quota.burst;
        }
        self.left -= 1;
        self.until = now + self.quota.period;
        true
    }
}

fn trial<L: Limits>(seed: u64, quota: Quota) -> Claims {
    let (mut rng, start) = (Rng(seed), Instant::now() + Duration::from_secs(10));
    let mut limiter = L::new(quota, start);
    let token = quota.period / quota.rate;
    let (mut latest, mut shown) = (Duration::ZERO, Duration::ZERO);
    let (mut admitted, mut refused_since) = (Vec::new(), None);
    let mut claims = Claims::default();
    for _ in 0..20_000 {
        latest += match rng.below(1_000) {
            // A stall has passed: the jump. Sometimes the machine slept.
            0 => Duration::from_secs(5),
            1 => Duration::from_secs(3_600 * rng.below(24 * 100)),
            // While it stalls it stands still.
            2..500 => Duration::ZERO,
            _ => token.mul_f64(rng.ratio() / 4.0),
        };
        let behind = match rng.below(4) {
            0 => Duration::from_secs_f64(5.0 * rng.ratio()).min(latest),
            _ => Duration::ZERO,
        };
        shown = shown.max(latest - behind);
        if limiter.allows(start + latest - behind) {
            admitted.push(shown);
            refused_since = None;
        } else if behind.is_zero() {
            let since = *refused_since.get_or_insert(latest);
            let closed = latest - since;
            // One token, and the rounding of its rate.
            let is_open = closed <= token + token / 1_000 + Duration::from_nanos(1);
            claims.check("open", is_open, format_args!("locked out for {closed:?}"));
        }
    }
    let violations = violations(&admitted, quota);
    claims.check("bound", violations == 0, format_args!("{violations} windows"));
    claims.check("used", admitted.len() > 500, format_args!("{} admitted", admitted.len()));
    claims
}
