//! Beside somebody else's limiter, and beside exact numbers under threads.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::clock::{FakeRelativeClock, Reference};

use super::*;

fn at_least_one(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

/// Per second; governor counts whole nanoseconds per token, so only those agree.
fn whole() -> impl Strategy<Value = Quota> {
    let rates = prop::sample::select(vec![
        1_u32, 2, 4, 5, 8, 10, 16, 25, 64, 100, 125, 500, 512, 1_000, 3_125, 10_000, 62_500,
        1_000_000, 5_000_000, 10_000_000,
    ]);
    (rates, 1_u32..2_000).prop_map(|(rate, burst)| Quota::per_second(rate).with_burst(burst))
}

proptest! {
    /// The same answers as governor's, the same instant to come back at, whatever is asked when.
    #[test]
    fn agrees_with_governor(
        quota in whole(),
        steps in prop::collection::vec((1_u32..60, 0.0..8.0_f64, any::<u8>()), 1..200),
    ) {
        let clock = FakeRelativeClock::default();
        let theirs = governor::Quota::per_second(at_least_one(quota.rate))
            .allow_burst(at_least_one(quota.burst));
        let theirs = governor::RateLimiter::direct_with_clock(theirs, clock.clone());
        let (ours, start) = limiter(quota);
        let each = quota.period / quota.rate;
        let mut gone = Duration::ZERO;
        for (cost, tokens, rest) in steps {
            let gap = if rest < 20 { each.mul_f64(tokens * 40.0) } else { each.mul_f64(tokens) };
            gone += gap;
            clock.advance(gap);
            let cost = cost.min(quota.burst);
            let verdict = ours.try_acquire_at(cost, start + gone);
            match theirs.check_n(at_least_one(cost)).unwrap() {
                Ok(()) => prop_assert_eq!(verdict, Ok(())),
                Err(not_until) => {
                    let at: Duration =
                        not_until.earliest_possible().duration_since(Default::default()).into();
                    prop_assert_eq!(verdict.unwrap_err().earliest(), Some(start + at));
                }
            }
        }
    }
}

/// Asks from four threads, each step of a common clock once, as fast as they can; tells when what
/// was admitted.
fn saturate(limiter: &RateLimiter, start: Instant, step: Duration, steps: u64) -> Vec<Duration> {
    let clock = AtomicU64::new(0);
    let mut admitted: Vec<Duration> = std::thread::scope(|scope| {
        let ask = || {
            let mut admitted = Vec::new();
            loop {
                let tick = clock.fetch_add(1, Ordering::Relaxed);
                if tick >= steps {
                    return admitted;
                }
                let at = step.mul_f64(tick as f64);
                if limiter.try_acquire_at(1, start + at).is_ok() {
                    admitted.push(at);
                }
            }
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    admitted.sort_unstable();
    admitted
}

/// In how many windows that end with an admission more was admitted than `burst + rate × t`, in
/// whole numbers.
fn violations(admitted: &[Duration], quota: Quota) -> usize {
    let token = quota.period.as_nanos() as i128;
    let all = i128::from(quota.burst) * token;
    let (mut level, mut last, mut violations) = (all, Duration::ZERO, 0);
    for &at in admitted {
        let gained = (at - last).as_nanos() as i128 * i128::from(quota.rate);
        (level, last) = ((level + gained).min(all) - token, at);
        violations += usize::from(level < 0);
    }
    violations
}

#[test]
fn in_every_window_under_threads_at_any_rate_no_more_and_hardly_less() {
    for quota in [
        Quota::new(1, DAY).with_burst(3),
        Quota::new(1, DAY).with_burst(1),
        Quota::per_minute(7).with_burst(20),
        Quota::per_second(1).with_burst(1),
        Quota::per_second(999).with_burst(10),
        Quota::per_second(1_001).with_burst(100),
        Quota::per_second(333_333).with_burst(50),
        Quota::per_second(3_000_000).with_burst(1_000),
        Quota::per_second(10_000_000).with_burst(64),
    ] {
        let (limiter, start) = limiter(quota);
        // Ten questions for each token.
        let step = (quota.period / quota.rate / 10).max(NS);
        let steps = 100_000;
        let admitted = saturate(&limiter, start, step, steps);
        assert_eq!(violations(&admitted, quota), 0, "{quota:?}");
        let took = step.mul_f64((steps - 1) as f64).as_nanos() as f64;
        let due = took * f64::from(quota.rate) / quota.period.as_nanos() as f64;
        let share = admitted.len() as f64 / (due + f64::from(quota.burst)).floor();
        assert!((0.999..=1.0).contains(&share), "{quota:?}: {share}");
    }
}

#[test]
fn the_count_of_violations_can_fail() {
    let quota = Quota::per_second(10).with_burst(2);
    let at = |ms| Duration::from_millis(ms);
    assert_eq!(violations(&[at(0), at(0), at(100), at(200)], quota), 0);
    assert_eq!(violations(&[at(0), at(0), at(99)], quota), 1);
    let lavish = Quota::per_second(11).with_burst(2);
    let (limiter, start) = limiter(lavish);
    assert!(violations(&saturate(&limiter, start, at(10), 10_000), quota) > 900);
}
