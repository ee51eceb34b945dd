//! What an impossible configuration gets.

use std::fmt::Display;

/// A configuration value that can't work: names the field, what it was and what it may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// One field is out of its range.
    #[error("{field}{} is {value}, but must be {allowed}", shown(.of))]
    Invalid {
        /// Where it is: the room, then the path of the field in its configuration, as in
        /// `rate_limit.per_key.rate`.
        field: &'static str,
        /// The name of what is configured, where there are several: of a phase, a transport.
        of: Option<Box<str>>,
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
        Self::Invalid { field, of: None, value: value.to_string(), allowed }
    }

    /// The same, about the one of this name.
    pub(crate) fn of(mut self, name: &str) -> Self {
        if let Self::Invalid { of, .. } = &mut self {
            *of = Some(name.into());
        }
        self
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

fn shown(of: &Option<Box<str>>) -> String {
    of.as_ref().map_or_else(String::new, |name| format!(" of {name:?}"))
}
