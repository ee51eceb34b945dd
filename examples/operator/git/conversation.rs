//! A git process that stays: questions on its standard input, answers on its standard output.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, BufWriter};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::task::JoinSet;

use super::command::{Git, GitFailure, read_tail};

/// Bytes in one line of an answer, at most.
const MAX_LINE_BYTES: u64 = 4 << 10;

/// A running process and both ends of the talk with it. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Conversation {
    what: &'static str,
    child: Child,
    timeout: Duration,
    pub(crate) questions: BufWriter<ChildStdin>,
    pub(crate) answers: Answers,
    /// One task that ends with the process: awaited in `failure` and `end`, aborted when dropped.
    stderr: JoinSet<String>,
}

impl Conversation {
    /// Starts `git <what> <args>`.
    pub(crate) fn start(git: &Git, what: &'static str, args: &[&str]) -> Result<Self, GitFailure> {
        let failed = |source| GitFailure::Start { what, source };
        let mut command = git.command();
        command.args(args).stdin(std::process::Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
        };
        let mut reader = JoinSet::new();
        reader.spawn(read_tail(stderr));
        Ok(Self {
            what,
            child,
            timeout: git.timeout(),
            questions: BufWriter::with_capacity(64 << 10, stdin),
            answers: Answers(BufReader::with_capacity(64 << 10, stdout)),
            stderr: reader,
        })
    }

    /// Kills the process and joins `problem` with what it said on stderr.
    pub(crate) async fn failure(mut self, problem: impl ToString) -> GitFailure {
        _ = self.child.start_kill();
        GitFailure::Protocol {
            what: self.what,
            problem: problem.to_string(),
            stderr: rest(self.stderr, self.timeout).await,
        }
    }

    /// Closes the questions and waits until the process has ended by itself.
    ///
    /// # Errors
    /// It ended with a failure, or not in time (and is killed).
    pub(crate) async fn end(self) -> Result<(), GitFailure> {
        let Self { what, mut child, timeout: within, questions, answers, stderr } = self;
        drop((questions, answers));
        let status = match tokio::time::timeout(within, child.wait()).await {
            Err(_) => return Err(GitFailure::TimedOut { what, within }),
            Ok(status) => status.map_err(|source| GitFailure::Start { what, source })?,
        };
        let stderr = rest(stderr, within).await;
        match status.success() {
            true => Ok(()),
            false => Err(GitFailure::Protocol { what, problem: status.to_string(), stderr }),
        }
    }
}

/// What a process said on stderr, once it has ended.
async fn rest(mut stderr: JoinSet<String>, within: Duration) -> String {
    let said = tokio::time::timeout(within, stderr.join_next()).await;
    said.ok().flatten().and_then(Result::ok).unwrap_or_default()
}

/// What the process answers, read in the two shapes git uses: lines and counted bytes.
#[derive(Debug)]
pub(crate) struct Answers(BufReader<ChildStdout>);

impl Answers {
    /// The next line without its end.
    pub(crate) async fn line(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        (&mut self.0).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await?;
        match line.pop() {
            Some(b'\n') => String::from_utf8(line).map_err(std::io::Error::other),
            Some(_) => Err(std::io::Error::other("a line without end")),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Exactly `size` bytes and the line feed behind them.
    pub(crate) async fn bytes(&mut self, size: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        self.0.read_exact(&mut bytes).await?;
        self.0.read_u8().await?;
        Ok(bytes)
    }

    /// Passes over `size` bytes and the line feed behind them.
    pub(crate) async fn skip(&mut self, size: u64) -> std::io::Result<()> {
        let all = size.saturating_add(1);
        let skipped = tokio::io::copy(&mut (&mut self.0).take(all), &mut tokio::io::sink()).await?;
        match skipped == all {
            true => Ok(()),
            false => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
