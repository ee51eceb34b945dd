//! How git is called: always in the same clean environment, always with an end.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// Bytes kept of what git says on stderr: its end, where the reason stands.
const STDERR_TAIL_BYTES: usize = 4 << 10;
/// Bytes read of what a short command says; none of them has more to say than a few lines.
const STDOUT_MAX_BYTES: u64 = 1 << 20;
/// Time for what a process has said to arrive after its end.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Variables of the caller that may pass: how to reach a remote host, and where git itself lies.
const PASSED: [&str; 6] = [
    "GIT_ASKPASS",
    "GIT_EXEC_PATH",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_SSL_CAINFO",
];

/// A git command that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitFailure {
    /// git could not be started; is it on the path?
    #[error("cannot start git {what}")]
    Start { what: &'static str, source: std::io::Error },
    /// git ended with a failure.
    #[error("git {what}: {stderr}")]
    Exit { what: &'static str, stdout: String, stderr: String },
    /// git did not end in time and was killed.
    #[error("git {what}: no end within {within:?}")]
    TimedOut { what: &'static str, within: Duration },
    /// git ended, or said something else than its protocol allows.
    #[error("git {what}: {problem} {stderr}")]
    Protocol { what: &'static str, problem: String, stderr: String },
}

impl GitFailure {
    /// Whether git says that there is no repository where it was sent.
    pub(crate) fn says_no_repository(&self) -> bool {
        const WORDS: [&str; 4] = [
            "does not appear to be a git repository",
            "not a git repository",
            "not found",
            "does not exist",
        ];
        matches!(self, Self::Exit { stderr, .. } if WORDS.iter().any(|word| stderr.contains(word)))
    }
}

/// git in one repository.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    dir: PathBuf,
    timeout: Duration,
}

impl Git {
    pub(crate) fn at(dir: impl Into<PathBuf>, timeout: Duration) -> Self {
        Self { dir: dir.into(), timeout }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A command in this repository, not started yet.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("git");
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_foreign(name)) {
            command.env_remove(name);
        }
        command
            .env("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh")
            .env("GIT_AUTHOR_NAME", "operator")
            .env("GIT_AUTHOR_EMAIL", "operator@localhost")
            .env("GIT_COMMITTER_NAME", "operator")
            .env("GIT_COMMITTER_EMAIL", "operator@localhost")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            // git before 2.32 doesn't know GIT_CONFIG_GLOBAL: it finds nothing here either.
            .env("HOME", &self.dir)
            .env("XDG_CONFIG_HOME", &self.dir)
            // What git says is matched in one place (`target.rs`), in English.
            .env("LC_ALL", "C")
            .current_dir(&self.dir)
            .kill_on_drop(true)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(parent) = self.dir.parent() {
            // A directory that is no repository must not be taken for part of one around it.
            command.env("GIT_CEILING_DIRECTORIES", parent);
        }
        command
    }

    /// Runs one command to its end and gives its standard output.
    ///
    /// # Cancel safety
    /// The process is killed when the future is dropped.
    pub(crate) async fn run(
        &self,
        what: &'static str,
        args: &[&str],
    ) -> Result<String, GitFailure> {
        let mut command = self.command();
        command.args(args);
        let child = command.spawn().map_err(|source| GitFailure::Start { what, source })?;
        let ended = tokio::time::timeout(self.timeout, output(child)).await;
        let timed_out = |_| GitFailure::TimedOut { what, within: self.timeout };
        let (success, stdout, stderr) =
            ended.map_err(timed_out)?.map_err(|source| GitFailure::Start { what, source })?;
        match success {
            true => Ok(stdout),
            false => Err(GitFailure::Exit { what, stdout, stderr }),
        }
    }
}

/// Everything a process says, within bounds, and whether it succeeded.
async fn output(mut child: Child) -> std::io::Result<(bool, String, String)> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let read_stdout = async {
        let Some(stdout) = stdout else { return Ok(0) };
        stdout.take(STDOUT_MAX_BYTES).read_to_end(&mut said).await
    };
    let read_stderr = async {
        let Some(stderr) = stderr else { return };
        keep_tail(stderr, &mut complained).await;
    };
    let status = {
        let mut reading = std::pin::pin!(async { tokio::join!(read_stdout, read_stderr).0 });
        tokio::select! {
            biased;
            read = &mut reading => {
                read?;
                child.wait().await?
            }
            status = child.wait() => {
                // A child of its own may hold the pipes open for as long as it likes.
                tokio::time::timeout(LAST_WORDS, reading).await.unwrap_or(Ok(0))?;
                status?
            }
        }
    };
    Ok((status.success(), String::from_utf8_lossy(&said).into_owned(), tail(&complained)))
}

/// Variables of the caller's git session (`GIT_DIR`, injected configuration, traces…) would send
/// our git somewhere else.
fn is_foreign(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("GIT_") && !PASSED.contains(&name))
}

/// The end of what a process said.
fn tail(bytes: &[u8]) -> String {
    let from = bytes.len().saturating_sub(STDERR_TAIL_BYTES);
    String::from_utf8_lossy(&bytes[from..]).trim().to_owned()
}

/// Reads to the end and keeps the last few kilobytes, however much is said.
pub(crate) async fn read_tail(from: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    keep_tail(from, &mut kept).await;
    tail(&kept)
}

async fn keep_tail(mut from: impl AsyncRead + Unpin, kept: &mut Vec<u8>) {
    let mut chunk = [0; 1024];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..read]);
        if kept.len() > 2 * STDERR_TAIL_BYTES {
            kept.drain(..kept.len() - STDERR_TAIL_BYTES);
        }
    }
}
