//! The limiter's bound in every window, in exact numbers, whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headworks::rate_limit::Quota;
use headworks::{Instant, RateLimiter};

const DAY: Duration = Duration::from_secs(86_400);

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
pub(crate) fn violations(admitted: &[Duration], quota: Quota) -> usize {
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
        let (limiter, start) = (RateLimiter::new(quota).unwrap(), Instant::now());
        // Ten questions for each token.
        let step = (quota.period / quota.rate / 10).max(Duration::from_nanos(1));
        let steps = 100_000;
        let admitted = saturate(&limiter, start, step, steps);
        assert_eq!(violations(&admitted, quota), 0, "{quota:?}");
        let took = step.mul_f64((steps - 1) as f64).as_nanos() as f64;
        let due = took * f64::from(quota.rate) / quota.period.as_nanos() as f64;
        let share = admitted.len() as f64 / (due + f64::from(quota.burst)).floor();
        // A bucket of one saves nothing: a question that its thread brings late costs a tenth.
        let least = if quota.burst == 1 { 0.9 } else { 0.999 };
        assert!((least..=1.0).contains(&share), "{quota:?}: {share}");
    }
}

#[test]
fn the_count_of_violations_can_fail() {
    let quota = Quota::per_second(10).with_burst(2);
    let at = |ms| Duration::from_millis(ms);
    assert_eq!(violations(&[at(0), at(0), at(100), at(200)], quota), 0);
    assert_eq!(violations(&[at(0), at(0), at(99)], quota), 1);
    let lavish = Quota::per_second(11).with_burst(2);
    let (limiter, start) = (RateLimiter::new(lavish).unwrap(), Instant::now());
    assert!(violations(&saturate(&limiter, start, at(10), 10_000), quota) > 900);
}
