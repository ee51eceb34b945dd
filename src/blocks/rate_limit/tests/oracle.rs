//! Beside somebody else's limiter. (Beside exact numbers, under threads: `tests/overload/windows.rs`.)

use std::num::NonZeroU32;

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
    #![proptest_config(crate::ground::cases::cases(256))]

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
