//! What has been served, by kind.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::fate::Kind;

/// Requests by how they were answered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    pub(crate) plain: u64,
    pub(crate) prose: u64,
    pub(crate) truncated: u64,
    pub(crate) rate_limited: u64,
    pub(crate) server_error: u64,
    pub(crate) hang: u64,
    pub(crate) reset: u64,
    /// Refused as no request this server knows: 400, 404, 405, 413.
    pub(crate) bad_request: u64,
}

impl Counts {
    pub(crate) fn total(&self) -> u64 {
        self.named().iter().map(|(_, count)| count).sum()
    }

    /// Each with its name, faults as on the command line.
    pub(crate) fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("plain", self.plain),
            ("prose", self.prose),
            ("truncated", self.truncated),
            ("rate-limited", self.rate_limited),
            ("server-error", self.server_error),
            ("hang", self.hang),
            ("reset", self.reset),
            ("bad-request", self.bad_request),
        ]
    }
}

/// The counters behind [`Counts`]. `Relaxed` suffices: each is a sum of its own.
#[derive(Debug, Default)]
pub(crate) struct Counters([AtomicU64; 8]);

impl Counters {
    /// One more of this kind; `None` is a bad request.
    pub(crate) fn add(&self, kind: Option<Kind>) {
        self.0[slot(kind)].fetch_add(1, Relaxed);
    }

    pub(crate) fn read(&self) -> Counts {
        let read = |kind| self.0[slot(kind)].load(Relaxed);
        Counts {
            plain: read(Some(Kind::Plain)),
            prose: read(Some(Kind::Prose)),
            truncated: read(Some(Kind::Truncated)),
            rate_limited: read(Some(Kind::RateLimited)),
            server_error: read(Some(Kind::ServerError)),
            hang: read(Some(Kind::Hang)),
            reset: read(Some(Kind::Reset)),
            bad_request: read(None),
        }
    }
}

fn slot(kind: Option<Kind>) -> usize {
    match kind {
        Some(Kind::Plain) => 0,
        Some(Kind::Prose) => 1,
        Some(Kind::Truncated) => 2,
        Some(Kind::RateLimited) => 3,
        Some(Kind::ServerError) => 4,
        Some(Kind::Hang) => 5,
        Some(Kind::Reset) => 6,
        None => 7,
    }
}
