//! Reads files, and finds the documents in each.

mod commands;
mod split;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::folder::{Entry, What, find};
use crate::language::Language;
use crate::problem::{Fault, Origin, Problem, Rule};
use crate::value::{from_json, from_yaml};

use commands::{from_command, lines};
use split::{Part, split_yaml};

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

/// Everything that [`find`] finds, file by file in the order of their names; one file is in memory
/// at a time.
///
/// # Errors
/// As [`find`]. What is wrong with a file is found like any document.
pub(crate) fn read_all(place: &Path) -> io::Result<impl Iterator<Item = Found> + use<>> {
    Ok(find(place)?.into_iter().flat_map(read_entry))
}

fn read_entry(entry: Entry) -> Vec<Found> {
    let file = entry.name();
    match entry.what {
        What::File(path, language) => read_file(&path, language, file),
        What::Skipped(kind) => vec![skipped(file, kind)],
        What::Unreadable(error) => {
            vec![problem(file, 1, Fault::new("", Rule::Unreadable(error.to_string())))]
        }
    }
}

fn read_file(path: &Path, language: Language, file: Arc<str>) -> Vec<Found> {
    match read_bytes(path) {
        Ok(bytes) => documents(&bytes, language, file),
        Err(rule) => vec![problem(file, 1, Fault::new("", rule))],
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, Rule> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| Rule::Unreadable(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Rule::TooLarge { max_bytes: MAX_FILE_BYTES });
    }
    Ok(bytes)
}

/// The documents in the bytes of a file, or of whatever else is called `file`.
pub(crate) fn documents(bytes: &[u8], language: Language, file: Arc<str>) -> Vec<Found> {
    let text = match str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let rule = Rule::NotUtf8 { at: error.valid_up_to() };
            return vec![problem(file, 1, Fault::new("", rule))];
        }
    };
    match language {
        Language::Json => vec![found(file, 1, from_json(text))],
        Language::Yaml => yaml_documents(text, file),
        Language::Commands => commands(text, file),
    }
}

/// A document a line; its number is the line's.
fn commands(text: &str, file: Arc<str>) -> Vec<Found> {
    let read = |(line, text)| found(Arc::clone(&file), line, from_command(text));
    lines(text).map(read).collect()
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
