//! From the directory into memory: a file is claimed by a rename, then read and decoded.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs;
use sha2::{Digest, Sha256};

use super::folder::{Folder, Shape, is_of_one, kind, rename};
use super::names;
use super::steps::Step;
use crate::Intent;
use crate::edges::intake::{Decode, Origin, Rejected};
use crate::ground::quiet::drop_quietly;

/// SHA-256.
pub(super) type Hash = [u8; 32];

/// Where a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It waits, under its own name, and gets the second one.
    Inbox(Arc<OsStr>, Arc<OsStr>),
    /// It was taken already.
    Claimed(Arc<OsStr>),
}

/// What came of taking a file.
#[derive(Debug)]
pub(super) enum Taken<I> {
    /// It is not there any more.
    Gone,
    /// It could not be moved, and is where it was.
    Blocked {
        why: String,
        /// Others may be moved nevertheless.
        is_of_one: bool,
    },
    /// It was moved, and could not be read; it might be later.
    Unread {
        why: String,
    },
    /// It changed while it was read.
    Unsettled {
        bytes: u64,
    },
    /// It will not be read.
    Refused {
        shape: Shape,
        reason: String,
    },
    Read {
        shape: Shape,
        hash: Hash,
        documents: Vec<Result<I, Rejected>>,
    },
}

/// Claims the file, if it is not, and reads it.
pub(super) fn take<P: 'static>(
    folder: &Folder,
    source: &Source,
    decode: &dyn Decode<P>,
) -> Taken<Intent<P>> {
    let claimed = match source {
        Source::Claimed(claimed) => claimed,
        Source::Inbox(name, claimed) => {
            let (to, steps) = (&folder.processing, &folder.steps);
            let moved = to.is_in(folder).and_then(|()| {
                // Links, pipes and devices are moved as well, as what they are; directories stay.
                if folder.look(name).is_none() {
                    return Err(io::ErrorKind::NotFound.into());
                }
                rename(&folder.inbox, name, &to.handle, claimed)
            });
            match moved.and_then(|()| steps.at(Step::Claimed)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Taken::Gone,
                Err(error) => {
                    let is_of_one = is_of_one(&error);
                    let name = name.to_string_lossy();
                    let why = match is_of_one {
                        true => format!("taking {name:?}: {error}"),
                        false => format!("taking a file: {error}"),
                    };
                    return Taken::Blocked { why, is_of_one };
                }
                Ok(()) => claimed,
            }
        }
    };
    match read(folder, claimed) {
        Ok(Reading::Whole(shape, bytes)) => {
            let own = names::own_of(claimed).unwrap_or(claimed);
            let taken = decoded(folder, own, shape, &bytes, decode);
            match folder.steps.at(Step::Read) {
                Ok(()) => taken,
                Err(error) => Taken::Unread { why: error.to_string() },
            }
        }
        Ok(Reading::Refused(shape, reason)) => Taken::Refused { shape, reason },
        Ok(Reading::Unsettled(bytes)) => Taken::Unsettled { bytes },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Taken::Gone,
        Err(error) => Taken::Unread { why: format!("reading a file: {error}") },
    }
}

enum Reading {
    Whole(Shape, Vec<u8>),
    Unsettled(u64),
    Refused(Shape, String),
}

fn read(folder: &Folder, claimed: &OsStr) -> io::Result<Reading> {
    let (place, most) = (&folder.processing, folder.config.max_file_bytes);
    let stat = place.stat(claimed)?;
    if let Some(kind) = kind(&stat) {
        return Ok(Reading::Refused(Shape::of(&stat), format!("it is {kind}")));
    }
    let file = match place.open_file(claimed) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Ok(Reading::Refused(Shape::of(&stat), format!("it can't be read: {error}")));
        }
        file => file?,
    };
    // What was opened counts, whatever had that name before.
    let stat = fs::fstat(&file)?;
    let before = Shape::of(&stat);
    if let Some(kind) = kind(&stat) {
        return Ok(Reading::Refused(before, format!("it is {kind}")));
    }
    let too_large = |bytes| format!("it has {bytes} bytes, and may have {most}");
    if before.bytes > most as u64 {
        return Ok(Reading::Refused(before, too_large(before.bytes)));
    }
    let mut bytes = Vec::with_capacity(before.bytes as usize + 1);
    // One more than may be: it may grow meanwhile.
    (&file).take(most as u64 + 1).read_to_end(&mut bytes)?;
    let after = Shape::of(&fs::fstat(&file)?);
    if after != before || bytes.len() as u64 != before.bytes {
        return Ok(Reading::Unsettled(after.bytes));
    }
    Ok(Reading::Whole(before, bytes))
}

fn decoded<P: 'static>(
    folder: &Folder,
    own: &OsStr,
    shape: Shape,
    bytes: &[u8],
    decode: &dyn Decode<P>,
) -> Taken<Intent<P>> {
    let refused = |reason: String| Taken::Refused { shape, reason };
    let origin = Origin::File { path: PathBuf::from(own) };
    let documents = catch_unwind(AssertUnwindSafe(|| decode.decode(bytes, &origin)));
    let mut documents = match documents {
        Ok(documents) => documents,
        Err(panic) => {
            drop_quietly(panic);
            return refused("the decoder panicked".to_owned());
        }
    };
    let most = folder.config.max_documents;
    if documents.len() > most {
        let reason = format!("it has {} documents, and may have {most}", documents.len());
        drop_quietly(documents);
        return refused(reason);
    }
    let hash: Hash = Sha256::digest(bytes).into();
    for (index, document) in documents.iter_mut().enumerate() {
        if let Ok(intent) = document {
            // So that what was accepted in a former life is known again.
            intent.content.get_or_insert_with(|| content(&hash, index));
        }
    }
    Taken::Read { shape, hash, documents }
}

fn content(hash: &Hash, index: usize) -> u128 {
    let (first, _) = hash.split_at(16);
    let word = first.iter().fold(0, |word: u128, byte| word << 8 | u128::from(*byte));
    word.wrapping_add(index as u128)
}
