//! D4, hot key: keys by Zipf's law (exponent 1.2), and one key that is half the load by itself and
//! asks four times what it may.
//!
//! 10,000 calls a second of the hot key, as many of all the others; a key may 2,500 a second, all
//! together 13,500: enough for the others and for what the hot key may. A million keys and a minute
//! in the long run; a tenth of each otherwise.

use std::time::{Duration, Instant};

use headworks::rate_limit::{Quota, TieredQuota, TryAcquireError};
use headworks::{RateLimiter, Scope, TieredRateLimiter};

use crate::harness::claims::Claims;
use crate::harness::rng::Rng;
use crate::harness::{every_seed, is_long_run, some_seeds};
use crate::windows::violations;

const KEY: Quota = Quota::per_second(2_500);
const ALL: Quota = Quota::per_second(13_500).with_burst(20_000);
/// Calls a second, of the hot key and of all others.
const EACH_HALF: f64 = 10_000.0;
const HOT: u32 = u32::MAX;

#[test]
fn a_hot_key_gets_its_share_and_costs_nobody_anything() {
    every_seed(1, |seed| trial::<Tiers>(seed).all_hold());
}

#[test]
fn control_a_total_that_is_charged_first_is_drained_by_who_is_refused() {
    some_seeds(|seed| trial::<TotalFirst>(seed).breaks(&["others", "costs nothing"]));
}

/// A limiter of two tiers, of whatever making.
trait TwoTiers {
    fn new(keys: u32, now: Instant) -> Self;
    fn allows(&self, key: u32, now: Instant) -> bool;
    /// How much is left of all, through keys that nobody used.
    fn left(&self, now: Instant) -> u32 {
        (1..=10).map(|new| (0..2_500).filter(|_| self.allows(HOT - new, now)).count() as u32).sum()
    }
}

struct Tiers(TieredRateLimiter<u32>);

impl TwoTiers for Tiers {
    fn new(keys: u32, _: Instant) -> Self {
        let max = std::num::NonZeroUsize::new(2 * keys as usize).unwrap();
        let quota = TieredQuota::default().with_global(ALL).with_per_key(KEY).with_max_keys(max);
        Self(TieredRateLimiter::new(quota).unwrap())
    }

    fn allows(&self, key: u32, now: Instant) -> bool {
        match self.0.try_acquire_at(&key, 1, now) {
            Ok(()) => true,
            Err(TryAcquireError::RateLimited(limited)) => {
                let is_new = (HOT - 10..HOT).contains(&key);
                assert!(is_new || limited.scope() == Scope::Key, "all had enough");
                false
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// As others build it: a token of all, then one of the key.
struct TotalFirst(RateLimiter, TieredRateLimiter<u32>);

impl TwoTiers for TotalFirst {
    fn new(keys: u32, now: Instant) -> Self {
        let Tiers(per_key) = Tiers::new(keys, now);
        per_key.set_global_quota(Quota::per_second(10_000_000)).unwrap();
        Self(RateLimiter::new(ALL).unwrap(), per_key)
    }

    fn allows(&self, key: u32, now: Instant) -> bool {
        self.0.try_acquire_at(1, now).is_ok() && self.1.try_acquire_at(&key, 1, now).is_ok()
    }
}

/// Keys by Zipf's law.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(keys: u32) -> Self {
        let mut sum = 0.0;
        let mut below = Vec::new();
        for rank in 1..=keys {
            sum += f64::from(rank).powf(-1.2);
            below.push(sum);
        }
        Self(below)
    }

    fn draw(&self, rng: &mut Rng) -> u32 {
        let at = rng.ratio() * self.0.last().unwrap();
        self.0.partition_point(|below| *below < at) as u32
    }
}

fn trial<L: TwoTiers>(seed: u64) -> Claims {
    let (keys, length) = match is_long_run() {
        true => (1_000_000, Duration::from_secs(60)),
        false => (100_000, Duration::from_secs(6)),
    };
    let (mut rng, zipf, start) = (Rng(seed), Zipf::new(keys), Instant::now());
    let (limiter, without) = (L::new(keys, start), L::new(keys, start));
    let (mut gone, mut hot, mut asked, mut got) = (Duration::ZERO, Vec::new(), 0_u32, 0_u32);
    loop {
        gone += rng.gap(2.0 * EACH_HALF);
        if gone > length {
            break;
        }
        let now = start + gone;
        if rng.one_in(2) {
            if limiter.allows(HOT, now) {
                hot.push(gone);
                without.allows(HOT, now);
            }
        } else {
            let key = zipf.draw(&mut rng);
            let allowed = limiter.allows(key, now);
            without.allows(key, now);
            (asked, got) = (asked + 1, got + u32::from(allowed));
        }
    }
    let mut claims = Claims::default();
    let violations = violations(&hot, KEY);
    claims.check("bound", violations == 0, format_args!("{violations} windows of the hot key's"));
    let due = f64::from(KEY.burst) + f64::from(KEY.rate) * length.as_secs_f64();
    let share = hot.len() as f64 / due;
    claims.check("hot", (0.999..=1.0).contains(&share), format_args!("{share:.5} of its share"));
    let share = f64::from(got) / f64::from(asked);
    claims.check("others", share >= 0.999, format_args!("{share:.5} of the others'"));
    // Without what the hot key was refused, would there be more?
    let left = [&limiter, &without].map(|limiter| limiter.left(start + length));
    claims.check("costs nothing", left[0] == left[1] && left[0] > 0, format_args!("{left:?} left"));
    claims
}
