//! How long each phase of one request may take, inside the time of the whole.

use std::future::Future;
use std::time::Duration;

use super::error::{Phase, TransportError};
use crate::ground::time::{Instant, earlier, later, now, until};

/// The time one request has left in all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    ends_at: Option<Instant>,
}

impl Allowance {
    pub(super) fn new(now: Instant, total: Duration) -> Self {
        Self { ends_at: later(now, total) }
    }

    /// Until when a phase that begins now and may take `limit` may run.
    pub(super) fn until(self, now: Instant, limit: Duration) -> Option<Instant> {
        earlier(later(now, limit), self.ends_at)
    }

    pub(super) fn end(self) -> Option<Instant> {
        self.ends_at
    }

    pub(super) fn is_over(self, now: Instant) -> bool {
        self.ends_at.is_some_and(|end| end <= now)
    }

    /// The error of a phase that had until `at`: its own timeout, or that of the whole.
    pub(super) fn late(
        self,
        at: Option<Instant>,
        phase: Phase,
        own: impl FnOnce() -> TransportError,
    ) -> TransportError {
        if at >= self.ends_at && self.ends_at.is_some() {
            return TransportError::TotalTimeout { phase };
        }
        own()
    }

    /// Runs `future` as `phase`, for `limit` at most; `late` is the error beyond that.
    pub(super) async fn spend<F: Future>(
        self,
        phase: Phase,
        limit: Duration,
        future: F,
        late: impl FnOnce() -> TransportError,
    ) -> Result<F::Output, TransportError> {
        let at = self.until(now(), limit);
        until(at, future).await.ok_or_else(|| self.late(at, phase, late))
    }
}
