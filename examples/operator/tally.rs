//! Counts every document exactly once, by how it ended.

use std::collections::BTreeMap;
use std::path::PathBuf;

use headworks::pipeline::{Done, Ended, Trace};
use headworks::{Ending, Priority, Reason};
use serde::Serialize;

use crate::failure::Failure;
use crate::formats::Warning;
use crate::git::CommitId;
use crate::intent::NetworkIntent;
use crate::latency::Latencies;
use crate::problem::{Origin, Problem};

/// How every document ended.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) skipped: Vec<Skipped>,
    /// Failed before it was submitted.
    pub(crate) invalid: u64,
    /// By the pipeline, and ended.
    pub(crate) accepted: u64,
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Of the accepted.
    pub(crate) endings: BTreeMap<&'static str, u64>,
    /// Lowest priority first, as in [`Priority::ALL`].
    pub(crate) classes: [Class; 4],
    pub(crate) failures: Vec<Failure>,
    pub(crate) warnings: Vec<Warning>,
    /// Documents that were to be generated, and were not, because somebody asked to stop.
    pub(crate) not_submitted: u64,
}

/// A document that is no intent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Skipped {
    pub(crate) file: String,
    pub(crate) document: usize,
    pub(crate) kind: String,
}

/// The times of one priority.
#[derive(Debug, Default)]
pub(crate) struct Class {
    /// In line, in backoff, before a closed gate.
    pub(crate) wait: Latencies,
    /// From acceptance to the end.
    pub(crate) total: Latencies,
}

impl Tally {
    /// Documents that have ended: each is in exactly one of the four.
    pub(crate) fn documents(&self) -> u64 {
        self.skipped.len() as u64 + self.invalid + self.accepted + self.refused()
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    pub(crate) fn committed(&self) -> u64 {
        self.endings.get(Ending::Completed.as_str()).copied().unwrap_or(0)
    }

    pub(crate) fn skip(&mut self, origin: &Origin, kind: String) {
        let (file, document) = (origin.file.to_string(), origin.document);
        self.skipped.push(Skipped { file, document, kind });
    }

    pub(crate) fn invalid(&mut self, problem: &Problem) {
        self.invalid += 1;
        self.failures.push(Failure::invalid(problem));
    }

    pub(crate) fn refuse(&mut self, intent: &NetworkIntent, reason: Reason) {
        *self.refused.entry(reason.as_str()).or_default() += 1;
        self.failures.push(Failure::refused(intent, reason));
    }

    pub(crate) fn complete(&mut self, intent: &NetworkIntent, done: &Done<CommitId>) {
        self.end(intent.priority, Ending::Completed, &done.trace);
    }

    pub(crate) fn fail<P>(&mut self, intent: &NetworkIntent, ended: &Ended<P>) {
        self.end(intent.priority, ended.ending(), ended.trace());
        self.failures.push(Failure::ended(intent, ended));
    }

    fn end(&mut self, priority: Priority, ending: Ending, trace: &Trace) {
        self.accepted += 1;
        *self.endings.entry(ending.as_str()).or_default() += 1;
        let class = Priority::ALL.iter().position(|&class| class == priority).unwrap_or(0);
        let class = &mut self.classes[class];
        let waited = trace.phases.iter().map(|phase| phase.waited).sum();
        class.wait.record(if trace.phases.is_empty() { trace.queued } else { waited });
        class.total.record(trace.total);
    }

    /// Brings the failures from the order in which they happened into one that is the same in
    /// every run: first those that are their authors' business, then the rest.
    pub(crate) fn sort(&mut self) {
        let place = |failure: &Failure| (!failure.by_content, failure.ending);
        let name = |failure: &Failure| (PathBuf::from(&failure.file), failure.document);
        self.failures.sort_by_cached_key(|failure| (place(failure), name(failure)));
    }

    /// Whether everything ended committed, skipped, or failed by its own content.
    pub(crate) fn is_clean(&self) -> bool {
        self.not_submitted == 0 && self.failures.iter().all(|failure| failure.by_content)
    }

    /// Whether nothing was even meant to be an intent.
    pub(crate) fn has_nothing_to_do(&self) -> bool {
        self.documents() == self.skipped.len() as u64 && self.not_submitted == 0
    }
}
