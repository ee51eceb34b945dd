//! The one task that writes: it gathers what waits, writes it as one group, pushes once, answers.

mod settle;

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::change::{Change, CommitId, MAX_BYTES};
use super::command::{Git, GitFailure};
use super::error::CommitError;
use super::fast_import::{FastImport, Place};
use super::index::{Index, Plan};
use super::report::{Committed, Report};
use super::target::{PushError, Remote};

use settle::{Group, Landed, Sync};

/// Bytes of files in one group, at most one change more.
const GROUP_BYTES: usize = 16 * MAX_BYTES;

/// One change that waits for its commit, and who waits for it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) change: Change,
    pub(crate) reply: oneshot::Sender<Result<CommitId, CommitError>>,
}

/// The committer's state; it belongs to its task.
#[derive(Debug)]
pub(crate) struct Committer {
    git: Git,
    remote: Remote,
    place: Place,
    group_limit: usize,
    /// Commits that the report names, at most.
    listed: usize,
    head: Option<CommitId>,
    index: Index,
    sync: Sync,
    /// A push that was cut off may still land after the target has said that it did not. Whoever
    /// meets these commits later, in the target's history, adds them to the report.
    given_up: VecDeque<Group>,
    writer: Option<FastImport>,
    report: Report,
}

impl Committer {
    /// Asks the target for its head and reads its whole history once.
    pub(crate) async fn start(
        git: Git,
        remote: Remote,
        place: Place,
        group_limit: usize,
        listed: usize,
    ) -> Result<Self, GitFailure> {
        let mut committer = Self {
            git,
            remote,
            place,
            group_limit,
            listed,
            head: None,
            index: Index::default(),
            sync: Sync::InDoubt(None),
            given_up: VecDeque::new(),
            writer: None,
            report: Report::default(),
        };
        committer.settle().await?;
        Ok(committer)
    }

