//! What a phase may know about the attempt it is in.

use std::sync::Arc;
use std::time::Duration;

use super::control::{Control, Go};
use crate::ground::time;

/// What a phase may know about the attempt it is in.
#[derive(Debug)]
pub struct PhaseContext {
    control: Arc<Control>,
    go: Go,
    span: tracing::Span,
}

impl PhaseContext {
    pub(super) fn new(control: &Arc<Control>, go: Go, phase: &'static str) -> Self {
        let attempt = go.attempt;
        let span = tracing::info_span!(
            parent: &control.span, "phase", name = phase, key = &*control.key, attempt
        );
        Self { control: Arc::clone(control), go, span }
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

    /// How much time is left until the deadline; `None` without one.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let deadline = self.control.deadline()?;
        Some(deadline.saturating_duration_since(time::now()))
    }

    /// Whether the result is no longer wanted. A critical phase may look at it between its steps;
    /// any other is dropped anyway.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.control.is_stopped()
    }

    /// Waits until the result is no longer wanted.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn cancelled(&self) {
        self.control.stopped().await;
    }

    /// The span of this attempt, a child of the submitter's.
    #[must_use]
    pub fn span(&self) -> &tracing::Span {
        &self.span
    }
}
