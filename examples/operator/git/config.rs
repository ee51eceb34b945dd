//! Where commits go: plain data, checked once.

use std::time::Duration;

use super::change::is_file_name;
use super::error::OpenError;
use super::target::Target;

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
    /// Commits that the report names; beyond, they are only counted. Default: all.
    pub(crate) listed: usize,
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
            listed: usize::MAX,
            timeout: Duration::from_secs(30),
        }
    }
}

impl RepositoryConfig {
    pub(super) fn check(&self) -> Result<(), OpenError> {
        let unless = |ok: bool, field, was: &dyn ToString, rule| match ok {
            true => Ok(()),
            false => Err(OpenError::Config { field, was: was.to_string(), rule }),
        };
        let named = "names of letters, digits, '.', '_' and '-', joined by '/'";
        unless(is_path(&self.deploy_path), "deploy_path", &self.deploy_path, named)?;
        unless(is_branch(&self.branch), "branch", &self.branch, "a name that git allows")?;
        unless(self.queue_capacity > 0, "queue_capacity", &0, "at least 1")?;
        unless(self.group_limit > 0, "group_limit", &0, "at least 1")
    }
}

/// Names with a slash between them, none of which leads anywhere else or is hidden.
pub(crate) fn is_path(text: &str) -> bool {
    text.len() <= 256 && text.split('/').all(is_file_name)
}

/// A path that git takes for a branch's name, too (`git check-ref-format`).
pub(crate) fn is_branch(text: &str) -> bool {
    let is_component = |part: &str| !part.ends_with(".lock") && !part.ends_with('.');
    is_path(text) && !text.contains("..") && text.split('/').all(is_component)
}
