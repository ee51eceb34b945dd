//! Tells documents apart and decodes the four forms of an intent.
//!
//! A form is a file: which fields it has, what each must hold, and nothing else. Everything they
//! share is beside them: [`fields`] reads one field and knows its pointer, [`metadata`] the head
//! of a Kubernetes object, [`constraints`] the bounds, [`priority`] the class.

mod constraints;
mod custom_resource;
mod detect;
mod fields;
mod flat;
mod kubernetes;
mod metadata;
mod priority;
#[cfg(test)]
mod tests;
mod v1alpha1;

use std::fmt;

use detect::Kind;

use crate::document::Document;
use crate::intent::NetworkIntent;
use crate::problem::{Fault, Origin, Problem};

pub(crate) use fields::{Fields, Nulls, integer, object, text};

/// What a document turned out to be.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// An intent, and what its author should look at although it is accepted.
    Intent(Box<NetworkIntent>, Vec<Warning>),
    /// Something else, said by what it is.
    Skipped(String),
}

/// Something accepted that its author probably did not mean.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Warning {
    pub(crate) origin: Origin,
    pub(crate) pointer: String,
    pub(crate) text: &'static str,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, pointer, text } = self;
        write!(f, "warning {origin} at {pointer:?}: {text}")
    }
}

/// Decodes one document.
///
/// # Errors
/// The first rule it breaks, with its place.
pub(crate) fn decode(document: &Document) -> Result<Decoded, Problem> {
    let mut warnings = Vec::new();
    let intent = match detect::kind(&document.value) {
        Err(fault) => Err(fault),
        Ok(Kind::Other(kind)) => return Ok(Decoded::Skipped(kind)),
        Ok(Kind::Flat) => flat::decode(document),
        Ok(Kind::Kubernetes) => kubernetes::decode(document, &mut warnings),
        Ok(Kind::CustomResource) => custom_resource::decode(document, &mut warnings),
        Ok(Kind::V1alpha1) => v1alpha1::decode(document, &mut warnings),
    };
    let problem = |fault: Fault| Problem::new(document.origin.clone(), fault);
    Ok(Decoded::Intent(Box::new(intent.map_err(problem)?), warnings))
}
