//! Finds the files below a folder and the documents in each.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::problem::{Fault, Origin, Problem, Rule};
use crate::value::{from_json, from_yaml};

/// Largest file that is read.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 20;

/// One JSON value and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

/// What reading came across.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Found {
    Document(Document),
    Skipped { origin: Origin, kind: String },
    Problem(Problem),
}

/// Everything below a folder, file by file in the order of their names; one file is in memory at
/// a time.
///
/// Symbolic links are not followed, so nothing outside the folder is read; names that begin with
/// a dot belong to editors and version control and are left alone.
///
/// # Errors
/// The folder itself cannot be listed. What is wrong below it is found like any document.
pub(crate) fn read_folder(folder: &Path) -> io::Result<impl Iterator<Item = Found> + use<>> {
    let folder = folder.to_owned();
    let entries = entries(&folder)?;
    Ok(entries.into_iter().flat_map(move |entry| read_entry(&folder, entry)))
}

/// A file, or a place that could not be listed.
enum Entry {
    File(PathBuf),
    Odd(PathBuf, &'static str),
    Unreadable(PathBuf, io::Error),
}

impl Entry {
    fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Odd(path, _) | Self::Unreadable(path, _) => path,
        }
    }
}

fn entries(folder: &Path) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    let mut folders = Vec::new();
    list(folder, &mut found, &mut folders)?;
    while let Some(folder) = folders.pop() {
        if let Err(error) = list(&folder, &mut found, &mut folders) {
            found.push(Entry::Unreadable(folder, error));
        }
    }
    found.sort_unstable_by(|a, b| a.path().cmp(b.path()));
    Ok(found)
}

fn list(folder: &Path, found: &mut Vec<Entry>, folders: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => folders.push(path),
            Ok(kind) if kind.is_file() => found.push(Entry::File(path)),
            Ok(kind) if kind.is_symlink() => found.push(Entry::Odd(path, "symbolic link")),
            Ok(_) => found.push(Entry::Odd(path, "not a regular file")),
            Err(error) => found.push(Entry::Unreadable(path, error)),
        }
    }
    Ok(())
}

fn read_entry(folder: &Path, entry: Entry) -> Vec<Found> {
    let file = relative(folder, entry.path());
    match entry {
        Entry::File(path) => read_file(&path, file),
        Entry::Odd(_, kind) => vec![skipped(file, kind)],
        Entry::Unreadable(_, error) => {
            vec![problem(file, 1, Fault::new("", Rule::Unreadable(error.to_string())))]
        }
    }
}

/// The path as messages have it: below the folder, with `/` on every system.
fn relative(folder: &Path, path: &Path) -> Arc<str> {
    let below = path.strip_prefix(folder).unwrap_or(path);
    let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/").into()
}

fn read_file(path: &Path, file: Arc<str>) -> Vec<Found> {
    let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
    let parse = match extension.as_ref().and_then(|extension| extension.to_str()) {
        Some("json") => json_documents,
        Some("yaml" | "yml") => yaml_documents,
        _ => return vec![skipped(file, "neither JSON nor YAML")],
    };
    match read_text(path) {
        Ok(text) => parse(text.strip_prefix('\u{feff}').unwrap_or(&text), file),
        Err(rule) => vec![problem(file, 1, Fault::new("", rule))],
    }
}

fn read_text(path: &Path) -> Result<String, Rule> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| Rule::Unreadable(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Rule::TooLarge { max_bytes: MAX_FILE_BYTES });
    }
    String::from_utf8(bytes).map_err(|error| Rule::NotUtf8 { at: error.utf8_error().valid_up_to() })
}

fn json_documents(text: &str, file: Arc<str>) -> Vec<Found> {
    vec![found(file, 1, from_json(text))]
}

/// Every document is parsed by itself, so that a bad one spoils no other.
fn yaml_documents(text: &str, file: Arc<str>) -> Vec<Found> {
    let parts = split_yaml(text);
    if parts.is_empty() {
        return vec![skipped(file, "empty")];
    }
    let read = |(index, part): (usize, &Part<'_>)| {
        found(Arc::clone(&file), index + 1, from_yaml(part.text, part.first_line))
    };
    parts.iter().enumerate().map(read).collect()
}

/// One document of a file, with its own `---` line.
#[derive(Debug, PartialEq)]
struct Part<'a> {
    text: &'a str,
    first_line: u64,
}

/// Cuts at `---` and `...`, which at the start of a line can be nothing else in YAML. Parts
/// without content (comments, an empty document) are no documents; directives and comments above
/// a `---` stay with what follows.
fn split_yaml(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut start = Start { at: 0, line: 1, marked: false, filled: false };
    let (mut at, mut line) = (0, 1);
    for raw in text.split_inclusive('\n') {
        let is = |marker: &str| {
            raw.strip_prefix(marker)
                .is_some_and(|rest| rest.trim_start() != rest || rest.is_empty())
        };
        if is("---") && (start.marked || start.filled) {
            start.close(text, at, &mut parts);
            start = Start { at, line, marked: false, filled: false };
        }
        if is("---") {
            start.marked = true;
            start.filled |= is_content(&raw[3..]);
        } else if is("...") {
            start.close(text, at + raw.len(), &mut parts);
            start = Start { at: at + raw.len(), line: line + 1, marked: false, filled: false };
        } else {
            start.filled |= is_content(raw) && !raw.starts_with('%');
        }
        at += raw.len();
        line += 1;
    }
    start.close(text, at, &mut parts);
    parts
}

/// Where the document being cut begins.
struct Start {
    at: usize,
    line: u64,
    marked: bool,
    filled: bool,
}

impl Start {
    fn close<'a>(&self, text: &'a str, end: usize, parts: &mut Vec<Part<'a>>) {
        if self.filled {
            parts.push(Part { text: &text[self.at..end], first_line: self.line });
        }
    }
}

fn is_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

fn found(file: Arc<str>, document: usize, read: Result<Value, Fault>) -> Found {
    match read {
        Ok(value) => Found::Document(Document { origin: Origin::new(file, document), value }),
        Err(fault) => problem(file, document, fault),
    }
}

fn skipped(file: Arc<str>, kind: &str) -> Found {
    Found::Skipped { origin: Origin::new(file, 1), kind: kind.to_owned() }
}

fn problem(file: Arc<str>, document: usize, fault: Fault) -> Found {
    Found::Problem(Problem::new(Origin::new(file, document), fault))
}

#[cfg(test)]
mod tests;
