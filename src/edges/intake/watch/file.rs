//! One file that was taken: its documents, and how far they are. Pure.

use std::ffi::OsStr;
use std::sync::Arc;

use super::folder::Shape;
use super::line::{FileNo, Standing};
use super::names;
use super::status::{DocumentStatus, End, Status, VERSION, Verdict, shown};
use super::take::Hash;
use crate::Intent;
use crate::edges::intake::Rejected;
use crate::ground::quiet::drop_quietly;
use crate::ground::time::Instant;

#[derive(Debug)]
pub(super) struct File<P> {
    /// Its name in `processing`; its own before it is moved there.
    pub(super) claimed: Arc<OsStr>,
    /// When its last change was told.
    pub(super) since: Instant,
    /// It was seen closed, or looked the same twice with time in between.
    pub(super) is_trusted: bool,
    pub(super) stage: Stage,
    pub(super) shape: Option<Shape>,
    pub(super) hash: Option<Hash>,
    /// Why nothing of it is run.
    pub(super) reason: Option<String>,
    pub(super) documents: Vec<Document<P>>,
    /// Files with the same content, that end with it.
    pub(super) twins: Vec<FileNo>,
    pub(super) is_duplicate: bool,
    /// How often it could not be taken, read, or put away, in a row.
    pub(super) failures: u32,
    /// How often it was found changed, in a row.
    pub(super) changes: u32,
}

/// What becomes of it next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Being claimed, or read.
    Taking,
    /// To be read, again, at a certain time.
    Again,
    /// Its documents wait, or run.
    Live,
    /// The same content is live.
    Twin,
    /// Its documents have ended: to be put away.
    Ended,
    /// Being put away.
    Finishing,
}

#[derive(Debug)]
pub(super) struct Document<P> {
    /// `None`: it was no intent.
    pub(super) standing: Option<Standing>,
    pub(super) generation: Option<u64>,
    pub(super) state: State<P>,
}

#[derive(Debug)]
pub(super) enum State<P> {
    /// In the line.
    Waiting(Kept<P>),
    /// To be read again: the pipeline gave its intent to somebody else.
    Lost,
    /// With the pipeline.
    Submitted,
    Ended(End),
}

/// An intent, whose payload is the operator's: a panic in its `Drop` ends nothing here.
#[derive(Debug)]
pub(super) struct Kept<P>(Option<Intent<P>>);

impl<P> Kept<P> {
    pub(super) fn take(mut self) -> Option<Intent<P>> {
        self.0.take()
    }
}

impl<P> From<Intent<P>> for Kept<P> {
    fn from(intent: Intent<P>) -> Self {
        Self(Some(intent))
    }
}

impl<P> Drop for Kept<P> {
    fn drop(&mut self) {
        if let Some(intent) = self.0.take() {
            drop_quietly(intent);
        }
    }
}

impl<P> Document<P> {
    pub(super) fn new(read: Result<Intent<P>, Rejected>) -> Self {
        let rejected = |end| Self { standing: None, generation: None, state: State::Ended(end) };
        match read {
            Ok(intent) => {
                let standing = Standing {
                    key: Arc::clone(&intent.key),
                    tenant: Arc::clone(&intent.tenant),
                    class: intent.priority,
                };
                let generation = intent.generation;
                Self { standing: Some(standing), generation, state: State::Waiting(intent.into()) }
            }
            Err(Rejected::Invalid { pointer, rule }) => rejected(End::Rejected { pointer, rule }),
            Err(Rejected::Skipped { kind }) => rejected(End::Skipped { kind }),
        }
    }

    pub(super) fn end(&self) -> Option<&End> {
        match &self.state {
            State::Ended(end) => Some(end),
            _ => None,
        }
    }

    fn status(&self) -> Option<DocumentStatus> {
        let key = self.standing.as_ref().map(|standing| &*standing.key);
        self.end().map(|end| end.status(key, self.generation))
    }
}

impl<P> File<P> {
    pub(super) fn new(claimed: Arc<OsStr>, since: Instant, is_trusted: bool) -> Self {
        Self {
            claimed,
            since,
            is_trusted,
            stage: Stage::Taking,
            shape: None,
            hash: None,
            reason: None,
            documents: Vec::new(),
            twins: Vec::new(),
            is_duplicate: false,
            failures: 0,
            changes: 0,
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.documents.iter().filter_map(|document| Some(&document.standing.as_ref()?.key))
    }

    /// Whether it has the same documents, as far as that can be seen.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        let about = |it: &Document<P>| it.standing.as_ref().map(|it| Arc::clone(&it.key));
        let (own, others) = (&self.documents, &other.documents);
        own.len() == others.len() && own.iter().map(about).eq(others.iter().map(about))
    }

    pub(super) fn count(&self, is: impl Fn(&State<P>) -> bool) -> usize {
        self.documents.iter().filter(|document| is(&document.state)).count()
    }

    pub(super) fn is_all_ended(&self) -> bool {
        self.documents.iter().all(|document| document.end().is_some())
    }

    /// Whether the same content would come to the same.
    pub(super) fn is_lasting(&self) -> bool {
        self.documents.iter().all(|document| document.end().is_some_and(End::is_lasting))
    }

    pub(super) fn is_rejected(&self) -> bool {
        let rejected = |end: &End| matches!(end, End::Rejected { .. });
        self.documents.iter().any(|document| document.end().is_some_and(rejected))
    }

    /// What is to lie beside it; but for the time of day.
    pub(super) fn status(&self) -> Status {
        let is_failed = self.reason.is_some()
            || self.documents.iter().any(|document| document.end().is_some_and(End::is_failure));
        let hex = |hash: &Hash| hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Status {
            version: VERSION,
            file: shown(names::own_of(&self.claimed).unwrap_or(&self.claimed)),
            state: if is_failed { Verdict::Failed } else { Verdict::Processed },
            bytes: self.shape.map_or(0, |shape| shape.bytes),
            content: self.hash.as_ref().map(hex),
            reason: self.reason.clone(),
            duplicate: self.is_duplicate,
            ended_unix_ms: 0,
            documents: self.documents.iter().filter_map(Document::status).collect(),
        }
    }
}
