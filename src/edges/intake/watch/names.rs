//! What a file is called once it is taken: a name that no other file ever had, and its own behind it.
//!
//! `019a8f3c2b1-0001f7c4a9b3f-scale-up.json`: milliseconds since 1970, how many were taken in that one
//! before, a number by chance, and as much of its own name as a name may have. So names sort as their
//! files were taken, and a life that finds them knows which is the newer.

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
    /// Milliseconds, and the number in that one, of the last that was given.
    last: (u64, u64),
}

/// Numbers in one millisecond.
const NUMBERS: u64 = 1 << 20;

impl Names {
    /// A new one for this file.
    pub(super) fn claim(&mut self, own: &OsStr) -> OsString {
        let at_ms = u64::try_from(time::wall().as_millis()).unwrap_or(u64::MAX);
        self.claim_at(at_ms, own)
    }

    /// Never before the one that was given last, whatever the clock says.
    pub(super) fn claim_at(&mut self, at_ms: u64, own: &OsStr) -> OsString {
        let (last_ms, number) = self.last;
        self.last = if at_ms > last_ms {
            (at_ms, 0)
        } else if number + 1 < NUMBERS {
            (last_ms, number + 1)
        } else {
            (last_ms.saturating_add(1), 0)
        };
        claimed(self.last, self.chance.hash_one(self.last), own)
    }
}

fn claimed((at_ms, number): (u64, u64), chance: u64, own: &OsStr) -> OsString {
    let at_ms = at_ms & ((1 << 44) - 1);
    let mut name = format!("{at_ms:011x}-{number:05x}{:08x}-", chance >> 32).into_bytes();
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
    let given = [
        Names::default().claim(&own),
        claimed((0, 0), 0, &own),
        claimed((u64::MAX, 9), u64::MAX, &own),
    ];
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