    /// Serves until `closing`, then what has been accepted before, then ends.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Request>,
        closing: CancellationToken,
    ) -> Report {
        loop {
            let first = tokio::select! {
                biased;
                () = closing.cancelled(), if !inbox.is_closed() => {
                    inbox.close();
                    continue;
                }
                request = inbox.recv() => request,
            };
            let Some(first) = first else { break };
            let group = self.gather(first, &mut inbox);
            self.serve(group).await;
        }
        self.finish().await
    }

    /// Takes what waits now, up to the group's limits. Who has been abandoned is left out.
    fn gather(&mut self, first: Request, inbox: &mut mpsc::Receiver<Request>) -> Vec<Request> {
        let (mut group, mut bytes, mut next) = (Vec::new(), 0, Ok(first));
        while let Ok(request) = next {
            if request.reply.is_closed() {
                self.report.abandoned += 1;
            } else {
                bytes += request.change.bytes();
                group.push(request);
            }
            let full = group.len() >= self.group_limit || bytes >= GROUP_BYTES;
            next = if full { Err(TryRecvError::Empty) } else { inbox.try_recv() };
        }
        group
    }

    /// Brings one group into the target and answers everybody in it.
    async fn serve(&mut self, requests: Vec<Request>) {
        if let Err(error) = self.settled().await {
            return requests.into_iter().for_each(|request| answer(request, Err(error.clone())));
        }
        let plans: Vec<Plan> = requests.iter().map(|r| self.index.plan(&r.change)).collect();
        let ids = self.land(&requests, &plans).await;
        for (request, plan) in requests.into_iter().zip(plans) {
            let number = match plan {
                Plan::Repeats(id) => {
                    self.report.repeated += 1;
                    answer(request, Ok(id));
                    continue;
                }
                Plan::RepeatsStaged(number) => {
                    self.report.repeated += u64::from(ids.is_ok());
                    number
                }
                Plan::Commits(number) => number,
            };
            let id = ids.as_ref().map(|ids| ids.get(number).cloned());
            answer(request, id.map_err(Clone::clone).and_then(|id| id.ok_or_else(lost)));
        }
    }

    /// Writes and pushes the new commits of a group; on success they are in the target.
    async fn land(
        &mut self,
        requests: &[Request],
        plans: &[Plan],
    ) -> Result<Vec<CommitId>, CommitError> {
        let commits = requests.iter().zip(plans);
        let new: Vec<&Change> = commits
            .filter(|(_, plan)| matches!(plan, Plan::Commits(_)))
            .map(|(request, _)| &request.change)
            .collect();
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let ids = match self.write(&new).await {
            Ok(ids) => ids,
            Err(failure) => {
                self.index.dropped();
                return Err(CommitError::from(&failure));
            }
        };
        let group = Group { keys: new.iter().map(|change| change.key()).collect(), ids };
        self.push(group).await
    }

    /// Writes the group into the staging repository, by a new process if the last one is gone.
    async fn write(&mut self, changes: &[&Change]) -> Result<Vec<CommitId>, GitFailure> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => FastImport::start(&self.git, self.place.clone(), self.head.clone())?,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (writer, ids) = writer.write(changes, now).await?;
        self.writer = Some(writer);
        Ok(ids)
    }

    /// Pushes the group, and finds out what became of it if the push did not say so.
    async fn push(&mut self, group: Group) -> Result<Vec<CommitId>, CommitError> {
        let Some(tip) = group.ids.last() else { return Ok(Vec::new()) };
        self.report.pushes += 1;
        match self.remote.push(&self.git, self.head.as_ref(), tip).await {
            Ok(()) => Ok(self.landed(group)),
            Err(PushError::Refused(error)) => {
                self.report.failed_pushes += 1;
                self.index.dropped();
                self.doubt(None);
                // If this fails, the next group asks again before it writes anything.
                _ = self.settle().await;
                Err(error)
            }
            Err(PushError::InDoubt(failure)) => {
                self.report.failed_pushes += 1;
                let ids = group.ids.clone();
                self.doubt(Some(group));
                match self.settle().await {
                    Ok(Landed::AtHead | Landed::BelowHead) => Ok(ids),
                    Ok(Landed::No) => Err(CommitError::from(&failure)),
                    Err(unanswered) => {
                        Err(CommitError::Unknown(format!("{failure}, then {unanswered}")))
                    }
                }
            }
        }
    }

    /// The target has the group.
    fn landed(&mut self, group: Group) -> Vec<CommitId> {
        let Group { keys, ids } = group;
        self.index.landed(&ids);
        self.head = ids.last().cloned();
        self.account(keys, &ids);
        ids
    }

    fn account(&mut self, keys: Vec<String>, ids: &[CommitId]) {
        self.report.committed += ids.len() as u64;
        let commits =
            ids.iter().cloned().zip(keys).map(|(id, key)| Committed { id, key, verified: false });
        let room = self.listed.saturating_sub(self.report.commits.len());
        self.report.commits.extend(commits.take(room));
    }

    /// Asks one last time about pushes in doubt and ends the writing process.
    async fn finish(mut self) -> Report {
        if matches!(self.sync, Sync::InDoubt(Some(_))) || !self.given_up.is_empty() {
            // Unanswered, the group stays in doubt and is reported so.
            _ = self.settle().await;
        }
        if let Some(writer) = self.writer.take() {
            // Everything it wrote has been pushed; a bad end loses nothing.
            _ = writer.end().await;
        }
        if let Sync::InDoubt(Some(group)) = self.sync {
            self.report.unknown = group.keys;
        }
        self.report
    }
}

fn answer(request: Request, with: Result<CommitId, CommitError>) {
    // Nobody may be waiting any more: the commit is in the target and in the report all the same.
    _ = request.reply.send(with);
}

/// Fewer ids than commits: excluded by `FastImport::write`, and no reason to panic.
fn lost() -> CommitError {
    CommitError::Git("a commit without id".to_owned())
}

#[cfg(test)]
mod tests;
