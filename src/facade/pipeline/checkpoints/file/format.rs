//! What a file says: a line for us, a line with the key, and the page.
//!
//! ```text
//! headworks-checkpoint 1 0f3a8c2b55d1e970
//! "default/web"
//! {"runs":[…]}
//! ```
//! The number in the first line is a hash of all that follows, so what was torn is known.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

const NAME: &str = "headworks-checkpoint";
const VERSION: &str = "1";
/// The first line is no longer: two words, sixteen digits, and a version for years to come.
const FIRST_LINE: usize = 64;

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Made by another version, or by something else that knows our first line.
    Foreign,
    /// Not as it was written.
    Corrupt,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "it is of another version",
            Self::Corrupt => "it is corrupt",
        })
    }
}

pub(super) fn encode(key: &str, page: &[u8]) -> Vec<u8> {
    let key = serde_json::Value::from(key).to_string();
    let sum = hash(hash(hash(SEED, key.as_bytes()), b"\n"), page);
    let mut file = format!("{NAME} {VERSION} {sum:016x}\n{key}\n").into_bytes();
    file.extend_from_slice(page);
    file
}

pub(super) fn decode(file: &Bytes) -> Result<(Arc<str>, Bytes), Flaw> {
    let first = line(&file[..file.len().min(FIRST_LINE)]).ok_or(Flaw::Corrupt)?;
    let words = std::str::from_utf8(first).map_err(|_| Flaw::Corrupt)?;
    let words: Vec<&str> = words.split(' ').collect();
    let sum = match words[..] {
        [NAME, VERSION, sum] => sum,
        [NAME, ..] => return Err(Flaw::Foreign),
        _ => return Err(Flaw::Corrupt),
    };
    let rest = file.slice(first.len() + 1..);
    if sum != format!("{:016x}", hash(SEED, &rest)) {
        return Err(Flaw::Corrupt);
    }
    let key = line(&rest).ok_or(Flaw::Corrupt)?;
    let page = rest.slice(key.len() + 1..);
    let key: Arc<str> = serde_json::from_slice(key).map_err(|_| Flaw::Corrupt)?;
    Ok((key, page))
}

/// The first line, if it ends.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some(&bytes[..end])
}

pub(super) const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, 64 bits (Fowler, Noll, Vo): the same on every machine, and in years to come. It finds
/// what a disk tears, not what somebody forges: who can write here can write what is right, too.
pub(super) fn hash(so_far: u64, bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(so_far, mix)
}

/// What must hold of any bytes: for the tests and the fuzzer.
#[cfg(any(all(test, not(headworks_loom)), fuzzing))]
pub(crate) fn claims(bytes: &[u8]) {
    let file = Bytes::copy_from_slice(bytes);
    // What is read is what was written: there is one file for a key and a page.
    if let Ok((key, page)) = decode(&file)
        && encode(&key, &page) != bytes
    {
        // But a key can be spelled in several ways; ours comes back the same.
        let again = Bytes::from(encode(&key, &page));
        assert_eq!(decode(&again), Ok((key, page)));
    }
    // Any page under any key comes back, and no bit of it can be changed.
    let key = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]);
    let written = encode(&key, bytes);
    let whole = Bytes::from(written.clone());
    assert_eq!(decode(&whole), Ok((Arc::from(&*key), file)));
    let at = bytes.first().map_or(0, |first| usize::from(*first) * written.len() / 256);
    let mut flipped = written;
    flipped[at] ^= 1;
    assert!(decode(&Bytes::from(flipped)).is_err(), "byte {at}");
    // A page is read or not; that never panics, and what is read is a key's runs.
    if let Ok(runs) = super::super::record::decode(bytes) {
        assert!((1..=2).contains(&runs.len()));
    }
}
