//! The handle that phases hold, and the owner of the tasks behind it.

use std::collections::HashSet;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::change::{Change, CommitId};
use super::command::Git;
use super::committer::{self, Committer};
use super::config::RepositoryConfig;
use super::error::{CommitError, OpenError, VerifyError};
use super::fast_import::Place;
use super::memory::Memory;
use super::open::{create, target};
use super::report::Report;
use super::verifier::{self, Verifier};

/// Commits changes and reads them back. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Repository(Arc<Inner>);

#[derive(Debug)]
enum Inner {
    Git {
        to: mpsc::Sender<committer::Request>,
        verify: mpsc::Sender<verifier::Request>,
        url: String,
    },
    Memory(Memory),
}

impl Repository {
    /// Opens the target, reads its history once, and starts the committer and the verifier.
    ///
    /// # Errors
    /// [`OpenError`]: a setting out of range, no git on the path, no bare repository at the target.
    pub(crate) async fn open(
        config: RepositoryConfig,
    ) -> Result<(Self, RepositoryTasks), OpenError> {
        config.check()?;
        let dir = tempfile::Builder::new().prefix("operator-").tempdir();
        let dir = dir.map_err(OpenError::Directory)?;
        let remote = target(&config, &dir).await?;
        let staging = create(&dir, "staging", config.timeout).await?;
        let place = Place { branch: config.branch, deploy_path: config.deploy_path.clone() };
        let (group, listed) = (config.group_limit, config.listed);
        let committer = Committer::start(staging, remote.clone(), place, group, listed).await;
        let committer = committer.map_err(|failure| OpenError::at(&remote.url, failure))?;
        let verifier = match &remote.local {
            Some(path) => Verifier::new(Git::at(path, config.timeout), None, config.deploy_path),
            None => {
                let mirror = create(&dir, "mirror", config.timeout).await?;
                Verifier::new(mirror, Some(remote.clone()), config.deploy_path)
            }
        };
        let (to, changes) = mpsc::channel(config.queue_capacity);
        let (verify, checks) = mpsc::channel(config.queue_capacity);
        let (closing, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let committer = committer.run(changes, closing.clone());
        tasks.spawn(async move { Ended::Committer(committer.await) });
        let verifier = verifier.listing(listed).run(checks, closing.clone());
        tasks.spawn(async move { Ended::Verifier(verifier.await) });
        let inner = Arc::new(Inner::Git { to, verify, url: remote.url });
        let tasks = Tasks::Git { tasks, closing, _dir: dir };
        Ok((Self(inner), RepositoryTasks(tasks)))
    }

    /// The twin without git, for load runs.
    ///
    /// # Errors
    /// A setting is out of range.
    pub(crate) fn in_memory(
        config: &RepositoryConfig,
    ) -> Result<(Self, RepositoryTasks), OpenError> {
        config.check()?;
        let inner = Arc::new(Inner::Memory(Memory::new()));
        Ok((Self(Arc::clone(&inner)), RepositoryTasks(Tasks::Memory(inner))))
    }

    /// Commits a change; answers when the target has it. Waits for a place in the queue.
    ///
    /// # Errors
    /// [`CommitError`], which says whether another attempt can help.
    ///
    /// # Cancel safety
    /// Dropped, the change is committed or not; [`Report::commits`] tells.
    pub(crate) async fn commit(&self, change: Change) -> Result<CommitId, CommitError> {
        change.check()?;
        match &*self.0 {
            Inner::Memory(memory) => memory.commit(change),
            Inner::Git { to, .. } => {
                let (reply, answer) = oneshot::channel();
                let request = committer::Request { change, reply };
                to.send(request).await.map_err(|_| CommitError::Closed)?;
                answer.await.map_err(|_| CommitError::Closed)?
            }
        }
    }

    /// Reads the commit back from the target and compares the change's folder, byte for byte.
    ///
    /// # Errors
    /// [`VerifyError`], which says whether another attempt can help.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn verify(
        &self,
        commit: &CommitId,
        change: &Change,
    ) -> Result<(), VerifyError> {
        match &*self.0 {
            Inner::Memory(memory) => memory.verify(commit, change),
            Inner::Git { verify, .. } => {
                let (reply, answer) = oneshot::channel();
                let (commit, key, files) = (commit.clone(), change.key(), change.files.clone());
                let request = verifier::Request { commit, key, files, reply };
                verify.send(request).await.map_err(|_| VerifyError::Closed)?;
                answer.await.map_err(|_| VerifyError::Closed)?
            }
        }
    }

    /// Where the commits go: a URL, or `memory`.
    pub(crate) fn target(&self) -> &str {
        match &*self.0 {
            Inner::Memory(_) => "memory",
            Inner::Git { url, .. } => url,
        }
    }
}

/// Owns the committer's and the verifier's task. Dropped without [`close`](Self::close), it aborts
/// both, which kills their processes.
#[derive(Debug)]
pub(crate) struct RepositoryTasks(Tasks);

#[derive(Debug)]
enum Tasks {
    Git { tasks: JoinSet<Ended>, closing: CancellationToken, _dir: TempDir },
    Memory(Arc<Inner>),
}

/// What a task leaves.
#[derive(Debug)]
enum Ended {
    Committer(Report),
    /// The commits that were read back and found right.
    Verifier(HashSet<CommitId>),
}

impl RepositoryTasks {
    /// Ends both tasks and their processes, after what was accepted, and tells what was committed.
    /// Later calls of the handle answer `Closed`. Temporary repositories are removed.
    pub(crate) async fn close(self) -> Report {
        match self.0 {
            Tasks::Memory(inner) => match &*inner {
                Inner::Memory(memory) => memory.close(),
                Inner::Git { .. } => Report::default(),
            },
            Tasks::Git { mut tasks, closing, _dir } => {
                closing.cancel();
                let (mut report, mut verified) = (Report::default(), HashSet::new());
                while let Some(ended) = tasks.join_next().await {
                    match ended {
                        Ok(Ended::Committer(its)) => report = its,
                        Ok(Ended::Verifier(its)) => verified = its,
                        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                    }
                }
                report.verify(&verified);
                report
            }
        }
    }
}
