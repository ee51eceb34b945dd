//! Why a document is not where it was to go.

use headworks::pipeline::Ended;
use headworks::{Ending, Reason};
use serde::Serialize;

use crate::intent::NetworkIntent;
use crate::problem::{Fault, Origin, Problem, chain, with_causes};

/// A document that did not end committed or skipped.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Failure {
    pub(crate) file: String,
    pub(crate) document: usize,
    /// Absent when it failed before it had one.
    pub(crate) key: Option<String>,
    /// `invalid`, `refused`, or how the pipeline ended it.
    pub(crate) ending: &'static str,
    pub(crate) phase: Option<&'static str>,
    /// Into the document, or into the answer in the phases that read one.
    pub(crate) pointer: Option<String>,
    /// The broken rule, or what went wrong.
    pub(crate) rule: String,
    /// Whether its author can mend it: only such failures are fine.
    pub(crate) by_content: bool,
    /// Whether its commit may be there all the same.
    pub(crate) indeterminate: bool,
}

impl Failure {
    /// Before it was submitted.
    pub(crate) fn invalid(problem: &Problem) -> Self {
        Self {
            pointer: Some(problem.fault.pointer.clone()),
            rule: problem.fault.rule.to_string(),
            by_content: problem.is_of_the_content(),
            ..Self::of(&problem.origin, "invalid")
        }
    }

    /// By the pipeline, for good.
    pub(crate) fn refused(intent: &NetworkIntent, reason: Reason) -> Self {
        let rule = match reason {
            Reason::Closed => "it came after the request to stop".to_owned(),
            reason => reason.to_string(),
        };
        Self { key: Some(intent.key()), rule, ..Self::of(&intent.origin, "refused") }
    }

    /// After the pipeline had accepted it.
    pub(crate) fn ended<P>(intent: &NetworkIntent, ended: &Ended<P>) -> Self {
        let fault = ended.error().and_then(|error| fault_in(error));
        Self {
            key: Some(intent.key()),
            phase: ended.phase(),
            pointer: fault.map(|fault| fault.pointer.clone()),
            rule: fault.map_or_else(|| why(ended), |fault| fault.rule.to_string()),
            by_content: fault.is_some() && ended.ending() == Ending::Failed,
            indeterminate: ended.is_indeterminate(),
            ..Self::of(&intent.origin, ended.ending().as_str())
        }
    }

    fn of(origin: &Origin, ending: &'static str) -> Self {
        Self {
            file: origin.file.to_string(),
            document: origin.document,
            key: None,
            ending,
            phase: None,
            pointer: None,
            rule: String::new(),
            by_content: false,
            indeterminate: false,
        }
    }
}

/// The broken rule at the bottom of an error, if it is one of ours.
fn fault_in<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Fault> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// Why it ended, in words: with the whole chain of causes of its last error.
fn why<P>(ended: &Ended<P>) -> String {
    match (ended.error().map(|error| with_causes(error)), ended.ending()) {
        (Some(causes), Ending::Failed) => causes,
        (Some(causes), ending) => format!("{}; before that, {causes}", cut_short(ending)),
        (None, ending) => cut_short(ending).to_owned(),
    }
}

/// Why something ended that was not at its end.
fn cut_short(ending: Ending) -> &'static str {
    match ending {
        Ending::Expired => "its deadline passed (--deadline)",
        Ending::Evicted => "it gave its place to something more urgent",
        Ending::Superseded => "a newer document of its key took its place",
        Ending::Returned | Ending::Cancelled => "the time to drain was up (--drain)",
        Ending::Failed | Ending::Completed => "it was cut off",
    }
}
