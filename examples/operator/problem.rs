//! What is wrong with a document, said so that its author can find it: file, document, JSON
//! pointer and rule.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Where a document came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The file, relative to the folder that was read, with `/` between its components.
    pub(crate) file: Arc<str>,
    /// Which document of the file, from 1.
    pub(crate) document: usize,
}

impl Origin {
    pub(crate) fn new(file: impl Into<Arc<str>>, document: usize) -> Self {
        Self { file: file.into(), document }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.file, self.document)
    }
}

/// A broken rule and the place in the JSON where it is broken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{pointer:?}: {rule}")]
pub(crate) struct Fault {
    /// A JSON pointer (RFC 6901); empty for the document itself.
    pub(crate) pointer: String,
    /// What it should have been.
    pub(crate) rule: Rule,
}

impl Fault {
    pub(crate) fn new(pointer: impl Into<String>, rule: Rule) -> Self {
        Self { pointer: pointer.into(), rule }
    }
}

/// A fault and the document that has it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{origin} {fault}")]
pub(crate) struct Problem {
    pub(crate) origin: Origin,
    pub(crate) fault: Fault,
}

impl Problem {
    pub(crate) fn new(origin: Origin, fault: Fault) -> Self {
        Self { origin, fault }
    }

    /// Whether the author of the document can mend it; a file that cannot be read is not his fault.
    pub(crate) fn is_of_the_content(&self) -> bool {
        !matches!(self.fault.rule, Rule::Unreadable(_))
    }
}

/// Every rule that input is held to, with the words its author gets.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Rule {
    // The file.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("is larger than {max_bytes} bytes")]
    TooLarge { max_bytes: u64 },
    #[error("is not UTF-8: byte {at} is wrong")]
    NotUtf8 { at: usize },
    #[error("is not JSON: {0}")]
    NotJson(String),
    #[error("is not YAML: {0}")]
    NotYaml(String),
    #[error("is nested deeper than {max}")]
    TooDeep { max: usize },
    #[error("expands to more than a document may hold: {0}")]
    Expands(String),
    #[error("the key is there twice")]
    DuplicateKey,

    // Which kind of document it is.
    #[error("has no known form: {0}")]
    UnknownForm(&'static str),

    // Fields.
    #[error("is required")]
    Required,
    #[error("is not a field of this form")]
    UnknownField,
    #[error("must be {expected}, not {was}")]
    Type { expected: &'static str, was: &'static str },
    #[error("must be one of {allowed}, not {was:?}")]
    OneOf { allowed: &'static str, was: String },
    #[error("must be a whole number from {min} to {max}, not {was}")]
    Range { min: u64, max: u64, was: String },
    #[error("must be {min} to {max} characters long, not {was}")]
    Length { min: usize, max: usize, was: usize },
    #[error("must match {pattern}, which {was:?} does not")]
    Pattern { pattern: &'static str, was: char },
    #[error(
        "must be a DNS-1123 {kind}: at most {max} of {allowed}, a letter or digit at both ends, not {was:?}"
    )]
    Dns { kind: &'static str, allowed: &'static str, max: usize, was: String },
    #[error("must be a date-time as in RFC 3339, not {was:?}")]
    DateTime { was: String },
    #[error("the same constraint is there under both spellings")]
    BothSpellings,

    // Constraints between fields.
    #[error("min_replicas {min} is above max_replicas {max}")]
    MinAboveMax { min: u32, max: u32 },
    #[error("replicas {was} is below min_replicas {min}")]
    BelowMin { min: u32, was: u32 },
    #[error("replicas {was} is above max_replicas {max}")]
    AboveMax { max: u32, was: u32 },
    #[error("namespace {was:?} is not among allowed_namespaces")]
    NamespaceNotAllowed { was: String },

    // The answer to it.
    #[error("must have {min} to {max} entries, not {was}")]
    Count { min: usize, max: usize, was: usize },
    #[error("names the same target as an earlier entry")]
    SameTarget,
    #[error("did not come back as it was asked: {0}")]
    Differs(&'static str),
    #[error("cannot be committed: {0}")]
    Unfit(String),
}

/// An error and all its causes.
pub(crate) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The whole [`chain`] in words.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_file_document_pointer_and_rule() {
        let fault = Fault::new("/spec/replicas", Rule::BelowMin { min: 2, was: 1 });
        let problem = Problem::new(Origin::new("a/b.yaml", 3), fault);
        assert_eq!(
            problem.to_string(),
            r#"a/b.yaml#3 "/spec/replicas": replicas 1 is below min_replicas 2"#
        );
    }
}
