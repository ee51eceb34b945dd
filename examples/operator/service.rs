//! The operator that runs on: it takes what comes until it is asked to stop, and drains.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headworks::Ending;
use headworks::intake::http::{HttpIntake, HttpIntakeReport, HttpIntakeSnapshot};
use headworks::intake::{DirectoryWatcher, WatchReport, WatchSnapshot, Watching};
use headworks::pipeline::{Outcome, Outcomes, RestoreError, Restored, Resumed, SetAside};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cli::Options;
use crate::clock::now;
use crate::exporter::{Exporter, Numbers};
use crate::git::CommitId;
use crate::intake::Documents;
use crate::intent::NetworkIntent;
use crate::parts::{Parts, Watched};
use crate::problem::with_causes;
use crate::start_error::StartError;
use crate::stopped::Stopped;
use crate::submit::Pipeline;
use crate::tokens;

/// Beyond the time of a drain: for files that are put away, and for clients that read how theirs
/// ended.
const LAST_MOVES: Duration = Duration::from_secs(2);

/// And for the push that is under way.
const LAST_PUSH: Duration = Duration::from_secs(2);

/// Endings that may wait to be told.
const UNTOLD: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// An intent of an earlier life.
type Kept = Resumed<Arc<NetworkIntent>, CommitId>;

/// Everything that runs until it is stopped.
pub(crate) struct Service {
    parts: Parts,
    watching: Option<Arc<Watching>>,
    intake: Option<HttpIntake>,
    exporter: Option<Exporter>,
    teller: JoinHandle<()>,
    /// What is watched.
    folder: Option<PathBuf>,
    /// Intents that an earlier life had accepted, and not ended.
    went_on: usize,
    /// Whether what has not ended outlives it.
    is_kept: bool,
    drain: Duration,
    started: Instant,
}

impl Service {
    /// Takes intents from now on.
    ///
    /// # Errors
    /// A part cannot begin, or one of the places cannot be used.
    pub(crate) async fn start(options: &Options) -> Result<Self, StartError> {
        let parts = Parts::open(options).await?;
        let pipeline = &parts.pipeline;
        let teller = tokio::spawn(tell(pipeline.outcomes(UNTOLD)));
        let resumed = go_on(pipeline).await?;
        let went_on = resumed.len();
        let documents = Documents { deadline: options.deadline() };
        let watching = match &options.watch {
            Some(_) => {
                let watcher = DirectoryWatcher::new(options.rooms.watch.clone())?;
                let watching = watcher.start_resumed(pipeline.clone(), documents.clone(), resumed);
                Some(Arc::new(watching?))
            }
            // Nobody waits for their ends, and they go on all the same.
            None => None,
        };
        let intake = match options.serve {
            Some(at) => Some(listen(options, at, pipeline, documents).await?),
            None => None,
        };
        let exporter = match options.metrics {
            Some(at) => {
                let (rooms, files, requests) =
                    (parts.watched.clone(), watching.clone(), intake.clone());
                let say = move || numbers(&rooms, files.as_deref(), requests.as_ref());
                let begun = Exporter::start(at, say).await;
                Some(begun.map_err(|source| StartError::Metrics { at, source })?)
            }
            None => None,
        };
        let folder = options.watch.clone().filter(|_| watching.is_some());
        let (drain, started) = (options.drain, now());
        let is_kept = options.state.is_some();
        Ok(Self {
            parts,
            watching,
            intake,
            exporter,
            teller,
            folder,
            went_on,
            is_kept,
            drain,
            started,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.intake.as_ref().and_then(HttpIntake::local_addr)
    }

    /// Takes nothing more, finishes within the drain's time what it can, and tells. Meanwhile
    /// tickets can be read, and nobody is told that it is ready.
    pub(crate) async fn stop(self) -> Stopped {
        let Self { parts, watching, intake, exporter, teller, drain, started, is_kept, .. } = self;
        if let Some(watching) = &watching {
            watching.close();
        }
        let drained = parts.pipeline.shutdown(drain).await;
        // The teller ends with the last ending, which what did not yield may never come to. A panic of
        // it has been seen on the terminal.
        let told = timeout(LAST_MOVES, teller);
        let (files, requests, _) = tokio::join!(put_away(watching), hang_up(intake), told);
        if let Some(exporter) = exporter {
            exporter.stop().await;
        }
        let parts = parts.close(LAST_PUSH).await;
        let ran = now().saturating_duration_since(started);
        Stopped { drained, files, requests, parts, is_kept, ran }
    }
}

/// Says where intents come from.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(folder) = &self.folder {
            write!(f, "watching {}", folder.display())?;
        }
        if let Some(address) = self.address() {
            let and = if self.folder.is_some() { ", " } else { "" };
            write!(f, "{and}listening at http://{address}")?;
        }
        if let Some(exporter) = &self.exporter {
            write!(f, ", numbers at http://{}/metrics", exporter.address())?;
        }
        if self.went_on > 0 {
            write!(f, ", going on with {}", self.went_on)?;
        }
        Ok(())
    }
}

