//! Form 3, custom resource v1: an object whose `spec.intent` is a sentence.

use headworks::Priority;
use serde_json::{Map, Value};

use super::fields::{Fields, integer, object, text, text_of};
use super::{Warning, metadata, priority};
use crate::content::content_hash;
use crate::document::Document;
use crate::intent::{Constraints, Form, NetworkIntent, Request};
use crate::names::Namespace;
use crate::problem::{Fault, Rule};

const SPEC: &[&str] = &[
    "intent",
    "intentType",
    "networkSlice",
    "priority",
    "processedParameters",
    "region",
    "resourceConstraints",
    "targetCluster",
    "targetComponents",
    "targetNamespace",
];

pub(super) fn decode(
    document: &Document,
    warnings: &mut Vec<Warning>,
) -> Result<NetworkIntent, Fault> {
    let (metadata, spec) = metadata::read(document, SPEC, warnings)?;
    let text = spec.required("intent", sentence)?;
    let priority = spec.optional("priority", priority::word)?.unwrap_or(Priority::Normal);
    check_the_rest(&spec)?;
    let constraints = bounds(&spec)?;
    Ok(NetworkIntent {
        origin: document.origin.clone(),
        form: Form::CustomResource,
        namespace: metadata.namespace,
        name: metadata.name,
        generation: metadata.generation,
        priority,
        content: content_hash(&document.value),
        request: Request::Text { text, context: context(&spec) },
        constraints,
    })
}

/// Free text, but only of characters that no shell, query or markup reads as its own.
fn sentence(value: &Value) -> Result<String, Rule> {
    const PATTERN: &str = r"^[a-zA-Z0-9\s\-_.,;:()\[\]]*$";
    let text = text_of(1..=1000)(value)?;
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "-_.,;:()[]".contains(c);
    match text.chars().find(|&c| !allowed(c)) {
        Some(was) => Err(Rule::Pattern { pattern: PATTERN, was }),
        None => Ok(text),
    }
}

fn check_the_rest(spec: &Fields<'_>) -> Result<(), Fault> {
    for name in ["intentType", "networkSlice", "region", "targetCluster"] {
        spec.optional(name, text)?;
    }
    spec.list("targetComponents", text)?;
    spec.optional("targetNamespace", |value| Namespace::new(&text(value)?))?;
    if let Some(inside) = spec.inside("resourceConstraints")? {
        inside.optional("maxConcurrency", integer(1..=i32::MAX.unsigned_abs()))?;
    }
    spec.optional("processedParameters", object)?;
    Ok(())
}

/// The bounds that an earlier processing step may have left in the object.
fn bounds(spec: &Fields<'_>) -> Result<Constraints, Fault> {
    let Some(parameters) = spec.inside("processedParameters")? else {
        return Ok(Constraints::default());
    };
    let Some(scale) = parameters.inside("scaleParameters")? else {
        return Ok(Constraints::default());
    };
    let constraints = Constraints {
        min_replicas: scale.optional("minReplicas", integer(1..=i32::MAX.unsigned_abs()))?,
        max_replicas: scale.optional("maxReplicas", integer(1..=i32::MAX.unsigned_abs()))?,
        allowed_namespaces: None,
    };
    constraints.consistent().map_err(|rule| Fault::new(scale.at("minReplicas"), rule))?;
    Ok(constraints)
}

/// What the sentence is read against.
fn context(spec: &Fields<'_>) -> Map<String, Value> {
    let present = |name: &&str| spec.raw(name).map(|value| ((*name).to_owned(), value.clone()));
    SPEC.iter().filter(|name| !["intent", "priority"].contains(name)).filter_map(present).collect()
}
