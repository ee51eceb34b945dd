//! The tables against naive ones, and what paths and fields mean.

use std::time::Duration;

use proptest::prelude::*;

use super::super::core::*;
use super::Arc;
use crate::ground::time::{self, Instant};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
enum Op {
    File,
    End(usize),
    Pass(u64),
    Back(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::File),
        4 => any::<usize>().prop_map(Op::End),
        1 => (0..12_u64).prop_map(Op::Pass),
        1 => (0..3_u64).prop_map(Op::Back),
    ]
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(1_000))]

    /// Whatever is filed can be read until it is too old or too many ended after it; never longer, and
    /// what lives always.
    #[test]
    fn a_ticket_is_read_until_too_many_ended_after_it_or_it_is_too_old(
        ops in prop::collection::vec(op(), 1..200),
        ended in 1..6_usize,
    ) {
        let limits = TableLimits { live: 1_000, ended, ended_for: 10 * SECOND };
        let mut table = Table::new(limits);
        let start = time::now();
        let mut now = start + 100 * SECOND;
        // Each ticket that was filed, with the instant of its end, in the order of the ends.
        let (mut live, mut over): (Vec<u128>, Vec<(Instant, u128)>) = Default::default();
        for (number, op) in (0_u128..).zip(ops) {
            match op {
                Op::File => {
                    table.file(Id(number), number);
                    live.push(number);
                }
                Op::End(which) if !live.is_empty() => {
                    let number = live.remove(which % live.len());
                    let at = over.last().map_or(now, |(at, _)| now.max(*at));
                    over.push((at, number));
                    let gone = table.ends(Id(number), now);
                    prop_assert!(gone.iter().all(|gone| !live.contains(gone)));
                    prop_assert!(table.ends(Id(number), now).len() <= 4, "a second end changes nothing");
                }
                Op::End(_) => {}
                Op::Pass(seconds) => now += SECOND * seconds as u32,
                Op::Back(seconds) => now = start.max(now - SECOND * seconds as u32),
            }
            let readable: Vec<_> = over.iter().rev().take(ended).collect();
            for (at, number) in &over {
                let is_young = now.saturating_duration_since(*at) < 10 * SECOND;
                let is_kept = readable.iter().any(|(_, kept)| kept == number);
                let seen = table.look(Id(*number), now).is_some();
                // What was swept when the clock stood later stays gone.
                prop_assert!(!seen || is_young && is_kept, "{number}");
                let latest = over.last().map_or(now, |(at, _)| *at).max(now);
                let was_always_young = latest.saturating_duration_since(*at) < 7 * SECOND;
                prop_assert!(seen || !is_kept || !was_always_young, "{number}");
            }
            for number in &live {
                prop_assert_eq!(table.look(Id(*number), now), Some(*number));
            }
            prop_assert_eq!(table.live(), live.len());
            prop_assert!(table.ended() <= ended);
        }
    }

    #[test]
    fn keys_answer_as_a_list_of_answers_would(
        ops in prop::collection::vec((0..5_u8, 0..6_u8, 0..2_u128, 0..4_u32, 1..3_usize), 1..200),
    ) {
        let most = 4;
        let mut keys = Keys::new(KeyLimits { most, keep_for: 10 * SECOND });
        let mut now = time::now() + 100 * SECOND;
        // Answered, oldest first: name, body, answer, weight, when. Being worked on: name, body, number.
        let mut answered: Vec<(u8, u128, u32, usize, Instant)> = Vec::new();
        let mut open: Vec<(u8, u128, u64)> = Vec::new();
        for (next, (what, key, body, pass, weight)) in (0_u32..).zip(ops) {
            let name = KeyName { tenant: Arc::from("t"), key: Arc::from(key.to_string()) };
            match what {
                0..=2 => {
                    let begun = keys.begin(&name, body, now);
                    let old = answered.iter().position(|(of, ..)| *of == key);
                    let is_over = |at: Instant| now.saturating_duration_since(at) >= 10 * SECOND;
                    let expected = match (old.map(|at| answered[at]), open.iter().find(|(of, ..)| *of == key)) {
                        (Some((_, was, ..)), _) | (_, Some(&(_, was, _)))
                            if was != body && !old.is_some_and(|at| is_over(answered[at].4)) => Begun::OtherBody,
                        (Some((_, _, answer, _, at)), _) if !is_over(at) => Begun::Again(answer),
                        (None, Some(_)) => Begun::InUse,
                        (_, None) if open.len() >= most => Begun::Full,
                        _ => {
                            let Begun::New(number) = begun else { panic!("{begun:?}") };
                            open.push((key, body, number));
                            Begun::New(number)
                        }
                    };
                    if let Some(at) = old.filter(|&at| is_over(answered[at].4)) {
                        answered.remove(at);
                    }
                    prop_assert_eq!(begun, expected);
                }
                3 => {
                    if let Some(at) = open.iter().position(|(of, ..)| *of == key) {
                        let (_, body, number) = open.remove(at);
                        prop_assert_eq!(keys.keep(&name, number + 1_000, next, 1, now), vec![next]);
                        let gone = keys.keep(&name, number, next, weight, now);
                        answered.push((key, body, next, weight, now));
                        let mut expected = Vec::new();
                        while answered.len() > 1 && {
                            let heavy = answered.iter().map(|(_, _, _, weight, _)| weight).sum::<usize>() > most;
                            let old = now.saturating_duration_since(answered[0].4) >= 10 * SECOND;
                            heavy || old && expected.len() < 4
                        } {
                            expected.push(answered.remove(0).2);
                        }
                        prop_assert_eq!(gone, expected);
                    }
                }
                _ => {
                    if let Some(at) = open.iter().position(|(of, ..)| *of == key) {
                        let (_, _, number) = open.remove(at);
                        keys.release(&name, number + 1_000);
                        keys.release(&name, number);
                    }
                    now += SECOND * pass;
                }
            }
            prop_assert_eq!(keys.len(), answered.len() + open.len());
        }
    }

    #[test]
    fn no_path_panics_and_only_what_is_written_as_an_id_is_one(path in ".{0,80}", id in any::<u128>()) {
        let _ = Route::of(&path);
        let id = Id(id);
        prop_assert_eq!(Id::parse(&id.to_string()), Some(id));
        prop_assert_eq!(Route::of(&format!("/intent/{id}")), Some(Route::Ticket(id)));
        prop_assert_eq!(Route::of(&format!("/intent/{id}/events")), Some(Route::Events(id)));
        prop_assert_eq!(Route::of(&format!("/intent/{id}/")), None);
    }
}

