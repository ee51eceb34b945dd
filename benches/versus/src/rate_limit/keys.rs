//! Many small keys: what a call costs as they become more, by turns and by Zipf's law, and what a key
//! weighs. The time is passed in; beside governor, and beside a bare look-up, whose growth is the
//! machine's.

use std::hint::black_box;
use std::time::Instant as StdInstant;

use headworks::Instant;

use super::contestant::KeyedLimiter;
use super::{governor_peers, others, ours};
use crate::alloc::Count;
use crate::harness::{Contestant, Effort, Measure, contest};

const MEASURES: [Measure; 2] =
    [Measure { suffix: "", unit: "ns/call" }, Measure { suffix: "/memory", unit: "bytes/key" }];

/// Of each row.
const SIZES: [usize; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// In which order the keys come.
#[derive(Clone, Copy)]
enum Order {
    Uniform,
    Zipf,
}

pub fn run(effort: Effort) {
    for keys in SIZES {
        let keys = effort.ops(keys).max(1_000);
        for (order, name) in [(Order::Uniform, "uniform"), (Order::Zipf, "zipf_1.2")] {
            // Calls beyond the cache cost more and tell as much; a round makes new maps.
            let rounds = if keys >= 1_000_000 { effort.rounds.min(5) } else { effort.rounds };
            let effort = Effort { rounds, ..effort };
            let asked = asked(order, keys, effort.ops(1_000_000));
            let contestants = vec![
                entry::<ours::Many>(keys, &asked),
                entry::<governor_peers::Many>(keys, &asked),
                entry::<others::BareMap>(keys, &asked),
            ];
            contest(&format!("rate_limit/keys/{name}/{keys}"), &MEASURES, effort, contestants);
        }
    }
}

fn entry<'a, L: KeyedLimiter>(keys: usize, asked: &'a [u64]) -> Contestant<'a> {
    Contestant::new(L::NAME, move || sample::<L>(keys, asked))
}

/// Every key once, in memory; then the calls, in time.
fn sample<L: KeyedLimiter>(keys: usize, asked: &[u64]) -> Vec<f64> {
    let start = Instant::now();
    let count = Count::start();
    let limiter = L::new(keys);
    for rank in 0..keys as u64 {
        assert!(limiter.allows(key(rank), start), "every key is new");
    }
    let bytes = count.stop().live_bytes as f64 / keys as f64;
    let (from, now) = (StdInstant::now(), Instant::now());
    let mut allowed = 0;
    for &key in asked {
        allowed += usize::from(limiter.allows(key, black_box(now)));
    }
    let took = from.elapsed();
    assert_eq!(allowed, asked.len(), "{}", L::NAME);
    vec![took.as_nanos() as f64 / asked.len() as f64, bytes]
}

/// Chance, but the same for all.
fn key(rank: u64) -> u64 {
    let z = (rank + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn asked(order: Order, keys: usize, calls: usize) -> Vec<u64> {
    let mut state = 1_u64;
    let mut chance = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    match order {
        Order::Uniform => (0..calls).map(|_| key((chance() * keys as f64) as u64)).collect(),
        Order::Zipf => {
            let mut sum = 0.0;
            let below: Vec<f64> = (1..=keys)
                .map(|rank| {
                    sum += (rank as f64).powf(-1.2);
                    sum
                })
                .collect();
            let draw = |at: f64| key(below.partition_point(|below| *below < at) as u64);
            (0..calls).map(|_| draw(chance() * sum)).collect()
        }
    }
}
