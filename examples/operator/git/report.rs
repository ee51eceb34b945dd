//! What became of everything that was to be committed.

use std::collections::HashSet;

use super::change::CommitId;

/// What one run put into the target.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Exactly the commits of this run that are in the target, in order, as many as are
    /// listed. Not kept in memory mode.
    pub(crate) commits: Vec<Committed>,
    /// How many they are.
    pub(crate) committed: u64,
    /// Repeated attempts that were answered with a commit that existed.
    pub(crate) repeated: u64,
    /// Pushes, and how many of them failed.
    pub(crate) pushes: u64,
    pub(crate) failed_pushes: u64,
    /// Changes whose callers had gone before they were begun: not committed.
    pub(crate) abandoned: u64,
    /// Keys of a last push of which the target did not say whether it has it.
    pub(crate) unknown: Vec<String>,
}

impl Report {
    /// Notes which of the commits were read back and found right.
    pub(super) fn verify(&mut self, verified: &HashSet<CommitId>) {
        for commit in &mut self.commits {
            commit.verified = verified.contains(&commit.id);
        }
    }

    /// Commits that are in the target though nobody has read them back. None in memory mode.
    pub(crate) fn unverified(&self) -> impl Iterator<Item = &Committed> {
        self.commits.iter().filter(|commit| !commit.verified)
    }
}

/// One commit of this run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Committed {
    pub(crate) id: CommitId,
    pub(crate) key: String,
    /// Whether it was read back and found to hold what it should.
    pub(crate) verified: bool,
}
