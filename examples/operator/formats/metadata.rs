//! The head of a Kubernetes object: the three forms that have one share their key and generation.

use serde_json::Value;

use super::Warning;
use super::fields::{Fields, Nulls, object, text, wrong_type};
use crate::document::Document;
use crate::names::{Name, Namespace};
use crate::problem::{Fault, Rule};

/// What an object is called.
pub(super) struct Metadata {
    pub(super) namespace: Namespace,
    pub(super) name: Name,
    pub(super) generation: Option<u64>,
}

/// Reads the head and hands out `spec`. What Kubernetes itself keeps in `metadata` is left alone.
pub(super) fn read<'a>(
    document: &'a Document,
    known_in_spec: &[&str],
    warnings: &mut Vec<Warning>,
) -> Result<(Metadata, Fields<'a>), Fault> {
    let root = Fields::of(&document.value, "", Nulls::Absent)?;
    let required = |name| Fault::new(root.at(name), Rule::Required);
    let head = root.inside("metadata")?.ok_or_else(|| required("metadata"))?;
    let spec = root.inside("spec")?.ok_or_else(|| required("spec"))?;
    for (name, _) in root.unknown(&["apiVersion", "kind", "metadata", "spec", "status"]) {
        warnings.push(warning(document, root.at(name), "an unknown field beside `spec`, ignored"));
    }
    for (name, value) in spec.unknown(known_in_spec) {
        if !value.is_null() {
            return Err(Fault::new(spec.at(name), Rule::UnknownField));
        }
        warnings.push(warning(document, spec.at(name), "an unknown field that is null, ignored"));
    }
    let metadata = Metadata {
        name: head.required("name", |value| Name::new(&text(value)?))?,
        namespace: head.required("namespace", |value| Namespace::new(&text(value)?))?,
        generation: head.optional("generation", generation)?,
    };
    head.optional("labels", object)?;
    head.optional("annotations", object)?;
    Ok((metadata, spec))
}

pub(super) fn warning(document: &Document, pointer: String, text: &'static str) -> Warning {
    Warning { origin: document.origin.clone(), pointer, text }
}

fn generation(value: &Value) -> Result<u64, Rule> {
    match value {
        Value::Number(number) => number.as_u64().ok_or_else(|| Rule::Range {
            min: 0,
            max: u64::MAX,
            was: number.to_string(),
        }),
        _ => Err(wrong_type("a whole number", value)),
    }
}
