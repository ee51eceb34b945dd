//! One intent's files on their way into the repository, and the id of the commit they became.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};

use super::error::CommitError;

/// Files in one change, at most.
pub(crate) const MAX_FILES: usize = 64;
/// Bytes of all files of one change together, at most.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// Bytes in the first line of the commit's message, at most.
const MAX_SUBJECT_BYTES: usize = 256;

/// Everything one commit holds: the new content of one intent's folder.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// DNS-1123.
    pub(crate) namespace: String,
    /// DNS-1123.
    pub(crate) name: String,
    /// The generation of the intent; `None` is written as `-`.
    pub(crate) generation: Option<u64>,
    /// The hash of the document.
    pub(crate) content: u128,
    /// First line of the commit's message.
    pub(crate) subject: String,
    /// File name (one component) to bytes. What is not here is deleted from the folder.
    pub(crate) files: BTreeMap<String, Bytes>,
}

impl Change {
    /// `namespace/name`: what the `Intent:` trailer says, and the folder below the deploy path.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> usize {
        self.files.values().map(Bytes::len).sum()
    }

    /// The commit's message with its three trailers.
    pub(crate) fn message(&self) -> String {
        let mut text = format!("{}\n\nIntent: {}\nGeneration: ", self.subject, self.key());
        match self.generation {
            Some(generation) => _ = write!(text, "{generation}"),
            None => text.push('-'),
        }
        _ = writeln!(text, "\nContent: {:032x}", self.content);
        text
    }

    /// Checked here again whatever the caller did: these strings become paths in a repository.
    ///
    /// # Errors
    /// [`CommitError::Invalid`] names the field and the rule it breaks.
    pub(crate) fn check(&self) -> Result<(), CommitError> {
        let unless = |ok: bool, field: &'static str, rule: &'static str| match ok {
            true => Ok(()),
            false => Err(CommitError::Invalid { key: self.key(), field, rule }),
        };
        unless(is_name(&self.namespace), "namespace", "must be a DNS-1123 name")?;
        unless(is_name(&self.name), "name", "must be a DNS-1123 name")?;
        unless(is_subject(&self.subject), "subject", "must be one line of 1 to 256 bytes")?;
        unless(self.files.len() <= MAX_FILES, "files", "must be at most 64")?;
        unless(self.bytes() <= MAX_BYTES, "files", "must be at most 1 MiB together")?;
        unless(
            self.files.keys().all(|name| is_file_name(name)),
            "files",
            "must be named by one component of letters, digits, '.', '_' and '-'",
        )
    }
}

/// A DNS-1123 name: at most 253 bytes of `[a-z0-9.-]`, a letter or digit at both ends of each part
/// between dots. So it is never empty, hidden, `..`, or more than one component of a path.
fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(inner)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(part)
}

fn is_subject(text: &str) -> bool {
    (1..=MAX_SUBJECT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Where the files of `key` (`namespace/name`) lie, without a slash at either end.
pub(crate) fn folder(deploy_path: &str, key: &str) -> String {
    format!("{deploy_path}/{key}")
}

/// No leading dot: neither `..` nor `.git` nor anything a tool would hide.
pub(crate) fn is_file_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=128).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(allowed)
}

/// The id of a commit, in hexadecimal digits.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub(crate) struct CommitId(Arc<str>);

impl<'de> Deserialize<'de> for CommitId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a commit's id has 40 digits"))
    }
}

impl CommitId {
    /// `None` unless `text` is a whole object id.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        (text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| Self(text.into()))
    }

    /// An id without a repository.
    pub(crate) fn numbered(number: u64) -> Self {
        Self(format!("{number:040x}").into())
    }

    /// The 40 hexadecimal digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
