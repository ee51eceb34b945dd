use std::os::unix::ffi::OsStrExt;

use proptest::prelude::*;

use super::super::names::{Names, claims, is_intent, own_of, part, status};
use super::super::status as statuses;
use super::*;
use crate::ground::cases::{cases, fuzz_seeds};

#[test]
fn a_name_tells_its_own_and_never_comes_twice() {
    let mut names = Names::default();
    let given: std::collections::BTreeSet<_> =
        (0..10_000).map(|_| names.claim(OsStr::new("a.json"))).collect();
    assert_eq!(given.len(), 10_000);
    for name in &given {
        assert_eq!(own_of(name), Some(OsStr::new("a.json")));
    }
    let long = format!("{}.json", "é".repeat(120));
    let cut = names.claim(OsStr::new(&long));
    assert!(
        cut.as_bytes().ends_with(b".json") && part(&cut).len() <= 255 && status(&cut).len() <= 255
    );
}

/// Of two files about one object that a life left, the next must know the newer one.
#[test]
fn names_sort_as_they_were_given_whatever_the_clock_says() {
    let mut names = Names::default();
    let mut given = Vec::new();
    for at_ms in [5, 5, 5, 6, 4, 4, 6, 1 << 43, 7] {
        given.extend((0..300).map(|_| names.claim_at(at_ms, OsStr::new("a.json"))));
    }
    let is_later = |pair: &[std::ffi::OsString]| pair[0] < pair[1];
    assert!(given.windows(2).all(is_later));
}

#[test]
fn only_what_has_an_ending_of_ours_is_an_intent() {
    let json = [std::borrow::Cow::Borrowed("json")];
    let table = [
        ("a.json", true),
        (".json", false),
        (".a.json", false),
        ("json", false),
        ("a.json.tmp", false),
        ("ajson", false),
        ("a.JSON", false),
    ];
    for (name, is_it) in table {
        assert_eq!(is_intent(OsStr::new(name), &json), is_it, "{name}");
    }
    assert!(is_intent(OsStr::new("a"), &[]) && !is_intent(OsStr::new(".a"), &[]));
}

#[test]
fn the_seeds_of_the_fuzz_target_hold() {
    for seed in fuzz_seeds("watch_names") {
        claims(&seed);
        statuses::claims(&seed);
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn any_name_holds(own in prop::collection::vec(any::<u8>(), 0..300)) {
        claims(&own);
        statuses::claims(&own);
    }
}
