//! Reads and decodes documents on a thread of their own, a little ahead of their use.

use std::io;
use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::document::{Document, Found, read_all};
use crate::formats::{Decoded, Warning, decode};
use crate::generate;
use crate::intent::NetworkIntent;
use crate::problem::{Origin, Problem};

/// Documents that are decoded before somebody wants them.
const AHEAD: usize = 64;

/// Where documents come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A folder, or one file.
    Place(PathBuf),
    Generator {
        count: u64,
        seed: u64,
    },
}

/// One document, decoded.
#[derive(Debug)]
pub(crate) enum Read {
    Intent(Box<NetworkIntent>, Vec<Warning>),
    Skipped { origin: Origin, kind: String },
    Invalid(Problem),
}

/// Documents in order, and the task that reads them; it ends when they do or nobody wants more.
#[derive(Debug)]
pub(crate) struct Reader {
    source: Source,
    documents: mpsc::Receiver<Read>,
    task: JoinHandle<()>,
}

impl Reader {
    /// Starts to read.
    ///
    /// # Errors
    /// The place cannot be listed.
    pub(crate) fn start(source: Source) -> io::Result<Self> {
        let (to, documents) = mpsc::channel(AHEAD);
        let task = match &source {
            Source::Place(place) => {
                let found = read_all(place)?;
                tokio::task::spawn_blocking(move || send(found.map(read), &to))
            }
            Source::Generator { count, seed } => {
                let documents = generate::documents(*count, *seed).map(Found::Document);
                tokio::task::spawn_blocking(move || send(documents.map(read), &to))
            }
        };
        Ok(Self { source, documents, task })
    }

    /// The next document; `None` at the end.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn next(&mut self) -> Option<Read> {
        self.documents.recv().await
    }

    /// How many there will be in all, where that is known before they are read.
    pub(crate) fn total(&self) -> Option<u64> {
        match self.source {
            Source::Place(_) => None,
            Source::Generator { count, .. } => Some(count),
        }
    }

    /// Makes no further documents; those in a folder exist already and are read to the end, so
    /// that each is accounted for.
    pub(crate) fn interrupt(&mut self) {
        if let Source::Generator { .. } = self.source {
            self.documents.close();
        }
    }

    /// Ends the task, whether or not everything was read.
    pub(crate) async fn stop(self) {
        drop(self.documents);
        if let Err(panic) = self.task.await {
            std::panic::resume_unwind(panic.into_panic());
        }
    }
}

fn send(documents: impl Iterator<Item = Read>, to: &mpsc::Sender<Read>) {
    for document in documents {
        if to.blocking_send(document).is_err() {
            return;
        }
    }
}

/// Decodes what was found.
pub(crate) fn read(found: Found) -> Read {
    match found {
        Found::Document(document) => decoded(&document),
        Found::Skipped { origin, kind } => Read::Skipped { origin, kind },
        Found::Problem(problem) => Read::Invalid(problem),
    }
}

fn decoded(document: &Document) -> Read {
    match decode(document) {
        Ok(Decoded::Intent(intent, warnings)) => Read::Intent(intent, warnings),
        Ok(Decoded::Skipped(kind)) => Read::Skipped { origin: document.origin.clone(), kind },
        Err(problem) => Read::Invalid(problem),
    }
}
