use std::time::Duration;

use http::HeaderMap;
use proptest::prelude::*;

use super::super::RateLimitHint;
use super::{claims, headers};

const S: Duration = Duration::from_secs(1);
const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
/// 2026, in seconds since 1970.
const LATER: (&str, &str) = ("date", "Sat, 21 Nov 2026 19:00:00 GMT");
const LATER_S: u64 = 1_795_287_600;

fn hint(
    limit: Option<u32>,
    window: Option<u64>,
    remaining: Option<u32>,
    reset: Option<u64>,
) -> RateLimitHint {
    let seconds = |time: Option<u64>| time.map(Duration::from_secs);
    RateLimitHint {
        limit,
        window: seconds(window),
        remaining,
        reset: seconds(reset),
        retry_after: None,
    }
}

fn read<const N: usize>(lines: [(&'static str, &str); N]) -> RateLimitHint {
    RateLimitHint::read(&headers(lines))
}

#[test]
fn the_drafts_own_examples_are_read() {
    let (limit, policy) = ("ratelimit", "ratelimit-policy");
    for (lines, expected) in [
        (vec![(limit, r#""default";r=50;t=30"#)], hint(None, None, Some(50), Some(30))),
        (
            vec![(limit, r#""default";r=999;pk=:dHJpYWwxMjEzMjM=:"#)],
            hint(None, None, Some(999), None),
        ),
        (
            vec![(limit, r#""default";r=300000000;t=60;pk=:QXBwLTk5OQ==:"#)],
            hint(None, None, Some(300_000_000), Some(60)),
        ),
        (vec![(policy, r#""default";q=100;w=10"#)], hint(Some(100), Some(10), None, None)),
        (
            vec![(policy, r#""peruser";q=65535;qu="content-bytes";w=10;pk=:sdfjLJUOUH==:"#)],
            hint(Some(65_535), Some(10), None, None),
        ),
        (
            vec![
                (policy, r#""permin";q=50;w=60,"perhr";q=1000;w=3600"#),
                (limit, r#""perhr";r=5;t=9"#),
            ],
            hint(Some(1_000), Some(3_600), Some(5), Some(9)),
        ),
    ] {
        assert_eq!(RateLimitHint::read(&headers(lines.clone())), expected, "{lines:?}");
    }
}

#[test]
fn of_several_limits_the_tightest_counts() {
    let tightest = read([
        ("ratelimit", r#""a";r=5;t=1, "b";r=0;t=7"#),
        ("ratelimit", r#""c";r=0;t=9, "d";r=0"#),
        ("ratelimit-policy", r#""a";q=9;w=1"#),
        ("ratelimit-policy", r#""c";q=8;w=60"#),
    ]);
    assert_eq!(tightest, hint(Some(8), Some(60), Some(0), Some(9)));
    assert_eq!(tightest.wait(), 9 * S);
    let unnamed = read([("ratelimit", r#""x";r=3"#), ("ratelimit-policy", r#""y";q=1"#)]);
    assert_eq!(unnamed, hint(None, None, Some(3), None), "another policy says nothing about it");
}

#[test]
fn what_is_malformed_is_as_if_it_were_not_there() {
    for bad in [
        "",
        "\"a\"",
        "\"a\";r",
        "\"a\";r=-1",
        "\"a\";r=1.0",
        "\"a\";r=\"1\"",
        "\"a\";t=1",
        "\"a\";r=1;t=-1",
        "\"a\";r=1;t=soon",
        "1;r=1",
        "\"a\";r=1, \"b\"",
        "\"a\";r=1,",
        "limit=100, remaining=50, reset=30",
        "(\"a\");r=1",
        "\"a\";r=1000000000000000",
    ] {
        assert_eq!(read([("ratelimit", bad)]), RateLimitHint::default(), "{bad}");
        let both = read([("ratelimit", "\"a\";r=1"), ("ratelimit", bad)]);
        let alone = if bad.is_empty() {
            hint(None, None, Some(1), None)
        } else {
            hint(None, None, None, None)
        };
        assert_eq!(both, alone, "{bad}: the whole field goes");
        let legacy = read([("ratelimit", bad), ("x-ratelimit-remaining", "4")]);
        assert_eq!(legacy.remaining, Some(4), "{bad}");
    }
}

#[test]
fn too_much_is_not_read() {
    let long = |bytes: usize| format!("\"{}\";r=1", "x".repeat(bytes - 6));
    assert_eq!(read([("ratelimit", &long(1_024))]).remaining, Some(1));
    assert_eq!(read([("ratelimit", &long(1_025))]).remaining, None);
    let many = |count: usize| vec!["a;r=1"; count].join(",");
    assert_eq!(read([("ratelimit", &many(16))]).remaining, Some(1));
    assert_eq!(read([("ratelimit", &many(17))]).remaining, None);
    let lines = |count: usize| RateLimitHint::read(&headers(vec![("ratelimit", "a;r=1"); count]));
    assert_eq!((lines(8).remaining, lines(9).remaining), (Some(1), None));
    let digits = "1".repeat(1_025);
    assert_eq!(read([("x-ratelimit-remaining", &digits)]).remaining, None);
}

#[test]
fn the_older_fields_are_read() {
    for prefix in ["x-ratelimit-", "ratelimit-"] {
        let field = |name: &str| -> &'static str { format!("{prefix}{name}").leak() };
        let [limit, remaining, reset] = ["limit", "remaining", "reset"].map(field);
        let all = read([(limit, "100, 100;w=60"), (remaining, " 7 "), (reset, "30")]);
        assert_eq!(all, hint(Some(100), None, Some(7), Some(30)));
        assert_eq!(read([(remaining, "101"), (limit, "100")]).remaining, Some(100), "a lie");
        for bad in ["", "-1", "+1", "x", "1x", "0x10", ";", "1 2"] {
            assert_eq!(read([(remaining, bad)]), RateLimitHint::default(), "{bad}");
        }
    }
    let both = read([("x-ratelimit-remaining", "1"), ("ratelimit-remaining", "2")]);
    assert_eq!(both.remaining, Some(1));
    let newer = read([("x-ratelimit-remaining", "1"), ("ratelimit", "a;r=2")]);
    assert_eq!(newer.remaining, Some(2));
}

#[test]
fn a_reset_is_a_time_or_a_point_in_time() {
    let reset = |text: &str, date: Option<(&'static str, &str)>| {
        let mut all = headers([("x-ratelimit-reset", text)]);
        all.extend(headers(date));
        RateLimitHint::read(&all).reset
    };
    let at = |text: &str| reset(text, Some(LATER));
    assert_eq!(reset("0", None), Some(Duration::ZERO));
    assert_eq!(reset("86400", None), Some(86_400 * S));
    assert_eq!(reset("999999999", None), Some(86_400 * S), "capped");
    assert_eq!(at(&(LATER_S + 30).to_string()), Some(30 * S));
    assert_eq!(at(&format!("{}.25", LATER_S + 30)), Some(30 * S));
    assert_eq!(at(&(LATER_S * 1_000 + 29_001).to_string()), Some(30 * S), "milliseconds");
    assert_eq!(at(&(LATER_S - 30).to_string()), Some(Duration::ZERO), "past");
    assert_eq!(at("9999999999"), Some(86_400 * S), "capped");
    assert_eq!(at("99999999999999999999999999"), Some(86_400 * S), "capped");
    assert_eq!(reset(&(LATER_S + 30).to_string(), None), None, "since when?");
    assert_eq!(reset("784111787", Some(DATE)), Some(86_400 * S));
}

#[test]
fn retry_after_goes_before_all() {
    let lines = [("ratelimit", "a;r=0;t=9"), ("retry-after", "5")];
    assert_eq!(read(lines).wait(), 5 * S);
    assert_eq!(read([("ratelimit", "a;r=1;t=9")]).wait(), Duration::ZERO, "some are left");
    assert_eq!(read([("ratelimit", "a;r=0")]).wait(), Duration::ZERO);
    let date = "Sun, 06 Nov 1994 08:49:40 GMT";
    assert_eq!(read([("retry-after", date), DATE]).wait(), 3 * S);
    assert_eq!(read([("retry-after", "99999999")]).wait(), 3_600 * S);
    assert_eq!(RateLimitHint::read(&HeaderMap::new()), RateLimitHint::default());
}

#[test]
fn a_window_beyond_belief_is_left_out() {
    let window = |w: &str| read([("ratelimit-policy", &format!("a;q=1;w={w}"))]).window;
    assert_eq!(window("31622400"), Some(31_622_400 * S));
    assert_eq!(window("31622401"), None);
    assert_eq!(window("0"), None);
    assert_eq!(window("999999999999999"), None);
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(256))]

    /// Whatever comes in: an answer, and nothing above the caps.
    #[test]
    fn nothing_is_above_the_caps(
        lines in prop::collection::vec(
            (
                prop::sample::select([claims::FIELDS.as_slice(), &["x-unheard"]].concat()),
                "[ -~\u{e4}]{0,30}|[0-9]{1,25}|(\"[a-c]\";[rqtw]=[0-9]{1,16}(;[rqtw]=[0-9]{1,16})?(, )?){1,4}|(Sun, )?[0-9]{2} Nov [0-9]{4} [0-9]{2}:49:37 GMT",
            ),
            0..8,
        ),
    ) {
        let hint = RateLimitHint::read(&headers(lines));
        prop_assert!(hint.reset.unwrap_or_default() <= RateLimitHint::LONGEST_RESET);
        prop_assert!(hint.retry_after.unwrap_or_default() <= 3_600 * S);
        prop_assert!(hint.wait() <= RateLimitHint::LONGEST_RESET);
        prop_assert!(hint.window.unwrap_or(S) <= 366 * 86_400 * S && hint.window != Some(Duration::ZERO));
        if let (Some(limit), Some(remaining)) = (hint.limit, hint.remaining) {
            prop_assert!(remaining <= limit);
        }
    }
}
