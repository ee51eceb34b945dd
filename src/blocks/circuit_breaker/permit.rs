//! The right to make one call.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::core::{Claim, Report};
use super::shared::Shared;
use crate::ground::outcome::{Outcome, Verdict};
use crate::ground::time::{Glance, Instant, Now};

/// The right to make one call, and the duty to say how it went.
///
/// Dropped without a report it counts as configured by [`Unreported`](super::Unreported): by
/// default as a failure when it is older than the slow threshold, else as nothing.
///
/// # Cost
/// While calls flow a success is one atomic operation, mostly on memory of this thread; anything
/// else takes one short lock. No allocation.
#[must_use = "dropped at once it counts as a call that was cancelled"]
#[derive(Debug)]
pub struct CallPermit<'a> {
    shared: &'a Shared,
    claim: Claim,
}

impl<'a> CallPermit<'a> {
    #[inline(always)]
    pub(super) fn new(shared: &'a Shared, claim: Claim) -> Self {
        Self { shared, claim }
    }

    /// It is reported, and not dropped. It borrows what it has.
    #[inline(always)]
    fn tell(self, report: Report, now: impl Now) {
        let reported = ManuallyDrop::new(self);
        reported.shared.report(reported.claim, report, now);
    }
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        let now = Glance::default();
        self.shared.abandon(self.claim, &now);
    }
}

/// A [`CallPermit`] that shares its breaker, and so can be kept anywhere and sent into a task.
#[must_use = "dropped at once it counts as a call that was cancelled"]
#[derive(Debug)]
pub struct OwnedCallPermit {
    shared: Arc<Shared>,
    /// `None` once reported.
    claim: Option<Claim>,
}

impl OwnedCallPermit {
    pub(super) fn new(shared: Arc<Shared>, claim: Claim) -> Self {
        Self { shared, claim: Some(claim) }
    }

    fn tell(mut self, report: Report, now: impl Now) {
        if let Some(claim) = self.claim.take() {
            self.shared.report(claim, report, now);
        }
    }
}

impl Drop for OwnedCallPermit {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.shared.abandon(claim, &Glance::default());
        }
    }
}

macro_rules! reports {
    ($($permit:ty),*) => {$(
        impl $permit {
            /// The backend answered.
            #[inline(always)]
            pub fn success(self) {
                self.tell(Outcome::Success.into(), &Glance::default());
            }

            /// The backend failed.
            pub fn failure(self) {
                self.report(Outcome::Failure);
            }

            /// The call says nothing about the backend. A probe's place is free again; but see
            /// [the room](super#guarantees): a backend that answers nothing else does answer.
            /// (A call that was not made is no answer: report [`Verdict::refused`].)
            pub fn ignore(self) {
                self.report(Outcome::Ignored);
            }

            /// The backend asked for patience (HTTP 429), perhaps for so long. Counts as
            /// [`Overloaded`](super::Overloaded) says.
            pub fn overloaded(self, retry_after: Option<Duration>) {
                self.tell(Verdict::overloaded(retry_after).into(), &Glance::default());
            }

            /// Reports an [`Outcome`] or a [`Verdict`]. When a verdict says how long the backend
            /// wants to be left alone, an opening that begins before that lasts at least as long.
            #[inline]
            pub fn report(self, verdict: impl Into<Verdict>) {
                self.tell(verdict.into().into(), &Glance::default());
            }
        }
    )*};
}

reports!(CallPermit<'_>, OwnedCallPermit);

impl OwnedCallPermit {
    /// The call was not made after all. `tell` gets whoever is to be woken.
    pub(crate) fn give_back(mut self, now: Instant, tell: impl FnOnce(Vec<Waker>)) {
        if let Some(claim) = self.claim.take() {
            self.shared.report_slowly(claim, Verdict::refused(None).into(), now, tell);
        }
    }
}

/// Tests say when.
#[cfg(test)]
impl OwnedCallPermit {
    pub(crate) fn report_at(self, verdict: impl Into<Verdict>, now: impl Now) {
        self.tell(verdict.into().into(), now);
    }
}

/// Tests say when.
#[cfg(test)]
impl CallPermit<'_> {
    pub(crate) fn report_at(self, verdict: impl Into<Verdict>, now: impl Now) {
        self.tell(verdict.into().into(), now);
    }

    pub(super) fn abandon_at(self, now: impl Now) {
        let dropped = ManuallyDrop::new(self);
        dropped.shared.abandon(dropped.claim, now);
    }
}
