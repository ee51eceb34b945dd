//! What lies beside a file that has ended, and says how.

use std::ffi::OsStr;

use serde::{Deserialize, Serialize};

use crate::{Ending, Reason};

/// The end of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Status {
    pub(super) version: u32,
    /// Its own name; what of it is not UTF-8, replaced.
    pub(super) file: String,
    pub(super) state: Verdict,
    pub(super) bytes: u64,
    /// SHA-256, if it was read.
    pub(super) content: Option<String>,
    /// Why nothing of it was run.
    pub(super) reason: Option<String>,
    /// The same content had just been run, and this is how that ended.
    #[serde(default)]
    pub(super) duplicate: bool,
    pub(super) ended_unix_ms: u64,
    pub(super) documents: Vec<DocumentStatus>,
}

pub(super) const VERSION: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Processed,
    Failed,
}

impl Verdict {
    pub(super) const ALL: [Self; 2] = [Self::Processed, Self::Failed];
}

/// The end of one of its documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DocumentStatus {
    /// The object it was about.
    pub(super) key: Option<String>,
    pub(super) generation: Option<u64>,
    /// `completed`, `superseded`, `skipped`, or one of a document that failed: `failed`, `expired`,
    /// `refused`, `rejected`.
    pub(super) end: String,
    /// What was wrong, or what it is.
    pub(super) reason: Option<String>,
    /// Where, as RFC 6901 has it, in a rejected document.
    pub(super) pointer: Option<String>,
    /// The phase that it came to.
    pub(super) phase: Option<String>,
}

/// How a document ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In the pipeline.
    Ran {
        ending: Ending,
        phase: Option<&'static str>,
        error: Option<String>,
    },
    /// For good, by the pipeline.
    Refused(Reason),
    Rejected {
        pointer: String,
        rule: String,
    },
    Skipped {
        kind: String,
    },
    /// A newer file asked otherwise of its object before it was accepted.
    Superseded,
}

impl End {
    /// Whether the file it is of has failed.
    pub(super) fn is_failure(&self) -> bool {
        match self {
            Self::Ran { ending, .. } => !matches!(ending, Ending::Completed | Ending::Superseded),
            Self::Refused(_) | Self::Rejected { .. } => true,
            Self::Skipped { .. } | Self::Superseded => false,
        }
    }

    /// Whether the same again would come to the same.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self, Self::Ran { ending: Ending::Completed, .. } | Self::Skipped { .. })
    }

    pub(super) fn status(&self, key: Option<&str>, generation: Option<u64>) -> DocumentStatus {
        let (end, reason, pointer, phase) = match self.clone() {
            Self::Ran { ending, phase, error } => (ending.as_str(), error, None, phase),
            Self::Refused(reason) => ("refused", Some(reason.to_string()), None, None),
            Self::Rejected { pointer, rule } => ("rejected", Some(rule), Some(pointer), None),
            Self::Skipped { kind } => ("skipped", Some(kind), None, None),
            Self::Superseded => (Ending::Superseded.as_str(), None, None, None),
        };
        let (end, phase) = (end.to_owned(), phase.map(str::to_owned));
        DocumentStatus { key: key.map(str::to_owned), generation, end, reason, pointer, phase }
    }
}

impl Status {
    pub(super) fn encode(&self) -> Vec<u8> {
        // Nothing in it can fail: no map, no number that JSON has not.
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// Whether these are the bytes of a status, of this version or a later one: a loss of power may
    /// have left something else.
    pub(super) fn is_one(bytes: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct OfAnyVersion {
            version: u32,
        }
        serde_json::from_slice(bytes).is_ok_and(|it: OfAnyVersion| it.version > 0)
    }

    /// As it was written, whole.
    #[cfg(any(test, fuzzing))]
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let status: Self = serde_json::from_slice(bytes).ok()?;
        (status.version == VERSION).then_some(status)
    }
}

pub(super) fn shown(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

/// For the fuzz target, whose seeds run with the tests: what is read is what was written.
#[cfg(any(test, fuzzing))]
pub(crate) fn claims(bytes: &[u8]) {
    if let Some(status) = Status::decode(bytes) {
        assert!(Status::is_one(bytes));
        assert_eq!(Status::decode(&status.encode()), Some(status));
    }
}
