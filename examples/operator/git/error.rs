//! One error per operation; each says by itself whether trying again can help.

use std::fmt;

use super::command::GitFailure;

/// Why the repository could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// A setting is out of its range.
    #[error("{field}: was {was:?}, must be {rule}")]
    Config { field: &'static str, was: String, rule: &'static str },
    /// The place for the staging repository could not be made.
    #[error("no temporary directory")]
    Directory(#[source] std::io::Error),
    /// There is none.
    #[error("no git repository at {place}; `git init --bare` makes one")]
    NoRepository { place: String },
    /// It has a work tree, which pushes would leave behind.
    #[error("the repository at {place} is not bare; `git clone --bare` makes a copy that is")]
    NotBare { place: String },
    /// git is missing, too old, or refused.
    #[error(transparent)]
    Git(#[from] GitFailure),
}

impl OpenError {
    /// Whether the caller is to blame, who asked for a place or a setting that cannot be.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::Config { .. } | Self::NoRepository { .. } | Self::NotBare { .. })
    }

    /// Why git failed that was sent to this place.
    pub(super) fn at(place: &str, failure: GitFailure) -> Self {
        match failure.says_no_repository() {
            true => Self::NoRepository { place: place.to_owned() },
            false => Self::Git(failure),
        }
    }
}

/// Why a change is not in the target, as far as is known.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// The change breaks a rule; permanent.
    #[error("{key}: {field} {rule}")]
    Invalid { key: String, field: &'static str, rule: &'static str },
    /// The target refused the push by a rule of its own (a hook, a protected branch); permanent.
    #[error("the target refused the push: {0}")]
    Rejected(String),
    /// There is no repository at the target; permanent.
    #[error("no repository at the target: {0}")]
    NotARepository(String),
    /// Somebody else pushed first. The change is not in the target; retryable.
    #[error("somebody else pushed first")]
    Conflict,
    /// A git process failed. The change is not in the target; retryable.
    #[error("{0}")]
    Git(String),
    /// The push ended in doubt and the target did not answer whether it has it; retryable: the
    /// next attempt finds the commit, if it is there.
    #[error("unknown whether the target has it: {0}")]
    Unknown(String),
    /// The committer has been closed.
    #[error("the committer is closed")]
    Closed,
}

impl CommitError {
    /// Whether the same change may succeed later.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self, Self::Conflict | Self::Git(_) | Self::Unknown(_))
    }
}

impl From<&GitFailure> for CommitError {
    fn from(failure: &GitFailure) -> Self {
        match failure.says_no_repository() {
            true => Self::NotARepository(failure.to_string()),
            false => Self::Git(failure.to_string()),
        }
    }
}

/// Why a commit could not be shown to hold exactly the files of its change.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    /// The target holds something else; permanent.
    #[error("the target differs: {}", list(.0))]
    Different(Vec<Difference>),
    /// The target doesn't have the commit (any more); retryable.
    #[error("the target has no commit {0}")]
    Missing(String),
    /// The reading process failed; retryable.
    #[error("{0}")]
    Git(String),
    /// The verifier has been closed.
    #[error("the verifier is closed")]
    Closed,
}

impl VerifyError {
    /// Whether asking again may give another answer.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Git(_))
    }
}

/// One file that is not as it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Difference {
    pub(crate) file: String,
    pub(crate) kind: DifferenceKind,
}

/// How a file differs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DifferenceKind {
    /// Wanted, and not there.
    Absent,
    /// There, and not wanted.
    Unexpected,
    /// There, with other bytes.
    Bytes,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            DifferenceKind::Absent => "absent",
            DifferenceKind::Unexpected => "unexpected",
            DifferenceKind::Bytes => "other bytes",
        };
        write!(f, "{} ({what})", self.file)
    }
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(Difference::to_string).collect::<Vec<_>>().join(", ")
}
