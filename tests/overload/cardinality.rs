//! D19, cardinality: 10,000,000 distinct keys, each seen once or a few times, from a limiter that
//! may remember 100,000. The short run sends 1,000,000; with `HEADWORKS_SEED` or `HEADWORKS_SEEDS`
//! set to anything it is all of them, once (no chance is in it).

use std::collections::HashMap;
use std::env;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::time::Duration;

use headworks::TieredRateLimiter;
use headworks::rate_limit::{Quota, TieredQuota};

use crate::harness::claims::Claims;
use crate::harness::heap::live_bytes;

const MOST_KEYS: usize = 100_000;
/// What an entry may take, as the docs of [`TieredQuota::max_keys`] say, beside what its key holds
/// on the heap.
const fn bytes_of_entry<K>() -> isize {
    72 + 2 * size_of::<K>() as isize
}
/// Shards, shared buckets and whatever else doesn't grow.
const FIXED_BYTES: isize = 64 << 10;

#[test]
fn memory_stays_within_its_bound_whatever_keys_come() {
    trial(&mut Limited::<u64>::new(), |n| n).all_hold();
}

#[test]
fn so_it_does_with_strings() {
    // 20 characters each, on the heap.
    let key = |n: u64| format!("{n:020}");
    trial(&mut Limited::<String>::new(), key).all_hold();
}

#[test]
fn control_a_map_that_forgets_nothing_breaks_the_bound() {
    trial(&mut Unbounded::default(), |n| n).breaks(&["memory", "keys"]);
}

trait Limits<K> {
    fn admits(&mut self, key: K) -> bool;
    fn keys(&self) -> usize;
}

struct Limited<K>(TieredRateLimiter<K>);

impl<K: Clone + Eq + Hash> Limited<K> {
    fn new() -> Self {
        let quota = TieredQuota::default()
            .with_max_keys(NonZeroUsize::new(MOST_KEYS).unwrap())
            // None of these comes back in time: every key is in use until the end.
            .with_per_key(Quota::new(1, Duration::from_secs(86_400)).with_burst(2))
            .with_global(Quota::per_second(1_000_000).with_burst(u32::MAX / 4));
        Self(TieredRateLimiter::new(quota).unwrap())
    }
}

impl<K: Clone + Eq + Hash> Limits<K> for Limited<K> {
    fn admits(&mut self, key: K) -> bool {
        self.0.try_acquire(&key, 1).is_ok()
    }

    fn keys(&self) -> usize {
        self.0.snapshot().keys
    }
}

/// The control: a bucket for everybody who ever came.
#[derive(Default)]
struct Unbounded(HashMap<u64, u32>);

impl Limits<u64> for Unbounded {
    fn admits(&mut self, key: u64) -> bool {
        let taken = self.0.entry(key).or_default();
        *taken += 1;
        *taken <= 2
    }

    fn keys(&self) -> usize {
        self.0.len()
    }
}

/// Every number once, in no order that a map could like: the factor is odd.
fn spread(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn trial<K>(limits: &mut impl Limits<K>, key: impl Fn(u64) -> K) -> Claims {
    let is_long = ["HEADWORKS_SEED", "HEADWORKS_SEEDS"].iter().any(|name| env::var(name).is_ok());
    let distinct = if is_long { 10_000_000 } else { 1_000_000 };
    let mut claims = Claims::default();
    let own_bytes = {
        let before = live_bytes();
        let one = key(0);
        let bytes = live_bytes() - before;
        drop(one);
        bytes
    };
    let before = live_bytes();
    let bound = MOST_KEYS as isize * (bytes_of_entry::<K>() + own_bytes) + FIXED_BYTES;
    let (mut admitted, mut most_bytes, mut most_keys) = (0_u64, 0, 0);
    for n in 0..distinct {
        admitted += u64::from(limits.admits(key(spread(n))));
        if n % 1_024 == 0 {
            // Somebody who was here already, so that entries are hit as well as made.
            admitted += u64::from(limits.admits(key(spread(n / 3))));
            most_bytes = most_bytes.max(live_bytes() - before);
            most_keys = most_keys.max(limits.keys());
        }
    }
    most_bytes = most_bytes.max(live_bytes() - before);
    println!("{distinct} keys: {most_bytes} bytes, {most_keys} remembered, {admitted} admitted");
    let figures = format_args!("{most_bytes} bytes, bound {bound}").to_string();
    // It remembers as many as it may, and each takes at least its key: or nothing was measured.
    let least = MOST_KEYS as isize * (size_of::<K>() as isize + own_bytes);
    claims.check("memory", (least..=bound).contains(&most_bytes), figures);
    claims.check("keys", most_keys == MOST_KEYS, most_keys);
    // Those beyond the bound share 1,024 buckets of 2: no free pass. The first ones have theirs.
    let most = MOST_KEYS * 2 + 1_024 * 2 + distinct as usize / 1_024;
    let least = (MOST_KEYS + 1_024 * 2) as u64;
    let held = (least..=most as u64).contains(&admitted);
    claims.check("no free pass, no lock-out", held, admitted);
    claims
}
