//! One accepted document: where its run is, and what became of it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::SetOnce;

use super::core::Id;
use super::problem::LONGEST_TEXT;
use crate::Ending;
use crate::edges::intake::failure;
use crate::pipeline::{Done, Ended, PhaseTrace, Progress, Stage, Trace};

/// A ticket that can be asked for.
#[derive(Debug)]
pub(super) struct Filed {
    pub(super) id: Id,
    /// Whose request it was.
    pub(super) tenant: Arc<str>,
    pub(super) key: Arc<str>,
    pub(super) generation: Option<u64>,
    pub(super) progress: Progress,
    /// Whether it is on disk, once that is known.
    pub(super) saved: SetOnce<bool>,
    pub(super) ended: SetOnce<Record>,
}

impl Filed {
    /// What `GET /intent/{id}` says.
    pub(super) fn status(&self) -> Vec<u8> {
        serde_json::to_vec(&self.look()).unwrap_or_default()
    }

    pub(super) fn look(&self) -> Status<'_> {
        let Self { id, key, generation, .. } = self;
        let (generation, id) = (*generation, id.to_string());
        let (stage, record) = match self.ended.get() {
            Some(record) => (Named::of(Stage::Over), Some(record)),
            None => (Named::of(self.progress.stage()), None),
        };
        Status { id, key, generation, stage, record }
    }
}

/// A ticket as a document.
#[derive(Debug, Serialize)]
pub(super) struct Status<'a> {
    id: String,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(flatten)]
    stage: Named,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    record: Option<&'a Record>,
}

/// Where a run is, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Named {
    pub(super) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) phase: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempt: Option<u32>,
}

impl Named {
    pub(super) fn of(stage: Stage) -> Self {
        let named = |state| Self { state, phase: None, attempt: None };
        match stage {
            Stage::Queued => named("queued"),
            Stage::Running { phase, attempt, .. } => {
                Self { state: "running", phase: Some(phase), attempt: Some(attempt) }
            }
            Stage::Waiting { phase, attempts, .. } => Self {
                state: "waiting",
                phase: Some(phase),
                attempt: Some(attempts).filter(|attempts| *attempts > 0),
            },
            Stage::Undoing => named("undoing"),
            _ => named("ended"),
        }
    }
}

/// What became of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Record {
    ending: &'static str,
    /// The phase in which it ended, unless it completed.
    #[serde(rename = "ended_in", skip_serializing_if = "Option::is_none")]
    phase: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    indeterminate: bool,
    queued_ms: f64,
    total_ms: f64,
    phases: Vec<PhaseRecord>,
}

#[derive(Clone, Debug, Serialize)]
struct PhaseRecord {
    name: &'static str,
    attempts: u32,
    waited_ms: f64,
    ran_ms: f64,
}

impl Record {
    pub(super) fn of<P, O>(ending: &Result<Done<O>, Ended<P>>) -> Self {
        match ending {
            Ok(done) => Self::new(Ending::Completed, &done.trace),
            Err(ended) => Self {
                phase: ended.phase(),
                error: ended.error().map(|error| failure::told(error, LONGEST_TEXT)),
                indeterminate: ended.is_indeterminate(),
                ..Self::new(ended.ending(), ended.trace())
            },
        }
    }

    fn new(ending: Ending, trace: &Trace) -> Self {
        Self {
            ending: ending.as_str(),
            phase: None,
            error: None,
            indeterminate: false,
            queued_ms: ms(trace.queued),
            total_ms: ms(trace.total),
            phases: trace.phases.iter().map(PhaseRecord::of).collect(),
        }
    }

    /// How many phases were reached.
    pub(super) fn reached(&self) -> usize {
        self.phases.len()
    }

    pub(super) fn is_completed(&self) -> bool {
        self.ending == Ending::Completed.as_str()
    }
}

impl PhaseRecord {
    fn of(phase: &PhaseTrace) -> Self {
        let PhaseTrace { name, attempts, waited, ran, .. } = *phase;
        Self { name, attempts, waited_ms: ms(waited), ran_ms: ms(ran) }
    }
}

/// Milliseconds, to the microsecond.
fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}
