//! What bytes mean, said by the operator.

use std::path::PathBuf;
use std::sync::Arc;

use crate::Intent;

/// Makes intents of bytes.
///
/// One piece of bytes may hold several documents, and each is an intent, or is rejected with its
/// reason: one that is wrong does not keep its neighbours out. Called on the runtime's threads with
/// pieces whose size the intake has bounded; it must not block.
pub trait Decode<P>: Send + Sync + 'static {
    /// The documents of `bytes`, in their order. None at all: `bytes` is empty of documents, which
    /// is no error.
    fn decode(&self, bytes: &[u8], origin: &Origin) -> Vec<Result<Intent<P>, Rejected>>;
}

impl<P, F> Decode<P> for F
where
    F: Fn(&[u8], &Origin) -> Vec<Result<Intent<P>, Rejected>> + Send + Sync + 'static,
{
    fn decode(&self, bytes: &[u8], origin: &Origin) -> Vec<Result<Intent<P>, Rejected>> {
        self(bytes, origin)
    }
}

/// Where bytes come from: what a decoder may want to know beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A file of a watched directory.
    File {
        /// Its path below that directory.
        path: PathBuf,
    },
    /// The body of an HTTP request.
    Request {
        /// The media type that its `Content-Type` claims, without parameters, in lower case.
        media_type: Option<String>,
        /// Whose request it is, as the intake's `Bearer` found; empty where nobody is asked. Who lets
        /// clients name a tenant, or an object, says here whether this one may.
        tenant: Arc<str>,
    },
}

/// Why a document is no intent to be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// It breaks a rule.
    #[error("{}{rule}", at(pointer))]
    Invalid {
        /// Where: an RFC 6901 pointer into the document; empty for the whole.
        pointer: String,
        /// What should have been there, for its author to read.
        rule: String,
    },
    /// It is something else than an intent, and nothing is wrong with that.
    #[error("skipped: {kind}")]
    Skipped {
        /// What it is.
        kind: String,
    },
}

impl Rejected {
    /// It breaks `rule` at `pointer`.
    pub fn invalid(pointer: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::Invalid { pointer: pointer.into(), rule: rule.into() }
    }

    /// It is a `kind`, not an intent.
    pub fn skipped(kind: impl Into<String>) -> Self {
        Self::Skipped { kind: kind.into() }
    }
}

fn at(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!("at {pointer}: ") }
}
