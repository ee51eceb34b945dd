//! What an impossible configuration gets.

use std::fmt::Display;

/// A configuration value that can't work: names the field, what it was and what it may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// One field is out of its range.
    #[error("{field} is {value}, but must be {allowed}")]
    Invalid {
        /// Where it is: the room, then the path of the field in its configuration, as in
        /// `rate_limit.per_key.rate`.
        field: &'static str,
        /// What it was; names in quotes.
        value: String,
        /// What it may be: `1..=10`, `at least 1`, `more than 0`, `at most 10`.
        allowed: &'static str,
    },
    /// The block starts tasks, and there is no tokio runtime here to start them on.
    #[error("no tokio runtime is entered here, and this block needs one to run its tasks")]
    NoRuntime,
}

impl ConfigError {
    pub(crate) fn invalid(field: &'static str, value: impl Display, allowed: &'static str) -> Self {
        Self::Invalid { field, value: value.to_string(), allowed }
    }

    /// `Ok` when the value may stand.
    pub(crate) fn unless(
        ok: bool,
        field: &'static str,
        value: impl Display,
        allowed: &'static str,
    ) -> Result<(), Self> {
        if ok { Ok(()) } else { Err(Self::invalid(field, value, allowed)) }
    }
}
