//! From memory onto the disk: a file's status is written, then the file moved beside it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::folder::{Folder, Place, Shape, is_of_one, kind, rename};
use super::names;
use super::status::{Status, Verdict};
use super::steps::Step;

/// What came of putting a file away.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finished {
    Done,
    /// It is not the content any more that was run.
    Changed,
    /// Not now.
    Blocked {
        why: String,
        is_of_one: bool,
    },
}

/// Writes the status and moves the file.
pub(super) fn finish(
    folder: &Folder,
    claimed: &OsStr,
    shape: Option<Shape>,
    status: &Status,
) -> Finished {
    match put_away(folder, claimed, shape, status) {
        Ok(finished) => finished,
        Err(error) => Finished::Blocked {
            why: format!("putting a file away: {error}"),
            is_of_one: is_of_one(&error),
        },
    }
}

fn put_away(
    folder: &Folder,
    claimed: &OsStr,
    shape: Option<Shape>,
    status: &Status,
) -> io::Result<Finished> {
    let place = folder.place(status.state);
    folder.steps.at(Step::Ended)?;
    place.is_in(folder)?;
    folder.processing.is_in(folder)?;
    let is_written = place.has(&names::status(claimed))?;
    match folder.processing.stat(claimed) {
        // An earlier try came so far, and then could not move the file.
        Ok(_) if is_written => {}
        // What is no regular file has no content that could change.
        Ok(stat) if kind(&stat).is_none() && shape.is_some_and(|it| it != Shape::of(&stat)) => {
            return Ok(Finished::Changed);
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if !is_written {
        write(folder, place, claimed, status)?;
    }
    folder.steps.at(Step::Status)?;
    move_beside(folder, place, claimed)?;
    folder.steps.at(Step::Moved)?;
    Ok(Finished::Done)
}

/// The status has its name when it is whole.
fn write(folder: &Folder, place: &Place, claimed: &OsStr, status: &Status) -> io::Result<()> {
    let (name, part) = (names::status(claimed), names::part(claimed));
    folder.steps.at(Step::Writes)?;
    let mut file = match place.create(&part) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // A try that was cut short; nobody else has that name.
            place.remove(&part)?;
            place.create(&part)?
        }
        file => file?,
    };
    let written = file.write_all(&status.encode()).and_then(|()| {
        folder.steps.at(Step::Part)?;
        let handle = OwnedFd::from(file);
        folder.sync(&handle)?;
        rename(&place.handle, &part, &place.handle, &name)
    });
    if written.is_err() {
        // It may be what fills the disk. In nobody's way if it stays.
        let _ = place.remove(&part);
    }
    written?;
    folder.sync(&place.handle)
}

fn move_beside(folder: &Folder, place: &Place, claimed: &OsStr) -> io::Result<()> {
    match rename(&folder.processing.handle, claimed, &place.handle, claimed) {
        // Moved by an earlier try, or taken away by somebody: its status says how it ended.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }?;
    folder.sync(&place.handle)?;
    folder.sync(&folder.processing.handle)
}

/// What a former life left: files that had ended are moved, the names of the others come back.
pub(super) fn recover(folder: &Folder) -> io::Result<(Vec<Arc<OsStr>>, u64)> {
    folder.is_in_place()?;
    let (mut left, mut moved) = (Vec::new(), 0);
    for claimed in folder.taken()? {
        if has_ended(folder, &claimed)? {
            moved += 1;
        } else {
            left.push(Arc::from(claimed));
        }
    }
    Ok((left, moved))
}

fn has_ended(folder: &Folder, claimed: &OsStr) -> io::Result<bool> {
    let name = names::status(claimed);
    for place in Verdict::ALL.map(|verdict| folder.place(verdict)) {
        let file = match place.open_file(&name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if is_whole(file)? {
            folder.steps.at(Step::Recovers)?;
            move_beside(folder, place, claimed)?;
            return Ok(true);
        }
        // Left by a loss of power, without what it said.
        place.remove(&name)?;
    }
    // Of a status that was being written. It may end in the other folder this time.
    for place in Verdict::ALL.map(|verdict| folder.place(verdict)) {
        let _ = place.remove(&names::part(claimed));
    }
    Ok(false)
}

/// Whether a status is one; none is larger than this.
fn is_whole(file: File) -> io::Result<bool> {
    let mut bytes = Vec::new();
    file.take(256 << 20).read_to_end(&mut bytes)?;
    Ok(Status::is_one(&bytes))
}
