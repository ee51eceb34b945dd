//! How long one attempt may run.

use std::time::Duration;

use crate::ground::time::{self, Instant};

/// A phase's timeout, and the share of what is left until the intent's deadline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) timeout: Option<Duration>,
    /// In `0.0..=1.0`.
    pub(super) deadline_share: Option<f64>,
}

impl Limit {
    /// When the time of an attempt is up that began then.
    pub(super) fn ends(self, started: Instant, deadline: Option<Instant>) -> Option<Instant> {
        let timed = self.timeout.and_then(|timeout| time::later(started, timeout));
        let shared = self.deadline_share.zip(deadline).and_then(|(share, deadline)| {
            time::later(started, deadline.saturating_duration_since(started).mul_f64(share))
        });
        time::earlier(timed, shared)
    }
}
