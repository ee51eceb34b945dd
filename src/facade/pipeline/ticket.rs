//! What a submitter holds: the promise of an ending.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::checkpoints::Saving;
use super::intent::Intent;
use super::outcomes::Outcome;
use super::phase::PhaseError;
use super::run::RunId;
use super::shared::Shared;
use super::stage::Progress;
use super::trace::Trace;
use crate::Ending;
use crate::ground::handoff::Handoff;

pub(super) type Promise<P, O> = Handoff<Result<Done<O>, Ended<P>>>;

/// The promise of an ending, one per accepted intent. Await it for the result.
///
/// Dropping it detaches: the intent goes on, and its result is dropped. A detached ticket stays
/// interested, so it keeps a shared run from being cancelled.
///
/// # Cancel safety
/// Awaiting `&mut ticket` loses nothing. The result is given once; a ticket polled again after
/// that stays pending.
#[must_use = "dropping it detaches: nobody hears of the ending"]
pub struct Ticket<P: Send + Sync + 'static, O: Send + Sync + 'static> {
    pub(super) promise: Arc<Promise<P, O>>,
    shared: Arc<Shared<P, O>>,
    run: RunId,
    /// Names this ticket among those of the run, and of the versions it replaced.
    number: u64,
    pub(super) cancels: bool,
    /// With checkpoints: whether the run is on disk.
    #[cfg_attr(not(feature = "json"), expect(dead_code, reason = "it is never there"))]
    pub(super) saving: Option<Saving>,
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Ticket<P, O> {
    pub(super) fn new(
        promise: Arc<Promise<P, O>>,
        shared: Arc<Shared<P, O>>,
        run: RunId,
        number: u64,
        saving: Option<Saving>,
    ) -> Self {
        Self { promise, shared, run, number, cancels: false, saving }
    }

    /// Gives up: this ticket ends [`Ending::Cancelled`], and the run with it when it was the
    /// last one interested.
    ///
    /// A waiting run ends at once, a running one at its next await point, a critical attempt at
    /// its end or the end of its grace. Nothing happens if it has ended already.
    pub fn cancel(&self) {
        self.shared.cancel(self.run, self.number);
    }

    /// Follows its run through the phases.
    ///
    /// # Cost
    /// Nothing to speak of before somebody asks the [`Progress`].
    #[must_use]
    pub fn progress(&self) -> Progress {
        let shared: Arc<Shared<P, O>> = Arc::clone(&self.shared);
        Progress::new(shared, self.run, self.number)
    }

    /// From now on dropping the ticket cancels it.
    pub fn cancel_on_drop(mut self) -> Self {
        self.cancels = true;
        self
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Future for Ticket<P, O> {
    type Output = Result<Done<O>, Ended<P>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.promise.poll(cx)
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Drop for Ticket<P, O> {
    fn drop(&mut self) {
        // First out: what comes back from a cancel is for a ticket that is still held.
        let unread = self.promise.leave();
        if self.cancels {
            self.cancel();
        }
        drop(unread);
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> fmt::Debug for Ticket<P, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A completed intent.
#[derive(Debug)]
#[non_exhaustive]
pub struct Done<O> {
    /// What the last phase made; shared by all tickets of the run.
    pub output: Arc<O>,
    /// How the time was spent.
    pub trace: Trace,
}

impl<O> Clone for Done<O> {
    fn clone(&self) -> Self {
        Self { output: Arc::clone(&self.output), trace: self.trace.clone() }
    }
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The phase said so.
    #[error(transparent)]
    Phase(#[from] PhaseError),
    /// The attempt ran longer than the phase's timeout, or into the deadline.
    #[error("the attempt was dropped: its time was up")]
    TimedOut,
    /// The phase panicked.
    #[error("the phase panicked: {0}")]
    Panicked(String),
    /// What is to be kept on disk could not be, and nothing may go on without it.
    #[cfg(feature = "json")]
    #[cfg_attr(docsrs, doc(cfg(feature = "json")))]
    #[error("it could not be kept on disk")]
    NotPersisted(#[source] Arc<super::checkpoints::CheckpointError>),
}

/// An intent that was accepted and did not complete: why, where, and the intent itself if nobody
/// else took it.
pub struct Ended<P>(pub(super) Box<Details<P>>);

pub(super) struct Details<P> {
    verdict: Verdict,
    pub(super) intent: Option<Intent<P>>,
}

/// How a run ended for those of its tickets that are told so: all of it but the intent.
#[derive(Clone)]
pub(super) struct Verdict {
    pub(super) key: Arc<str>,
    pub(super) ending: Ending,
    pub(super) phase: Option<&'static str>,
    pub(super) failure: Option<Arc<Failure>>,
    pub(super) indeterminate: bool,
    pub(super) trace: Trace,
}

impl Verdict {
    /// Told to those who listen.
    pub(super) fn outcome<O>(
        &self,
        output: Option<Arc<O>>,
        generation: Option<u64>,
        tickets: usize,
    ) -> Outcome<O> {
        let Self { key, ending, phase, failure, indeterminate, trace } = self.clone();
        Outcome { key, generation, ending, output, phase, failure, indeterminate, tickets, trace }
    }

    /// Told to one ticket, with the intent if it gets it.
    pub(super) fn told<P>(&self, intent: Option<Intent<P>>) -> Ended<P> {
        Ended(Box::new(Details { verdict: self.clone(), intent }))
    }
}

impl<P> Ended<P> {
    /// How it ended; never [`Ending::Completed`].
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.0.verdict.ending
    }

    /// The phase it was in, or waited for.
    #[must_use]
    pub fn phase(&self) -> Option<&'static str> {
        self.0.verdict.phase
    }

    /// How its last failed attempt failed, if one had.
    #[must_use]
    pub fn error(&self) -> Option<&Failure> {
        self.0.verdict.failure.as_deref()
    }

    /// Whether a critical attempt outlived its grace: its effect may still happen, or not.
    #[must_use]
    pub fn is_indeterminate(&self) -> bool {
        self.0.verdict.indeterminate
    }

    /// How the time was spent.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.0.verdict.trace
    }

    /// The intent, on the first of the run's tickets that is still held. `None` on the others,
    /// when a drain report holds it, and while a critical attempt still works on it.
    #[must_use]
    pub fn into_intent(self) -> Option<Intent<P>> {
        self.0.intent
    }
}

impl<P> fmt::Debug for Ended<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ended")
            .field("key", &self.0.verdict.key)
            .field("ending", &self.0.verdict.ending)
            .field("phase", &self.0.verdict.phase)
            .field("error", &self.0.verdict.failure)
            .field("indeterminate", &self.0.verdict.indeterminate)
            .finish_non_exhaustive()
    }
}

impl<P> fmt::Display for Ended<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ended {}", self.0.verdict.key, self.0.verdict.ending)?;
        if let Some(phase) = self.0.verdict.phase {
            write!(f, " in phase {phase}")?;
        }
        if self.0.verdict.indeterminate {
            write!(f, ", indeterminate: its effect may still happen")?;
        }
        Ok(())
    }
}

impl<P> std::error::Error for Ended<P> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.verdict.failure.as_deref().map(|failure| failure as _)
    }
}
