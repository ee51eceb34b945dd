//! What a pool measures beside its lock.

use super::config::Sample;
use crate::ground::metrics::{Counter, Recorder};
use crate::ground::primitives::atomic::AtomicU64;
use crate::ground::stripe::{self, Padded, STRIPES};

/// Shared by a pool and those of its tasks that have something to count.
#[derive(Debug)]
pub(super) struct Meters {
    sample: Sample,
    /// Submissions, by thread: which of them are timed must not be settled on a line that all
    /// threads write.
    submissions: Box<[Padded<AtomicU64>; STRIPES]>,
    /// From the submission to the seat, of what stood in the queue.
    pub(super) waits: Recorder,
    /// From the seat to the end.
    pub(super) runs: Recorder,
    pub(super) callback_panics: Counter,
}

impl Meters {
    pub(super) fn new(sample: Sample) -> Self {
        Self {
            sample,
            submissions: Box::new(std::array::from_fn(|_| Padded::new(AtomicU64::new(0)))),
            waits: Recorder::default(),
            runs: Recorder::default(),
            callback_panics: Counter::default(),
        }
    }

    pub(super) fn sample(&self) -> Sample {
        self.sample
    }

    /// Whether the wait of this submission is timed.
    #[inline]
    pub(super) fn times_next(&self) -> bool {
        self.sample.includes_next(&self.submissions[stripe::mine()])
    }
}
