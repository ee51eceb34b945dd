//! What a file is called once it is taken: a name that no other file ever had, and its own behind it.
//!
//! `019a8f3c2b1-5d0e7c4a9b3f2-scale-up.json`: milliseconds since 1970, a number by chance, and as
//! much of its own name as a name may have.

use std::ffi::{OsStr, OsString};
use std::hash::BuildHasher;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::ground::primitives::Hashing;
use crate::ground::time;

/// Bytes of a name, on every file system that matters.
const MOST: usize = 255;
/// What may come before and behind it: a dot, and the longest of the endings.
const SPARE: usize = 1 + STATUS.len() + PART.len();
/// The digits, and a dash behind each.
const PREFIX: usize = 11 + 1 + 13 + 1;
/// Of an end worth keeping when a name is cut: a dot and what follows.
const ENDING: usize = 16;

const STATUS: &str = ".status.json";
const PART: &str = ".part";

/// Where names come from.
#[derive(Debug, Default)]
pub(super) struct Names {
    chance: Hashing,
    given: u64,
}

impl Names {
    /// A new one for this file.
    pub(super) fn claim(&mut self, own: &OsStr) -> OsString {
        self.given += 1;
        let at_ms = u64::try_from(time::wall().as_millis()).unwrap_or(u64::MAX);
        claimed(at_ms, self.chance.hash_one((self.given, at_ms)), own)
    }
}

fn claimed(at_ms: u64, chance: u64, own: &OsStr) -> OsString {
    let mut name = format!("{:011x}-{:013x}-", at_ms & ((1 << 44) - 1), chance >> 12).into_bytes();
    let own = own.as_bytes();
    let room = MOST - SPARE - PREFIX;
    if own.len() <= room {
        name.extend_from_slice(own);
    } else {
        let ending =
            own.iter().rposition(|&byte| byte == b'.').map_or(&own[own.len()..], |at| &own[at..]);
        let ending = if ending.len() <= ENDING { ending } else { b"" };
        name.extend_from_slice(&own[..room - ending.len()]);
        name.extend_from_slice(ending);
    }
    OsString::from_vec(name)
}

/// The file's own name, as far as it is in this one. `None`: nobody here gave it.
pub(super) fn own_of(claimed: &OsStr) -> Option<&OsStr> {
    let bytes = claimed.as_bytes();
    let (prefix, own) = bytes.split_at_checked(PREFIX)?;
    let is_ours = prefix.iter().enumerate().all(|(at, byte)| match at {
        11 | 25 => *byte == b'-',
        _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
    });
    (is_ours && !own.is_empty()).then(|| OsStr::from_bytes(own))
}

/// The name of its status, beside it.
pub(super) fn status(claimed: &OsStr) -> OsString {
    let mut name = claimed.to_owned();
    name.push(STATUS);
    name
}

/// The name of its status while that is being written.
pub(super) fn part(claimed: &OsStr) -> OsString {
    let mut name = OsString::from(".");
    name.push(claimed);
    name.push(STATUS);
    name.push(PART);
    name
}

/// Whether a file of this name is an intent.
pub(super) fn is_intent(name: &OsStr, extensions: &[std::borrow::Cow<'static, str>]) -> bool {
    let name = name.as_bytes();
    let ends = |end: &str| {
        let own = name.strip_suffix(end.as_bytes());
        own.is_some_and(|own| own.len() > 1 && own.ends_with(b"."))
    };
    !name.is_empty()
        && !name.starts_with(b".")
        && (extensions.is_empty() || extensions.iter().any(|end| ends(end)))
}

/// For the fuzz target, whose seeds run with the tests: every name fits, and tells its own.
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, reason = "it is to panic where a claim fails")]
pub(crate) fn claims(own: &[u8]) {
    let own: Vec<u8> =
        own.iter().copied().filter(|byte| !b"/\0".contains(byte)).take(255).collect();
    let own = OsString::from_vec(own);
    let _ = own_of(&own);
    if own.is_empty() || own == "." || own == ".." {
        return;
    }
    let given =
        [Names::default().claim(&own), claimed(0, 0, &own), claimed(u64::MAX, u64::MAX, &own)];
    for name in &given {
        assert!(status(name).len() <= MOST && part(name).len() <= MOST, "{name:?}");
        assert!(!name.as_bytes().contains(&b'/') && !name.as_bytes().starts_with(b"."));
        let told = own_of(name).unwrap();
        assert!(
            told == own || (own.len() > 200 && own.as_bytes().starts_with(&told.as_bytes()[..150]))
        );
        let all = is_intent(&own, &[]);
        assert_eq!(all, !own.as_bytes().starts_with(b"."));
        assert!(all || !is_intent(&own, &["json".into()]));
    }
    assert_ne!(given[0], given[1]);
}
