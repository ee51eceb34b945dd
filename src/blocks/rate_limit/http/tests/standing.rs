use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;
use proptest::prelude::*;

use super::super::fields::{LimitFields, PolicyName, Standing};
use super::super::hint::RateLimitHint;
use crate::blocks::rate_limit::{Quota, RateLimiter};
use crate::ground::time::{self, Instant};

const S: Duration = Duration::from_secs(1);

fn standing(limiter: &RateLimiter, now: Instant) -> Standing {
    let allowance = limiter.allowance_at(now);
    Standing::new(&allowance, &allowance, now)
}

fn written(standing: Standing, fields: LimitFields) -> HeaderMap {
    let mut headers = HeaderMap::new();
    standing.write(&mut headers, fields, &PolicyName::default());
    headers
}

#[test]
fn a_bucket_is_told_in_whole_seconds() {
    let limiter = |quota: Quota, taken: u32| {
        let now = time::now();
        let limiter = RateLimiter::new(quota).unwrap();
        limiter.try_acquire_at(taken, now).unwrap();
        standing(&limiter, now)
    };
    let of = |burst, quota, window_s, remaining, effective_s, full_s| Standing {
        burst,
        quota,
        window_s,
        remaining,
        effective_s,
        full_s,
    };
    let usual = Quota::per_second(20).with_burst(40);
    assert_eq!(limiter(usual, 1), of(40, 40, 2, 39, 2, 1));
    assert_eq!(limiter(usual, 40), of(40, 40, 2, 0, 1, 2));
    assert_eq!(limiter(usual, 0), of(40, 40, 2, 40, 2, 0));
    let slow = Quota::new(1, 60 * S).with_burst(3);
    assert_eq!(limiter(slow, 1), of(3, 3, 180, 2, 120, 60));
    assert_eq!(limiter(slow, 3), of(3, 3, 180, 0, 60, 180));
    let small = Quota::per_second(100).with_burst(10);
    assert_eq!(limiter(small, 1), of(10, 100, 1, 9, 1, 1), "100 come in a second, not 10");
    let odd = Quota::per_second(3).with_burst(7);
    assert_eq!(limiter(odd, 7), of(7, 8, 3, 0, 1, 3), "units are rounded up, quotas down");
    let daily = Quota::new(1, 86_400 * S);
    assert_eq!(limiter(daily, 1), of(1, 1, 86_400, 0, 86_400, 86_400));
}

