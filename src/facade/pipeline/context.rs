//! What a phase may know about the attempt it is in.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::chain::AttemptRules;
use super::control::{Control, Go};
use crate::Priority;
use crate::ground::time::{self, Instant};

/// What a phase may know about the attempt it is in.
#[derive(Debug)]
pub struct PhaseContext {
    control: Arc<Control>,
    go: Go,
    rules: AttemptRules,
    span: tracing::Span,
}

impl PhaseContext {
    pub(super) fn new(control: &Arc<Control>, go: Go, rules: AttemptRules) -> Self {
        let attempt = go.attempt;
        let span = tracing::info_span!(
            parent: &control.span, "phase", name = rules.name, key = &*control.key, attempt
        );
        Self { control: Arc::clone(control), go, rules, span }
    }

    /// Of nobody's first attempt.
    #[cfg(all(test, not(headworks_loom)))]
    pub(super) fn for_tests() -> Self {
        let intent = super::Intent::new("key", ());
        let control: Arc<Control> = Arc::new(Control::new(intent, tracing::Span::none()));
        let go = Go { attempt: 1, class: Priority::Normal, started: time::now() };
        let limit = super::limit::Limit { timeout: None, deadline_share: None };
        let rules = AttemptRules { name: "phase", place: 0, limit, critical: false };
        Self::new(&control, go, rules)
    }

    /// When the time of the attempt is up: its phase's timeout, or its share of the deadline.
    pub(super) fn timeout_at(&self) -> Option<Instant> {
        self.rules.limit.ends(self.go.started, self.control.deadline())
    }

    /// When a critical attempt is told to hurry. Any other is dropped then.
    fn told_at(&self) -> Option<Instant> {
        let limit = time::earlier(self.timeout_at(), self.control.deadline());
        limit.filter(|_| self.rules.critical)
    }

    /// The key of the intent.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.control.key
    }

    /// The generation of the intent.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.control.generation
    }

    /// Which attempt of this phase this is, from 1; a new round after the key's backoff, and a
    /// later look after [`Step::Again`](super::Step::Again), go on counting.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.go.attempt
    }

    /// The class of the intent when this attempt began; `Normal` while it is undone.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.go.class
    }

    /// How much time is left until the deadline; `None` without one.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let deadline = self.control.deadline()?;
        Some(deadline.saturating_duration_since(time::now()))
    }

    /// Whether this attempt should come to its end: its timeout or the intent's deadline has
    /// passed, or it was cancelled, by its ticket or by a shutdown. A critical phase may look at it
    /// between its steps, and has
    /// [`critical_grace`](super::PipelineConfig::critical_grace) from then on; any other is
    /// dropped anyway.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.control.is_stopped() || self.told_at().is_some_and(|at| at <= time::now())
    }

    /// Waits until [`is_cancelled`](Self::is_cancelled).
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn cancelled(&self) {
        let mut stopped = pin!(self.control.stopped());
        // Somebody who joins may have brought a later deadline meanwhile.
        while !self.is_cancelled() {
            if time::until(self.told_at(), stopped.as_mut()).await.is_some() {
                return;
            }
        }
    }

    /// The span of this attempt, a child of the submitter's.
    #[must_use]
    pub fn span(&self) -> &tracing::Span {
        &self.span
    }
}
