//! Finds the target, and makes the repositories of our own.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::command::Git;
use super::config::RepositoryConfig;
use super::error::OpenError;
use super::target::{Remote, Target};

/// The target, created when it is to be temporary.
pub(super) async fn target(config: &RepositoryConfig, dir: &TempDir) -> Result<Remote, OpenError> {
    match &config.target {
        Target::At(place) => {
            let remote = Remote::new(place, &config.branch);
            if let Some(path) = &remote.local {
                check_bare(path, config.timeout).await?;
            }
            Ok(remote)
        }
        Target::Temporary => {
            let git = create(dir, "target.git", config.timeout).await?;
            Ok(Remote::new(&git.dir().display().to_string(), &config.branch))
        }
    }
}

/// Makes an empty bare repository of our own. It is gone after the run: nothing in it needs to
/// outlive a power cut, and nothing collects garbage meanwhile.
pub(super) async fn create(dir: &TempDir, name: &str, timeout: Duration) -> Result<Git, OpenError> {
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

/// A push into a repository with a work tree would leave that tree behind.
async fn check_bare(path: &Path, timeout: Duration) -> Result<(), OpenError> {
    let place = path.display().to_string();
    if !path.is_dir() {
        return Err(OpenError::NoRepository { place });
    }
    let git = Git::at(path, timeout);
    match git.run("rev-parse", &["rev-parse", "--is-bare-repository"]).await {
        Ok(said) if said.trim() == "true" => Ok(()),
        Ok(_) => Err(OpenError::NotBare { place }),
        Err(failure) => Err(OpenError::at(&place, failure)),
    }
}
