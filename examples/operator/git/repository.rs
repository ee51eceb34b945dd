//! The handle that phases hold, and the owner of the tasks behind it.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::change::{Change, CommitId, is_file_name};
use super::command::Git;
use super::committer::{self, Committer};
use super::error::{CommitError, OpenError, VerifyError};
use super::fast_import::Place;
use super::memory::Memory;
use super::target::{Remote, Target};
use super::verifier::{self, Verifier};

/// Where commits go and how many may wait.
#[derive(Clone, Debug)]
pub(crate) struct RepositoryConfig {
    /// Default: a temporary bare repository, removed at the end.
    pub(crate) target: Target,
    /// Default: `main`.
    pub(crate) branch: String,
    /// The folder that holds the intents' folders; components of `[A-Za-z0-9._-]`. Default:
    /// `deploy`.
    pub(crate) deploy_path: String,
    /// Changes (and, apart, verifications) that may wait. Default: 1,024.
    pub(crate) queue_capacity: usize,
    /// Commits in one push, at most. Default: 1,024.
    pub(crate) group_limit: usize,
    /// The longest run of one git command. Default: 30 s.
    pub(crate) timeout: Duration,
}

impl Default for RepositoryConfig {
    fn default() -> Self {
        Self {
            target: Target::Temporary,
            branch: "main".to_owned(),
            deploy_path: "deploy".to_owned(),
            queue_capacity: 1_024,
            group_limit: 1_024,
            timeout: Duration::from_secs(30),
        }
    }
}

impl RepositoryConfig {
    fn check(&self) -> Result<(), OpenError> {
        let components = |path: &str| (path.len() <= 256) && path.split('/').all(is_file_name);
        let unless = |ok: bool, field, was: &dyn ToString, rule| match ok {
            true => Ok(()),
            false => Err(OpenError::Config { field, was: was.to_string(), rule }),
        };
        let named = "names of letters, digits, '.', '_' and '-', joined by '/'";
        unless(components(&self.deploy_path), "deploy_path", &self.deploy_path, named)?;
        unless(components(&self.branch), "branch", &self.branch, named)?;
        unless(self.queue_capacity > 0, "queue_capacity", &0, "at least 1")?;
        unless(self.group_limit > 0, "group_limit", &0, "at least 1")
    }
}

/// What one run put into the target.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Exactly the commits of this run that are in the target, in order. Not kept in memory mode.
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

/// One commit of this run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Committed {
    pub(crate) id: CommitId,
    pub(crate) key: String,
}

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
    /// [`OpenError`]: a setting out of range, no git on the path, no repository at the target.
    pub(crate) async fn open(
        config: RepositoryConfig,
    ) -> Result<(Self, RepositoryTasks), OpenError> {
        config.check()?;
        let dir = tempfile::Builder::new().prefix("operator-").tempdir();
        let dir = dir.map_err(OpenError::Directory)?;
        let remote = target(&config, &dir).await?;
        let staging = create(&dir, "staging", config.timeout).await?;
        let place = Place { branch: config.branch, deploy_path: config.deploy_path.clone() };
        let committer =
            Committer::start(staging, remote.clone(), place, config.group_limit).await?;
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
        tasks.spawn(end_with_report(committer.run(changes, closing.clone())));
        let verifier = verifier.run(checks, closing.clone());
        tasks.spawn(async move {
            verifier.await;
            None
        });
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
    Git { tasks: JoinSet<Option<Report>>, closing: CancellationToken, _dir: TempDir },
    Memory(Arc<Inner>),
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
                let mut report = Report::default();
                while let Some(ended) = tasks.join_next().await {
                    match ended {
                        Ok(Some(committers)) => report = committers,
                        Ok(None) => {}
                        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                    }
                }
                report
            }
        }
    }
}

async fn end_with_report(run: impl Future<Output = Report>) -> Option<Report> {
    Some(run.await)
}

/// The target, created when it is to be temporary.
async fn target(config: &RepositoryConfig, dir: &TempDir) -> Result<Remote, OpenError> {
    match &config.target {
        Target::At(place) => Ok(Remote::new(place, &config.branch)),
        Target::Temporary => {
            let git = create(dir, "target.git", config.timeout).await?;
            Ok(Remote::new(&git.dir().display().to_string(), &config.branch))
        }
    }
}

/// Makes an empty bare repository of our own. It is gone after the run: nothing in it needs to
/// outlive a power cut, and nothing collects garbage meanwhile.
async fn create(dir: &TempDir, name: &str, timeout: Duration) -> Result<Git, OpenError> {
    let path = dir.path().join(name);
    std::fs::create_dir(&path).map_err(OpenError::Directory)?;
    let git = Git::at(&path, timeout);
    git.run("init", &["init", "--quiet", "--bare", "."]).await?;
    for (name, value) in [("gc.auto", "0"), ("core.fsync", "none"), ("fastimport.unpackLimit", "1")]
    {
        git.run("config", &["config", name, value]).await?;
    }
    Ok(git)
}