#[test]
fn only_the_chosen_fields_are_written_and_lists_grow() {
    let now = time::now();
    let limiter = RateLimiter::new(Quota::per_second(20).with_burst(40)).unwrap();
    let standing = standing(&limiter, now);
    let names = |fields| {
        let mut names: Vec<_> =
            written(standing, fields).keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        names
    };
    let draft = ["ratelimit", "ratelimit-policy"];
    let legacy = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    assert!(names(LimitFields::None).is_empty());
    assert_eq!(names(LimitFields::Draft), draft);
    assert_eq!(names(LimitFields::Legacy), legacy);
    assert_eq!(names(LimitFields::All), [draft.as_slice(), &legacy].concat());

    let mut headers = written(standing, LimitFields::All);
    let tighter = standing.refused(7 * S);
    tighter.write(&mut headers, LimitFields::All, &PolicyName::new("outer").unwrap());
    let lines: Vec<_> = headers.get_all("ratelimit").iter().collect();
    assert_eq!(lines, [r#""default";r=40;t=2"#, r#""outer";r=0;t=7"#]);
    assert_eq!(headers.get_all("x-ratelimit-remaining").iter().count(), 1);
    assert_eq!(headers["x-ratelimit-remaining"], "40", "the inner one's");
}

#[test]
fn a_name_is_what_a_field_can_hold() {
    for good in ["a", "per client", &"x".repeat(64)] {
        PolicyName::new(good).unwrap();
    }
    for bad in ["", "\"", "\\", "ü", "a\nb", "\t", "\u{7f}", &"x".repeat(65)] {
        let error = PolicyName::new(bad).unwrap_err().to_string();
        assert!(error.starts_with("rate_limit.http.policy is "), "{error}");
    }
}

#[test]
fn a_full_map_is_left_as_it_is() {
    let now = time::now();
    let limiter = RateLimiter::new(Quota::per_second(1)).unwrap();
    let mut headers = HeaderMap::new();
    let name = |n: u32| HeaderName::try_from(format!("x-{n}")).unwrap();
    let full = (0..50_000).find(|n| headers.try_append(name(*n), "1".parse().unwrap()).is_err());
    assert!(full.is_some(), "as many as a map can hold");
    let before = headers.len();
    standing(&limiter, now).write(&mut headers, LimitFields::All, &PolicyName::default());
    assert_eq!(headers.len(), before);
}

fn quotas() -> impl Strategy<Value = Quota> {
    (1..=1_000_000_u32, 1..=1_000_000_000_u64, 1..=100_000_u32)
        .prop_map(|(rate, period_us, burst)| {
            Quota::new(rate, Duration::from_micros(period_us)).with_burst(burst)
        })
        .prop_filter("out of range", |quota| RateLimiter::new(*quota).is_ok())
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(256))]

    /// What one side writes the other reads, in both families.
    #[test]
    fn what_is_written_is_what_is_read(
        quota in quotas(),
        taken in any::<u32>(),
        wait_ms in prop::option::of(0..86_400_000_u64),
    ) {
        let now = time::now();
        let limiter = RateLimiter::new(quota).unwrap();
        limiter.try_acquire_at(taken % (quota.burst + 1), now).unwrap();
        let told = standing(&limiter, now);
        let told = wait_ms.map_or(told, |ms| told.refused(Duration::from_millis(ms)));
        let capped = |seconds| Duration::from_secs(seconds).min(RateLimitHint::LONGEST_RESET);

        let draft = RateLimitHint::read(&written(told, LimitFields::Draft));
        prop_assert_eq!(draft.limit, u32::try_from(told.quota).ok());
        prop_assert_eq!(draft.window, Some(Duration::from_secs(told.window_s)).filter(|w| *w <= 366 * 86_400 * S));
        prop_assert_eq!(draft.remaining, Some(told.remaining));
        prop_assert_eq!(draft.reset, Some(capped(told.effective_s)));

        let legacy = RateLimitHint::read(&written(told, LimitFields::Legacy));
        prop_assert_eq!((legacy.limit, legacy.remaining), (Some(told.burst), Some(told.remaining)));
        // From 30 years on a number of seconds looks like a date.
        prop_assert_eq!(legacy.reset, Some(capped(told.full_s)).filter(|_| told.full_s < 1_000_000_000));

        let all = RateLimitHint::read(&written(told, LimitFields::All));
        prop_assert_eq!(all, draft);
        prop_assert!(told.quota >= u64::from(told.burst) && told.remaining <= told.burst);
    }

    /// Who spreads what remains over the time that is told is never refused, and who was refused
    /// is admitted when that time is over.
    #[test]
    fn whoever_heeds_the_fields_is_never_refused(
        quota in quotas(),
        late_ms in prop::collection::vec(0..50_u64, 1..200),
    ) {
        let mut now = time::now();
        let limiter = RateLimiter::new(quota).unwrap();
        // Starts with an empty bucket.
        limiter.try_acquire_at(quota.burst, now).unwrap();
        let refused = limiter.try_acquire_at(1, now).unwrap_err();
        let wait = refused.earliest().unwrap() - now;
        let mut told = standing(&limiter, now).refused(wait);
        prop_assert!(Duration::from_secs(told.effective_s) <= refused.retry_after().unwrap() + S);
        for late_ms in late_ms {
            now += Duration::from_secs(told.effective_s) / told.remaining.max(1);
            now += Duration::from_millis(late_ms % 3);
            prop_assert_eq!(limiter.try_acquire_at(1, now), Ok(()));
            told = standing(&limiter, now);
        }
    }
}
