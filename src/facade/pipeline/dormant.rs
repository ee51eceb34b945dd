//! Runs that are parked before their first attempt: behind the running one of their key, or because
//! it goes round in a loop. They hold places of the queue without standing in line, and may be
//! evicted like those who do.

use std::collections::BTreeMap;

use super::run::RunId;
use crate::Priority;

/// By class and accept number.
#[derive(Debug, Default)]
pub(super) struct Dormant(BTreeMap<(Priority, u64), RunId>);

impl Dormant {
    pub(super) fn add(&mut self, class: Priority, accept_no: u64, run: RunId) {
        self.0.insert((class, accept_no), run);
    }

    /// Takes one out, if it is here.
    pub(super) fn remove(&mut self, class: Priority, accept_no: u64) {
        self.0.remove(&(class, accept_no));
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = (Priority, u64)> {
        self.0.keys().copied()
    }

    /// Whom one of this class would drive out: the newest of the lowest class, if that is lower.
    pub(super) fn victim_for(&self, class: Priority) -> Option<(Priority, RunId)> {
        let (&(lowest, _), _) = self.0.first_key_value()?;
        let newest = self.0.range((lowest, 0)..=(lowest, u64::MAX)).next_back()?;
        (lowest < class).then_some((lowest, *newest.1))
    }
}
