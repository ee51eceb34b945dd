//! The directory on the disk: handles that are opened once, and names below them.
//!
//! Every call names one component below a handle and follows no link, so whatever happens to a path
//! meanwhile, what is read, written and renamed lies in the directories that were opened at the start.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::config::{Durability, WatchConfig};
use super::error::WatchError;
use super::names;
use super::status::Verdict;
use super::steps::Steps;
use super::waiting::Found;

const PROCESSING: &str = "processing";

/// Names with what each is, and whether there are more.
pub(super) type Listing = (Vec<(Arc<OsStr>, Shape)>, bool);

/// The watched directory and its three folders.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) inbox: OwnedFd,
    pub(super) processing: Place,
    processed: Place,
    failed: Place,
    pub(super) config: Arc<WatchConfig>,
    pub(super) steps: Steps,
}

/// A folder in the directory.
pub(super) struct Place {
    pub(super) handle: OwnedFd,
    name: &'static str,
}

/// What tells one content of a file from another, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    device: u64,
    inode: u64,
    pub(super) bytes: u64,
    modified: (i64, i64),
}

impl Shape {
    #[allow(clippy::unnecessary_cast, reason = "these numbers have other types elsewhere")]
    #[allow(trivial_numeric_casts, reason = "these numbers have other types elsewhere")]
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        }
    }

    #[cfg(test)]
    pub(super) fn planted(inode: u64, bytes: u64, modified: i64) -> Self {
        Self { device: 1, inode, bytes, modified: (modified, 0) }
    }

    fn is_same_file(self, other: Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// What a file is, in words for people, if it is no regular one.
pub(super) fn kind(stat: &Stat) -> Option<&'static str> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => None,
        FileType::Directory => Some("a directory"),
        FileType::Symlink => Some("a symbolic link"),
        FileType::Fifo => Some("a FIFO"),
        FileType::Socket => Some("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("a device"),
        _ => Some("no regular file"),
    }
}

impl Folder {
    /// Opens all of it, makes what is not there, and keeps others out.
    pub(super) fn open(config: Arc<WatchConfig>, steps: Steps) -> Result<Self, WatchError> {
        let path = config.directory.clone();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| WatchError::Folder { path, error }
        };
        std::fs::create_dir_all(&path).map_err(failed(&path))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let inbox = fs::open(&path, flags, Mode::empty());
        let inbox = inbox.map_err(io::Error::from).map_err(failed(&path))?;
        let place = |name| Place::open(&inbox, name).map_err(failed(&path.join(name)));
        let (processing, processed) = (place(PROCESSING)?, place("processed")?);
        let failures = place("failed")?;
        match fs::flock(&processing.handle, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(WatchError::InUse { path }),
            Err(error) => return Err(failed(&path)(error.into())),
            Ok(()) => {}
        }
        Ok(Self { path, inbox, processing, processed, failed: failures, config, steps })
    }

    pub(super) fn place(&self, verdict: Verdict) -> &Place {
        match verdict {
            Verdict::Processed => &self.processed,
            Verdict::Failed => &self.failed,
        }
    }

    /// Whether the path still leads here, and its folders are those that were opened.
    pub(super) fn is_in_place(&self) -> io::Result<()> {
        let there = fs::stat(&self.path).map(|stat| Shape::of(&stat));
        let here = Shape::of(&fs::fstat(&self.inbox)?);
        if !there.is_ok_and(|there| there.is_same_file(here)) {
            return Err(io::Error::other("the directory is not in its place any more"));
        }
        [&self.processing, &self.processed, &self.failed]
            .iter()
            .try_for_each(|place| place.is_in(self))
    }

    /// Names of waiting files, the oldest first, so many at most, and whether there are more.
    pub(super) fn scan(&self, most: usize) -> io::Result<Listing> {
        self.is_in_place()?;
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.inbox)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if !names::is_intent(name, &self.config.extensions) {
                continue;
            }
            if let Some(Found { shape, .. }) = self.look(name) {
                found.push((Arc::from(name), shape));
                // The oldest of them is not known before all are, so some more are looked at.
                if found.len() >= most.saturating_mul(2) {
                    break;
                }
            }
        }
        found.sort_by(|(a, one), (b, other)| (one.modified, a).cmp(&(other.modified, b)));
        let there_is_more = found.len() > most;
        found.truncate(most);
        Ok((found, there_is_more))
    }

    /// A waiting file as it is. `None`: it is not there, or a directory.
    pub(super) fn look(&self, name: &OsStr) -> Option<Found> {
        let stat = fs::statat(&self.inbox, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_plain = kind(&stat).is_none() && stat.st_nlink == 1;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        (!is_directory).then(|| Found { shape: Shape::of(&stat), is_plain })
    }

    /// Names of what was taken and has not ended.
    pub(super) fn taken(&self) -> io::Result<Vec<OsString>> {
        let mut taken = Vec::new();
        for entry in Dir::read_from(&self.processing.handle)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if names::own_of(name).is_some() {
                taken.push(name.to_owned());
            }
        }
        // As they were taken.
        taken.sort();
        Ok(taken)
    }

    pub(super) fn sync(&self, what: &OwnedFd) -> io::Result<()> {
        match self.config.durability {
            Durability::Process => Ok(()),
            Durability::Power => Ok(fs::fsync(what)?),
        }
    }
}