#[test]
fn paths_are_exact() {
    assert_eq!(Route::of("/intent"), Some(Route::Submit));
    assert_eq!(Route::of("/healthz"), Some(Route::Healthz));
    assert_eq!(Route::of("/readyz"), Some(Route::Readyz));
    let upper = format!("/intent/{}", "A".repeat(32));
    let signed = format!("/intent/+{}", "1".repeat(31));
    for path in [
        "",
        "/",
        "/intent/",
        "/Intent",
        "/intent/1",
        "//intent",
        "/intent//events",
        &upper,
        &signed,
    ] {
        assert_eq!(Route::of(path), None, "{path}");
    }
}

#[test]
fn a_bearer_token_is_what_follows_the_scheme() {
    for (field, token) in [
        ("Bearer abc", Some("abc")),
        ("bEARER  a.b-c_d~e+f/g=", Some("a.b-c_d~e+f/g=")),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer a b", None),
        ("Bearer a,b", None),
        ("Basic abc", None),
        ("Bearer\tabc", None),
        ("", None),
    ] {
        assert_eq!(bearer_token(field.as_bytes()), token, "{field}");
    }
    assert_eq!(bearer_token(b"Bearer \xff"), None);
    assert_eq!(bearer_token(format!("Bearer {}", "a".repeat(4_097)).as_bytes()), None);
}

#[test]
fn a_media_type_has_two_parts() {
    for (field, kind) in [
        ("application/json", Some("application/json")),
        ("Application/JSON; charset=utf-8", Some("application/json")),
        (" text/plain ;x", Some("text/plain")),
        ("application/vnd.a+yaml", Some("application/vnd.a+yaml")),
        ("json", None),
        ("a/b/c", None),
        ("/json", None),
        ("a/", None),
        ("text/pl ain", None),
        ("", None),
    ] {
        assert_eq!(media_type(field.as_bytes()).as_deref(), kind, "{field}");
    }
}

#[test]
fn an_idempotency_key_is_visible_and_short() {
    assert!(KeyName::is_key(b"8e03978e-40d5-43dd-bc93-6894a57f9324"));
    assert!(KeyName::is_key(&[b'a'; 255]));
    for wrong in [&b""[..], b"a b", b"a\n", "ä".as_bytes(), &[b'a'; 256]] {
        assert!(!KeyName::is_key(wrong));
    }
}

#[test]
fn what_fuzzing_found_holds() {
    for seed in crate::ground::cases::fuzz_seeds("http_intake") {
        super::super::claims::request(&seed);
    }
}
