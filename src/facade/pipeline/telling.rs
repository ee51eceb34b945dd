//! Endings that are decided and not yet told, and whether more can come.
//!
//! An ending is decided under the pipeline's lock and told after it. Who waits for the end of all
//! must not go before the last one is told, and whoever tells the last one has to know that
//! somebody may wait:
//! 1. [`Telling::begins`] is called under the lock under which the ending was decided. So whoever
//!    saw under that lock that nothing is live, and looks here *after* it, sees what is untold.
//! 2. [`Telling::ends`] and [`Telling::closes`] are changes of one word: of two that race, the later
//!    one sees the other. Either the last teller sees that it is closed, or who closed it sees
//!    that nothing is untold.

use crate::ground::primitives::atomic::{AtomicUsize, Ordering};

/// Set for good once nothing more is accepted; the rest of the word counts.
const CLOSED: usize = 1 << (usize::BITS - 1);

#[derive(Debug)]
pub(super) struct Telling(AtomicUsize);

impl Telling {
    pub(super) fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Endings were decided, and will be told after the unlock.
    pub(super) fn begins(&self) {
        // AcqRel, as all of these: whoever reads the count has what was told before it.
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// They are told. Whether these were the last ones that were untold, of a closed pipeline.
    #[must_use]
    pub(super) fn ends(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == CLOSED | 1
    }

    /// Nothing more is accepted.
    pub(super) fn closes(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Whether everything that was decided is told.
    pub(super) fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire) & !CLOSED == 0
    }
}
