//! What a scenario claims, and which of it did not hold.

use std::collections::BTreeMap;
use std::fmt::Display;

/// The claims that were checked, by name.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    held: BTreeMap<&'static str, String>,
    broken: BTreeMap<&'static str, String>,
}

impl Claims {
    /// Writes down whether it holds; checked again, both must.
    /// The figures told are the first ones.
    pub(crate) fn check(&mut self, claim: &'static str, holds: bool, figures: impl Display) {
        let verdict = if holds { &mut self.held } else { &mut self.broken };
        verdict.entry(claim).or_insert_with(|| figures.to_string());
    }

    pub(crate) fn is_broken(&self, claim: &str) -> bool {
        self.broken.contains_key(claim)
    }

    /// What the scenario promises.
    pub(crate) fn all_hold(self) {
        assert!(self.broken.is_empty(), "broken: {:#?}\nheld: {:#?}", self.broken, self.held);
    }

    /// What its control must show: without the protection none of these holds.
    pub(crate) fn breaks(self, claims: &[&str]) {
        for claim in claims {
            let Self { held, broken } = &self;
            assert!(broken.contains_key(claim), "{claim} holds without protection: {held:#?}");
        }
    }
}
