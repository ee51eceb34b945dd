//! What must hold whatever bytes a client sends: for the fuzz target, whose seeds run with the tests.

use std::sync::Arc;
use std::time::Duration;

use super::core::{
    Begun, Id, KeyLimits, KeyName, Keys, Route, Table, TableLimits, bearer_token, media_type,
};
use super::problem::{Kind, Problem};
use crate::ground::time;
use crate::intake::{JsonText, Rejected};

const SECOND: Duration = Duration::from_secs(1);

/// Lines that a client writes; the first byte of each says where. Paths and header fields are what
/// they are written as, or nothing; keys and tickets stay within their bounds; and whatever text a
/// problem repeats, its document is JSON.
pub(crate) fn request(lines: &[u8]) {
    let mut now = time::now();
    let mut keys = Keys::new(KeyLimits { most: 4, keep_for: 3 * SECOND });
    let mut table = Table::new(TableLimits { live: 4, ended: 3, ended_for: 3 * SECOND });
    for (number, line) in (0_u64..).zip(lines.split(|byte| *byte == b'\n')) {
        let Some((what, text)) = line.split_first() else { continue };
        match what % 6 {
            0 => path(text),
            1 => field(text),
            2 => body(text),
            3 => now += SECOND,
            4 => key(&mut keys, number, text, now),
            _ => {
                let id = Id(u128::from(number));
                table.file(id, number);
                assert_eq!(table.look(id, now), Some(number));
                drop(table.ends(id, now));
                assert!(table.live() == 0 && table.ended() <= 3);
            }
        }
    }
}

fn path(text: &[u8]) {
    let Ok(path) = std::str::from_utf8(text) else { return };
    match Route::of(path) {
        Some(Route::Ticket(id)) => assert_eq!(format!("/intent/{id}"), path),
        Some(Route::Events(id)) => assert_eq!(format!("/intent/{id}/events"), path),
        Some(_) => assert!(["/intent", "/healthz", "/readyz"].contains(&path)),
        None => {}
    }
}

fn field(text: &[u8]) {
    if let Some(token) = bearer_token(text) {
        assert!(text.ends_with(token.as_bytes()) && !token.contains([' ', ',', '"']));
    }
    if let Some(kind) = media_type(text) {
        assert_eq!(media_type(kind.as_bytes()).as_deref(), Some(kind.as_str()), "it is its own");
    }
    if KeyName::is_key(text) {
        assert!(text.is_ascii() && text.len() <= KeyName::LONGEST);
    }
}

/// Looked into or not, a body is JSON or an error; and what is said of it is JSON.
fn body(text: &[u8]) {
    let kept = JsonText::from(bytes::Bytes::copy_from_slice(text));
    if let Ok(raw) = kept.parse::<&serde_json::value::RawValue>() {
        let part = kept.pass(raw);
        assert!(part.parse::<serde::de::IgnoredAny>().is_ok());
        assert_eq!(serde_json::to_string(&part).as_deref().ok(), Some(part.get()));
    }
    let rule = String::from_utf8_lossy(text);
    let problem = Problem::rejected(Rejected::invalid(rule.clone(), rule));
    let document = serde_json::to_vec(&problem).expect("it is written");
    let read: serde_json::Value = serde_json::from_slice(&document).expect("and read");
    assert_eq!(read["status"], Kind::Rejected.status().as_u16());
    let wire = problem.on_the_wire();
    let head = wire.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
    assert_eq!(&wire[head + 4..], document, "no text of the client's gets into the head");
}

fn key(keys: &mut Keys<u64>, number: u64, text: &[u8], now: time::Instant) {
    let Some((what, text)) = text.split_first() else { return };
    let key = String::from_utf8_lossy(text);
    let name = KeyName { tenant: Arc::from(""), key: Arc::from(&*key) };
    match keys.begin(&name, u128::from(what & 1), now) {
        Begun::New(begun) if what & 2 == 0 => {
            drop(keys.keep(&name, begun, number, usize::from(what >> 4), now));
            assert_eq!(keys.begin(&name, u128::from(what & 1), now), Begun::Again(number));
        }
        Begun::New(begun) => keys.release(&name, begun),
        Begun::Again(was) => assert!(was < number),
        Begun::OtherBody => {}
        Begun::InUse | Begun::Full => panic!("none is left in use"),
    }
    assert!(keys.len() <= 4, "{}", keys.len());
}
