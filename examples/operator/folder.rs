//! Finds the files that are read: all below a folder, or the one that was named.
//!
//! - `*.json`, `*.yaml` and `*.yml`, in any case, are read; any other file is skipped, and said.
//! - Names that begin with a dot belong to editors, version control and mounts: they are left
//!   alone and not even said.
//! - A symbolic link is followed when it leads to a place inside the folder. So a mounted
//!   ConfigMap, whose files are links through `..data`, is read, each file once. A link that leads
//!   out of the folder, nowhere, or to what is read under another name is skipped, and said.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::language::Language;

/// In which language a file of documents is, if it is one.
fn language(path: &Path) -> Option<Language> {
    Language::of_file(path).filter(|language| *language != Language::Commands)
}

/// Something that was found.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its path below the folder.
    below: PathBuf,
    pub(crate) what: What,
}

/// What it is.
#[derive(Debug)]
pub(crate) enum What {
    /// A file to be read, and where it lies once all links are followed.
    File(PathBuf, Language),
    /// Not read, for this reason.
    Skipped(&'static str),
    /// A folder that could not be listed.
    Unreadable(io::Error),
}

impl Entry {
    /// The path as messages have it: below the folder, with `/` on every system.
    pub(crate) fn name(&self) -> Arc<str> {
        let parts: Vec<_> = self.below.iter().map(|part| part.to_string_lossy()).collect();
        parts.join("/").into()
    }
}

/// Everything at `place`, in the order of the names.
///
/// # Errors
/// `place` itself cannot be listed, or is a file of no language that is read. What is wrong below
/// it is an entry of its own.
pub(crate) fn find(place: &Path) -> io::Result<Vec<Entry>> {
    let root = place.canonicalize()?;
    if !root.is_dir() {
        return single(place, root);
    }
    let mut search = Search { root: root.clone(), ..Search::default() };
    search.walk(root, PathBuf::new())?;
    search.follow_links();
    search.found.sort_unstable_by(|a, b| a.below.cmp(&b.below));
    Ok(search.found)
}

/// The one file that was named.
fn single(place: &Path, file: PathBuf) -> io::Result<Vec<Entry>> {
    let below = PathBuf::from(place.file_name().unwrap_or_default());
    match language(place) {
        Some(language) if file.is_file() => {
            Ok(vec![Entry { below, what: What::File(file, language) }])
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "neither a folder nor a .json, .yaml or .yml file",
        )),
    }
}

#[derive(Debug, Default)]
struct Search {
    /// Free of links, as all paths below that are compared with it.
    root: PathBuf,
    found: Vec<Entry>,
    /// Links that were not followed yet, by their path below the folder: what is there without
    /// them comes first, so that it is read under its own name.
    links: BTreeMap<PathBuf, PathBuf>,
    /// Files and folders that were found, so that links cannot lead in circles.
    seen: HashSet<PathBuf>,
}

impl Search {
    fn add(&mut self, below: PathBuf, what: What) {
        self.found.push(Entry { below, what });
    }

    fn add_file(&mut self, path: PathBuf, below: PathBuf) {
        let what = match language(&below) {
            Some(language) => What::File(path.clone(), language),
            None => What::Skipped("neither JSON nor YAML"),
        };
        self.seen.insert(path);
        self.add(below, what);
    }

    /// Lists a folder and all below it; links are noted.
    fn walk(&mut self, folder: PathBuf, below: PathBuf) -> io::Result<()> {
        let mut folders = Vec::new();
        self.list(folder, &below, &mut folders)?;
        while let Some((folder, below)) = folders.pop() {
            if let Err(error) = self.list(folder, &below, &mut folders) {
                self.add(below, What::Unreadable(error));
            }
        }
        Ok(())
    }

    fn list(
        &mut self,
        folder: PathBuf,
        below: &Path,
        folders: &mut Vec<(PathBuf, PathBuf)>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let (path, below) = (entry.path(), below.join(name));
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push((path, below)),
                Ok(kind) if kind.is_file() => self.add_file(path, below),
                Ok(kind) if kind.is_symlink() => _ = self.links.insert(below, path),
                Ok(_) => self.add(below, What::Skipped("not a regular file")),
                Err(error) => self.add(below, What::Unreadable(error)),
            }
        }
        self.seen.insert(folder);
        Ok(())
    }

    /// Follows the links, also those in folders that links lead to.
    fn follow_links(&mut self) {
        while let Some((below, link)) = self.links.pop_first() {
            let skipped = match link.canonicalize() {
                Err(_) => "symbolic link that leads nowhere",
                Ok(target) if !target.starts_with(&self.root) => {
                    "symbolic link that leads out of the folder"
                }
                Ok(target) if self.seen.contains(&target) => {
                    "symbolic link to what is read already"
                }
                Ok(target) if target.is_file() => {
                    self.add_file(target, below);
                    continue;
                }
                Ok(target) if target.is_dir() => {
                    if let Err(error) = self.walk(target, below.clone()) {
                        self.add(below, What::Unreadable(error));
                    }
                    continue;
                }
                Ok(_) => "not a regular file",
            };
            self.add(below, What::Skipped(skipped));
        }
    }
}

#[cfg(test)]
mod tests;
