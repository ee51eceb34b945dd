//! Where the target stands: told by it, or to be asked after a push whose end is unknown.

use super::super::change::CommitId;
use super::super::command::GitFailure;
use super::super::error::CommitError;
use super::super::history::walk;
use super::Committer;

/// Groups remembered whose push ended in doubt and seemed not to have landed.
const MAX_GIVEN_UP: usize = 16;

/// What the committer knows about the target.
#[derive(Debug)]
pub(super) enum Sync {
    /// `head` is the target's head, as far as we were told.
    Known,
    /// The target has to be asked: it moved without us, or a push of these commits ended in doubt.
    InDoubt(Option<Group>),
}

/// The commits of one group, by number.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) keys: Vec<String>,
    pub(super) ids: Vec<CommitId>,
}

/// Whether a group whose push ended in doubt is in the target.
#[derive(Clone, Copy, Debug)]
pub(super) enum Landed {
    /// It is, and nothing came after it.
    AtHead,
    /// It is, and somebody else's commits stand on it.
    BelowHead,
    No,
}

impl Committer {
    /// Nothing more is written until the target was asked. The writing process goes: it stands on
    /// commits that the target may not have.
    pub(super) fn doubt(&mut self, group: Option<Group>) {
        self.writer = None;
        self.sync = Sync::InDoubt(group);
    }

    pub(super) async fn settled(&mut self) -> Result<(), CommitError> {
        match self.sync {
            Sync::Known => Ok(()),
            Sync::InDoubt(_) => self.settle().await.map(drop).map_err(|f| CommitError::from(&f)),
        }
    }

    /// Asks the target where it stands and makes head, index and report say the same.
    pub(super) async fn settle(&mut self) -> Result<Landed, GitFailure> {
        let now = self.remote.head(&self.git).await?;
        let group = match &mut self.sync {
            Sync::InDoubt(group) => group.take(),
            Sync::Known => None,
        };
        let tip = group.as_ref().and_then(|group| group.ids.last().cloned());
        let landed = match self.follow(now, tip.as_ref()).await {
            Ok(landed) => landed,
            Err(failure) => {
                self.sync = Sync::InDoubt(group);
                return Err(failure);
            }
        };
        self.sync = Sync::Known;
        match (landed, group) {
            (Landed::AtHead, Some(group)) => _ = self.landed(group),
            // The walk up to the new head has read the group's own trailers, and later ones.
            (Landed::BelowHead, Some(group)) => {
                self.index.dropped();
                self.account(group.keys, &group.ids);
            }
            (Landed::No, group) => {
                self.index.dropped();
                self.given_up.extend(group);
                if self.given_up.len() > MAX_GIVEN_UP {
                    self.given_up.pop_front();
                }
            }
            (_, None) => self.index.dropped(),
        }
        Ok(landed)
    }

    /// Moves `head` and the index to `now`; tells whether `tip` is part of that history.
    async fn follow(
        &mut self,
        now: Option<CommitId>,
        tip: Option<&CommitId>,
    ) -> Result<Landed, GitFailure> {
        if now == self.head {
            return Ok(Landed::No);
        }
        if now.is_some() && now.as_ref() == tip {
            return Ok(Landed::AtHead);
        }
        let Some(head) = now else {
            self.index.clear();
            self.head = None;
            return Ok(Landed::No);
        };
        self.remote.fetch(&self.git).await?;
        let landed = match tip {
            Some(tip) if self.is_ancestor(tip, &head).await? => Landed::BelowHead,
            _ => Landed::No,
        };
        let range = match self.head.clone() {
            Some(old) if self.is_ancestor(&old, &head).await? => format!("{old}..{head}"),
            _ => {
                self.index.clear();
                head.to_string()
            }
        };
        let (index, given_up, mut late) = (&mut self.index, &self.given_up, Vec::new());
        let found = |key: String, attempt, id: CommitId| {
            if given_up.iter().any(|group| group.ids.contains(&id)) {
                late.push((key.clone(), id.clone()));
            }
            index.found(key, attempt, id);
        };
        walk(&self.git, &range, found).await?;
        self.head = Some(head);
        self.account_late(late);
        Ok(landed)
    }

    /// Commits of given-up groups that are in the target after all.
    fn account_late(&mut self, late: Vec<(String, CommitId)>) {
        let (keys, ids): (Vec<_>, Vec<_>) = late.into_iter().unzip();
        self.account(keys, &ids);
        self.given_up.retain(|group| !group.ids.iter().any(|id| ids.contains(id)));
    }

    async fn is_ancestor(&self, old: &CommitId, new: &CommitId) -> Result<bool, GitFailure> {
        let args = ["merge-base", "--is-ancestor", old.as_str(), new.as_str()];
        match self.git.run("merge-base", &args).await {
            Ok(_) => Ok(true),
            Err(GitFailure::Exit { stderr, .. }) if stderr.is_empty() => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}
