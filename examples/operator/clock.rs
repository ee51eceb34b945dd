//! The one place that reads the clock.

use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "the operator's one look at the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