impl Place {
    fn open(inbox: &OwnedFd, name: &'static str) -> io::Result<Self> {
        match fs::mkdirat(inbox, name, Mode::from_raw_mode(0o755)) {
            // On a folder that can't be written it may be there all the same.
            Ok(()) | Err(Errno::EXIST | Errno::ROFS | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = fs::openat(inbox, name, flags, Mode::empty())?;
        Ok(Self { handle, name })
    }

    /// Whether the directory still has this folder under its name.
    pub(super) fn is_in(&self, folder: &Folder) -> io::Result<()> {
        let there = fs::statat(&folder.inbox, self.name, AtFlags::SYMLINK_NOFOLLOW);
        let here = Shape::of(&fs::fstat(&self.handle)?);
        if there.is_ok_and(|stat| Shape::of(&stat).is_same_file(here)) {
            return Ok(());
        }
        Err(io::Error::other(format!("the folder {} is not in its place any more", self.name)))
    }

    /// A file in it, as it is; no link is followed.
    pub(super) fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(super) fn has(&self, name: &OsStr) -> io::Result<bool> {
        match self.stat(name) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// For reading; neither waits for a FIFO's writer, nor follows a link.
    pub(super) fn open_file(&self, name: &OsStr) -> io::Result<File> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        Ok(File::from(fs::openat(&self.handle, name, flags, Mode::empty())?))
    }

    /// For writing, where nothing has its name.
    pub(super) fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(fs::openat(&self.handle, name, flags, Mode::from_raw_mode(0o644))?))
    }

    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(fs::unlinkat(&self.handle, name, AtFlags::empty())?)
    }
}

/// Gives a file another name, which nothing has.
pub(super) fn rename(from: impl AsFd, old: &OsStr, to: impl AsFd, new: &OsStr) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    match fs::renameat_with(&from, old, &to, new, fs::RenameFlags::NOREPLACE) {
        // The file system can't refuse to replace.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        done => return Ok(done?),
    }
    rename_after_a_look(from, old, to, new)
}

/// Nobody else gives the names that are given here, so a look before is enough. (A link to the new
/// name would not need one, but has the file under two names if the process dies before the old one
/// is gone; and some file systems have no links.)
pub(super) fn rename_after_a_look(
    from: impl AsFd,
    old: &OsStr,
    to: impl AsFd,
    new: &OsStr,
) -> io::Result<()> {
    match fs::statat(&to, new, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST.into()),
        Err(Errno::NOENT) => Ok(fs::renameat(&from, old, &to, new)?),
        Err(error) => Err(error.into()),
    }
}

/// Whether what failed is a matter of that one file, so that others may be moved nevertheless: it is
/// somebody else's in a sticky directory, it is immutable, it is a mount of its own, or its new name is
/// taken.
pub(super) fn is_of_one(error: &io::Error) -> bool {
    const OF_ONE: [Errno; 6] =
        [Errno::PERM, Errno::BUSY, Errno::XDEV, Errno::EXIST, Errno::ISDIR, Errno::NOTEMPTY];
    Errno::from_io_error(error).is_some_and(|errno| OF_ONE.contains(&errno))
}