/// What an earlier life had accepted goes on. What cannot is said, and stays on the disk.
async fn go_on(pipeline: &Pipeline) -> Result<Vec<Kept>, RestoreError> {
    let Restored { resumed, refused, set_aside, .. } = pipeline.restore().await?;
    for SetAside { place, why, .. } in set_aside {
        eprintln!("warning: set aside {place}: {why}");
    }
    for refused in refused {
        let reason = refused.reason();
        eprintln!("warning: {} cannot go on: {reason}", refused.into_inner().key);
    }
    Ok(resumed)
}

async fn put_away(watching: Option<Arc<Watching>>) -> Option<(WatchSnapshot, WatchReport)> {
    let watching = watching?;
    let report = watching.shutdown(LAST_MOVES).await;
    Some((watching.snapshot(), report))
}

fn numbers(rooms: &Watched, files: Option<&Watching>, requests: Option<&HttpIntake>) -> Numbers {
    let mut numbers = Numbers::default();
    rooms.tell(&mut numbers);
    if let Some(files) = files.map(Watching::snapshot) {
        numbers.add(&files.name, files.metrics());
    }
    if let Some(requests) = requests.map(HttpIntake::snapshot) {
        numbers.add(&requests.name, requests.metrics());
    }
    numbers
}

async fn hang_up(intake: Option<HttpIntake>) -> Option<(HttpIntakeSnapshot, HttpIntakeReport)> {
    let intake = intake?;
    let report = intake.shutdown(LAST_MOVES).await;
    Some((intake.snapshot(), report))
}

async fn listen(
    options: &Options,
    at: SocketAddr,
    pipeline: &Pipeline,
    documents: Documents,
) -> Result<HttpIntake, StartError> {
    let builder = HttpIntake::builder(options.rooms.serve.clone(), pipeline, documents);
    let builder = match &options.token_file {
        Some(file) => builder.bearer(tokens::read(file)?),
        None if at.ip().is_loopback() => builder,
        None => {
            eprintln!("warning: whoever can reach {at} can submit intents (no --token-file)");
            builder
        }
    };
    Ok(builder.bind().await?)
}

/// Names each run that did not complete, on standard error.
async fn tell(mut outcomes: Outcomes<CommitId>) {
    while let Some(outcome) = outcomes.next().await {
        if outcome.ending != Ending::Completed {
            eprintln!("operator: {}", line(&outcome));
        }
    }
    if outcomes.missed() > 0 {
        eprintln!("operator: {} endings came too fast to be told", outcomes.missed());
    }
}

fn line(outcome: &Outcome<CommitId>) -> String {
    let phase = outcome.phase.map_or_else(String::new, |phase| format!(" in {phase}"));
    let why = outcome.failure.as_deref().map(|failure| format!(": {}", with_causes(failure)));
    let doubt = if outcome.indeterminate { ", and its commit may be there or not" } else { "" };
    format!("{} {}{phase}{}{doubt}", outcome.key, outcome.ending, why.unwrap_or_default())
}

#[cfg(test)]
mod killed;
#[cfg(test)]
mod load;
#[cfg(test)]
mod tests;
