//! The twin of the repository for load runs: the same answers, nothing behind them.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;

use super::change::{Change, CommitId};
use super::error::{CommitError, Difference, DifferenceKind, VerifyError};
use super::index::Attempt;
use super::report::Report;

/// Commits kept for verification and for recognising a repeated attempt. Older ones are forgotten:
/// a load run of any length takes the same memory.
const KEPT: usize = 4_096;

/// A repository that remembers its last few thousand commits.
#[derive(Debug)]
pub(crate) struct Memory {
    state: Mutex<State>,
    kept: usize,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    committed: u64,
    repeated: u64,
    commits: HashMap<CommitId, Stored>,
    newest: HashMap<String, CommitId>,
    order: VecDeque<CommitId>,
}

#[derive(Debug)]
struct Stored {
    key: String,
    attempt: Attempt,
    files: BTreeMap<String, Bytes>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self::keeping(KEPT)
    }

    pub(crate) fn keeping(kept: usize) -> Self {
        Self { state: Mutex::default(), kept }
    }

    /// Stores the change, or answers the commit it repeats.
    pub(crate) fn commit(&self, change: Change) -> Result<CommitId, CommitError> {
        let (key, attempt) = (change.key(), Attempt::of(&change));
        let state = &mut *self.state.lock();
        if state.closed {
            return Err(CommitError::Closed);
        }
        if let Some(id) = state.newest.get(&key)
            && state.commits.get(id).is_some_and(|stored| stored.attempt == attempt)
        {
            state.repeated += 1;
            return Ok(id.clone());
        }
        state.committed += 1;
        let id = CommitId::numbered(state.committed);
        state.newest.insert(key.clone(), id.clone());
        state.order.push_back(id.clone());
        state.commits.insert(id.clone(), Stored { key, attempt, files: change.files });
        if state.order.len() > self.kept {
            state.forget_oldest();
        }
        Ok(id)
    }

    /// Compares with what was stored.
    pub(crate) fn verify(&self, commit: &CommitId, change: &Change) -> Result<(), VerifyError> {
        let state = self.state.lock();
        if state.closed {
            return Err(VerifyError::Closed);
        }
        let stored = state.commits.get(commit).filter(|stored| stored.key == change.key());
        let Some(stored) = stored else {
            return Err(VerifyError::Missing(commit.to_string()));
        };
        match differences(&change.files, &stored.files) {
            found if found.is_empty() => Ok(()),
            found => Err(VerifyError::Different(found)),
        }
    }

    pub(crate) fn close(&self) -> Report {
        let mut state = self.state.lock();
        state.closed = true;
        Report { committed: state.committed, repeated: state.repeated, ..Report::default() }
    }
}

impl State {
    fn forget_oldest(&mut self) {
        let Some(id) = self.order.pop_front() else { return };
        let Some(stored) = self.commits.remove(&id) else { return };
        if self.newest.get(&stored.key) == Some(&id) {
            self.newest.remove(&stored.key);
        }
    }
}

fn differences(
    wanted: &BTreeMap<String, Bytes>,
    stored: &BTreeMap<String, Bytes>,
) -> Vec<Difference> {
    let wanted_side = wanted.iter().filter_map(|(file, bytes)| match stored.get(file) {
        None => Some((file, DifferenceKind::Absent)),
        Some(other) => (other != bytes).then_some((file, DifferenceKind::Bytes)),
    });
    let unexpected = stored.keys().filter(|file| !wanted.contains_key(*file));
    let unexpected = unexpected.map(|file| (file, DifferenceKind::Unexpected));
    let all = wanted_side.chain(unexpected);
    all.map(|(file, kind)| Difference { file: file.clone(), kind }).collect()
}
