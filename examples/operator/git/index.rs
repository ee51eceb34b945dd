//! Which attempt of each key came last: the newest commit of every key. Pure.

use std::collections::HashMap;

use super::change::{Change, CommitId};

/// What the trailers of a commit say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Attempt {
    pub(crate) generation: Option<u64>,
    pub(crate) content: u128,
}

impl Attempt {
    pub(crate) fn of(change: &Change) -> Self {
        Self { generation: change.generation, content: change.content }
    }
}

/// What becomes of a change.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub(crate) enum Plan {
    /// It is the newest commit of its key already.
    Repeats(CommitId),
    /// It is the newest of its key in this group: the commit with this number.
    RepeatsStaged(usize),
    /// It becomes the group's commit with this number.
    Commits(usize),
}

/// The newest commit of every key at the target's head, and the keys of the group on its way.
/// One entry a key of the repository's history: as large as that has keys.
#[derive(Debug, Default)]
pub(crate) struct Index {
    newest: HashMap<String, (Attempt, CommitId)>,
    staged: HashMap<String, (Attempt, usize)>,
    /// Commits in the group.
    group: usize,
}

impl Index {
    /// Decides on one change of the group, seen after all that came before it.
    pub(crate) fn plan(&mut self, change: &Change) -> Plan {
        let (key, attempt) = (change.key(), Attempt::of(change));
        let staged = self.staged.get(&key);
        match staged {
            Some((last, number)) if *last == attempt => return Plan::RepeatsStaged(*number),
            Some(_) => {}
            None => match self.newest.get(&key) {
                Some((last, id)) if *last == attempt => return Plan::Repeats(id.clone()),
                _ => {}
            },
        }
        let number = self.group;
        self.group += 1;
        self.staged.insert(key, (attempt, number));
        Plan::Commits(number)
    }

    /// The group is in the target; `ids` are its commits by number.
    pub(crate) fn landed(&mut self, ids: &[CommitId]) {
        for (key, (attempt, number)) in self.staged.drain() {
            if let Some(id) = ids.get(number) {
                self.newest.insert(key, (attempt, id.clone()));
            }
        }
        self.group = 0;
    }

    /// The group is not in the target.
    pub(crate) fn dropped(&mut self) {
        self.staged.clear();
        self.group = 0;
    }

    /// A commit found in the history, told from the oldest to the newest.
    pub(crate) fn found(&mut self, key: String, attempt: Attempt, id: CommitId) {
        self.newest.insert(key, (attempt, id));
    }

    /// Forgets everything that was found: the history is another one.
    pub(crate) fn clear(&mut self) {
        self.newest.clear();
        self.dropped();
    }
}
