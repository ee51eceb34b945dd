//! What bytes mean that come in while the operator runs: those of a watched file, or of a request.

use std::sync::Arc;
use std::time::Duration;

use headworks::Intent;
use headworks::intake::{Decode, Origin, Rejected};

use crate::document::documents;
use crate::intent::{NetworkIntent, Order};
use crate::language::Language;
use crate::problem::Problem;
use crate::reader::{Read, read};

/// Reads every language and form that the operator knows.
#[derive(Clone, Debug)]
pub(crate) struct Documents {
    /// How long each may take from now on; `None`: as long as it likes.
    pub(crate) deadline: Option<Duration>,
}

impl Decode<Arc<NetworkIntent>> for Documents {
    fn decode(
        &self,
        bytes: &[u8],
        origin: &Origin,
    ) -> Vec<Result<Intent<Arc<NetworkIntent>>, Rejected>> {
        let (name, language) = named(origin);
        let language = language.unwrap_or_else(|| Language::of_bytes(bytes));
        let found = documents(bytes, language, name);
        found.into_iter().map(|found| self.one(read(found))).collect()
    }
}

impl Documents {
    fn one(&self, read: Read) -> Result<Order, Rejected> {
        match read {
            Read::Intent(intent, warnings) => {
                for warning in warnings {
                    eprintln!("operator: {warning}");
                }
                Ok(Arc::<NetworkIntent>::from(intent).order(self.deadline))
            }
            Read::Skipped { kind, .. } => Err(Rejected::skipped(kind)),
            Read::Invalid(Problem { fault, .. }) => {
                Err(Rejected::invalid(fault.pointer, fault.rule.to_string()))
            }
        }
    }
}

/// What a document's origin is called, and the language it claims to be in.
fn named(origin: &Origin) -> (Arc<str>, Option<Language>) {
    match origin {
        Origin::File { path } => (path.to_string_lossy().into(), Language::of_file(path)),
        Origin::Request { media_type, .. } => {
            let claimed = media_type.as_deref().and_then(Language::of_media_type);
            ("a request".into(), claimed)
        }
        _ => ("somewhere".into(), None),
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod claims;
#[cfg(test)]
mod tests;
