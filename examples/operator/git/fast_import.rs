//! Commits go into the staging repository through one `git fast-import` that stays.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::change::{Change, CommitId, folder};
use super::command::{Git, GitFailure};
use super::conversation::Conversation;

/// Where commits are added: the branch, and the folder that holds the intents' folders.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) branch: String,
    pub(crate) deploy_path: String,
}

/// The writing process, and the commit the next one stands on.
#[derive(Debug)]
pub(crate) struct FastImport {
    talk: Conversation,
    place: Place,
    timeout: Duration,
    /// Said with the first commit only: later ones follow their predecessor by themselves.
    from: Option<CommitId>,
    groups: u64,
}

impl FastImport {
    /// Starts the process; the next commit stands on `head` (`None`: it is the first of all).
    pub(crate) fn start(
        git: &Git,
        place: Place,
        head: Option<CommitId>,
    ) -> Result<Self, GitFailure> {
        // `--force`: after a failed push the branch here is ahead of the target and moves back.
        let args = ["fast-import", "--quiet", "--done", "--force", "--date-format=raw"];
        let talk = Conversation::start(git, "fast-import", &args)?;
        Ok(Self { talk, place, timeout: git.timeout(), from: head, groups: 0 })
    }

    /// Writes one commit a change, in order, and gives their ids. When this returns, the objects
    /// are in a finished pack that another process can read.
    ///
    /// # Errors
    /// The process died, didn't answer in time, or said something unexpected; it is gone then, and
    /// the branch in the staging repository may stand anywhere.
    pub(crate) async fn write(
        mut self,
        changes: &[&Change],
        at: u64,
    ) -> Result<(Self, Vec<CommitId>), GitFailure> {
        match tokio::time::timeout(self.timeout, self.exchange(changes, at)).await {
            Ok(Ok(ids)) => Ok((self, ids)),
            Ok(Err(error)) => Err(self.talk.failure(error).await),
            Err(elapsed) => Err(self.talk.failure(elapsed).await),
        }
    }

    async fn exchange(&mut self, changes: &[&Change], at: u64) -> std::io::Result<Vec<CommitId>> {
        self.groups += 1;
        let (groups, mut from) = (self.groups, self.from.take());
        let (to, answers, place) = (&mut self.talk.questions, &mut self.talk.answers, &self.place);
        // Written and read at once: else a large group fills both pipes and both sides wait.
        let write = async {
            for (change, mark) in changes.iter().zip(1..) {
                put(to, place, change, mark, at, from.take()).await?;
            }
            to.write_all(format!("checkpoint\nprogress {groups}\n").as_bytes()).await?;
            to.flush().await
        };
        let read = async {
            let mut ids = Vec::with_capacity(changes.len());
            for _ in changes {
                let line = answers.line().await?;
                ids.push(CommitId::parse(&line).ok_or_else(|| unexpected(&line))?);
            }
            let line = answers.line().await?;
            match line == format!("progress {groups}") {
                true => Ok(ids),
                false => Err(unexpected(&line)),
            }
        };
        tokio::try_join!(write, read).map(|((), ids)| ids)
    }

    /// Ends the process in good order.
    pub(crate) async fn end(mut self) -> Result<(), GitFailure> {
        let said = async {
            self.talk.questions.write_all(b"done\n").await?;
            self.talk.questions.flush().await
        };
        match said.await {
            Ok(()) => self.talk.end().await,
            Err(error) => Err(self.talk.failure(error).await),
        }
    }
}

fn unexpected(line: &str) -> std::io::Error {
    std::io::Error::other(format!("unexpected answer {line:?}"))
}

/// One commit: the folder's old content goes, the new one comes, nothing else is touched.
async fn put(
    to: &mut (impl AsyncWrite + Unpin),
    place: &Place,
    change: &Change,
    mark: usize,
    at: u64,
    from: Option<CommitId>,
) -> std::io::Result<()> {
    let (message, folder) = (change.message(), folder(&place.deploy_path, &change.key()));
    let mut head = String::with_capacity(512);
    _ = write!(head, "commit refs/heads/{}\nmark :{mark}\n", place.branch);
    _ = writeln!(head, "committer operator <operator@localhost> {at} +0000");
    _ = write!(head, "data {}\n{message}\n", message.len());
    if let Some(from) = from {
        _ = writeln!(head, "from {from}");
    }
    _ = writeln!(head, "D {folder}");
    to.write_all(head.as_bytes()).await?;
    for (name, bytes) in &change.files {
        let line = format!("M 100644 inline {folder}/{name}\ndata {}\n", bytes.len());
        to.write_all(line.as_bytes()).await?;
        to.write_all(bytes).await?;
        to.write_all(b"\n").await?;
    }
    to.write_all(format!("\nget-mark :{mark}\n").as_bytes()).await
}
