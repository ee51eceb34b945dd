//! What blocks a thread.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

use bytes::Bytes;

/// What of a directory is to be looked at.
pub(super) enum Found {
    /// All of it.
    Whole(Bytes),
    /// It is larger than a page may be.
    TooLarge(u64),
}

/// Makes a directory that outlives a loss of power, if it is not there.
pub(super) fn make(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    let above = directory.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
    above.take_while(|path| path.is_dir()).try_for_each(sync)
}

/// Reads a file, so many bytes at most.
pub(super) fn read(path: &Path, most: usize) -> io::Result<Found> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut bytes = Vec::new();
    // One more than may be: it may have grown since.
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most { Ok(Found::TooLarge(size)) } else { Ok(Found::Whole(bytes.into())) }
}

/// Writes a file so that it is there whole or not at all, whatever happens. It stays once its
/// directory is synced; on an error the one before is still there.
pub(super) fn replace(directory: &Path, part: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let part = directory.join(part);
    let written = write(&part, bytes).and_then(|()| fs::rename(&part, directory.join(name)));
    if written.is_err() {
        // What is left of it is cleared away now, or when the directory is next read.
        drop(fs::remove_file(&part));
    }
    written
}

/// Keeps others out of a directory, for as long as the file is open: also when the process is
/// killed it is free again. `None`: somebody has it. Where the file system has no locks, nobody is
/// kept out.
pub(super) fn lock(directory: &Path) -> io::Result<Option<File>> {
    let path = directory.join(LOCK);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
            Ok(Some(file))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whose lock says that the directory is in use.
pub(super) const LOCK: &str = "in-use.lock";

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes a file; one that is not there is gone already. For good, once its directory is synced.
pub(super) fn remove(directory: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(directory.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Moves a file where nothing has its name. Where it is now. A loss of power may move it back: then
/// it is found, and put away, once more.
pub(super) fn put_away(directory: &Path, name: &str) -> io::Result<String> {
    let aside = directory.join(ASIDE);
    fs::create_dir_all(&aside)?;
    let names = (1_u64..).map(|n| format!("{name}.{n}"));
    for other in names {
        let place = aside.join(other);
        // The name is taken before anything is moved over it.
        match OpenOptions::new().write(true).create_new(true).open(&place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(_) => {
                if let Err(error) = fs::rename(directory.join(name), &place) {
                    drop(fs::remove_file(&place));
                    return Err(error);
                }
                // It is there, and whoever looks for it must hear where, whatever these say.
                drop(sync(&aside).and_then(|()| sync(directory)));
                return Ok(place.display().to_string());
            }
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Where they are put.
const ASIDE: &str = "set-aside";

/// The names in a directory outlive a loss of power.
#[cfg(unix)]
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// A directory can't be opened there; its file system writes names in order.
#[cfg(not(unix))]
pub(super) fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}
