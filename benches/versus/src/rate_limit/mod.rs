//! The rows of the limiters: one token, allowed or refused, from one thread or from two at once.
//!
//! `direct` and `keyed` read a clock at every call, `…_at` are told the time, `leased` has threads take
//! tokens ahead. The figure is what one caller waits for its answer: each thread's own wall time
//! over its own calls.

mod contestant;
mod governor_peers;
pub mod keys;
mod others;
mod ours;

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::clock::Stretch;
use crate::harness::{Contestant, Effort, Measure, contest};
use crate::pin::{Cores, Pinned};
use contestant::{Expect, KEYS, Key, Limiter};

const MEASURES: [Measure; 2] =
    [Measure { suffix: "", unit: "ns/call" }, Measure { suffix: "/cpu", unit: "cpu ns/call" }];

/// One row: what is expected, how many threads, how many calls of each.
#[derive(Clone, Copy)]
struct Case<'a> {
    expect: Expect,
    threads: usize,
    calls: usize,
    keys: &'a [Key],
}

pub fn run(effort: Effort) {
    let keys: Vec<Key> = (0..KEYS).map(|key| format!("tenant-{key}").into()).collect();
    for cores in Cores::ALL {
        let Some(_pinned) = Pinned::to(cores) else {
            println!("# rate_limit/…/{}_threads: no rows, fewer cores here", cores.count());
            continue;
        };
        for expect in Expect::ALL {
            let calls = effort.ops(500_000);
            rows(effort, Case { expect, threads: cores.count(), calls, keys: &keys });
        }
    }
}

fn rows(effort: Effort, case: Case) {
    let ends = match case.threads {
        1 => format!("{}/1_thread", case.expect.name()),
        threads => format!("{}/{threads}_threads", case.expect.name()),
    };
    let direct = vec![
        entry::<ours::Direct>(case),
        entry::<governor_peers::Direct>(case),
        entry::<governor_peers::DirectStdClock>(case),
        entry::<others::LeakyBucket>(case),
        entry::<others::Ratelimit>(case),
    ];
    contest(&format!("rate_limit/direct/{ends}"), &MEASURES, effort, direct);
    let passed_now =
        vec![entry::<ours::DirectAt>(case), entry::<governor_peers::DirectFakeClock>(case)];
    contest(&format!("rate_limit/direct_at/{ends}"), &MEASURES, effort, passed_now);
    if matches!(case.expect, Expect::Allowed) {
        let leased = vec![
            entry::<ours::Leased>(case),
            entry::<governor_peers::Direct>(case),
            entry::<others::LeakyBucket>(case),
            entry::<others::Ratelimit>(case),
        ];
        contest(&format!("rate_limit/leased/{ends}"), &MEASURES, effort, leased);
    }
    let keyed = vec![
        entry::<ours::Tiered>(case),
        entry::<governor_peers::Keyed>(case),
        entry::<governor_peers::KeyedThenDirect>(case),
    ];
    contest(&format!("rate_limit/keyed/{ends}"), &MEASURES, effort, keyed);
    let keyed_at =
        vec![entry::<ours::TieredAt>(case), entry::<governor_peers::KeyedFakeClock>(case)];
    contest(&format!("rate_limit/keyed_at/{ends}"), &MEASURES, effort, keyed_at);
}

fn entry<'a, L: Limiter>(case: Case<'a>) -> Contestant<'a> {
    Contestant::new(L::NAME, move || sample::<L>(case))
}

fn sample<L: Limiter>(case: Case) -> Vec<f64> {
    let limiter = L::new(case.expect);
    // The one token of a refusing quota, and every key's first sight, are not what is timed.
    for key in case.keys {
        let _ = limiter.allows(key, L::now());
    }
    let start = Barrier::new(case.threads);
    let stretch = Stretch::start();
    let calls: Vec<Calls> = std::thread::scope(|threads| {
        let caller = |thread| {
            let (limiter, start) = (&limiter, &start);
            threads.spawn(move || calls(limiter, case, thread, start))
        };
        let callers: Vec<_> = (0..case.threads).map(caller).collect();
        callers.into_iter().map(|caller| caller.join().expect("a caller ends")).collect()
    });
    let cpu = stretch.cpu_ns();
    let expected = match case.expect {
        Expect::Allowed => case.calls,
        Expect::Refused => 0,
    };
    assert!(calls.iter().all(|calls| calls.allowed == expected), "{} {expected}", L::NAME);
    let wall: Duration = calls.iter().map(|calls| calls.took).sum();
    let all = (case.calls * case.threads) as f64;
    vec![wall.as_nanos() as f64 / all, cpu / all]
}

/// What one thread saw.
struct Calls {
    allowed: usize,
    took: Duration,
}

/// Walks the keys in large odd steps, each thread from a place of its own.
fn calls<L: Limiter>(limiter: &L, case: Case, thread: usize, start: &Barrier) -> Calls {
    let mut allowed = 0;
    let mut key = thread * case.keys.len() / 2;
    start.wait();
    // Who is told the time has it at hand: nobody knows it in advance, nobody fetches it.
    let (from, now) = (Instant::now(), black_box(L::now()));
    for _ in 0..case.calls {
        allowed += usize::from(limiter.allows(&case.keys[key], now));
        key += 7_919;
        // Not by a division, which would cost as much as a call.
        key -= if key < case.keys.len() { 0 } else { case.keys.len() };
    }
    Calls { allowed, took: from.elapsed() }
}
