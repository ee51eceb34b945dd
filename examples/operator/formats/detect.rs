//! Which kind of document this is, before anything in it is checked.

use serde_json::{Map, Value};

use crate::names::shortened;
use crate::problem::{Fault, Rule};

/// A form of intent, or something that is none.
#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    Flat,
    Kubernetes,
    CustomResource,
    V1alpha1,
    /// Not an intent: skipped under this name.
    Other(String),
}

/// # Errors
/// Neither an intent nor anything known.
pub(super) fn kind(document: &Value) -> Result<Kind, Fault> {
    match document {
        Value::Object(map) => kind_of_object(map),
        Value::Array(items) if is_policy_list(items) => Ok(Kind::Other("policies".to_owned())),
        _ => Err(Fault::new("", Rule::UnknownForm("an intent is one object"))),
    }
}

fn kind_of_object(map: &Map<String, Value>) -> Result<Kind, Fault> {
    if map.contains_key("$schema") && map.contains_key("properties") {
        return Ok(Kind::Other("JSON Schema".to_owned()));
    }
    if map.contains_key("intent_type") {
        return Ok(Kind::Flat);
    }
    if let Some(kind) = map.get("kind") {
        return match kind.as_str() {
            Some("NetworkIntent") => network_intent(map),
            Some(other) => Ok(Kind::Other(shortened(other))),
            None => Err(Fault::new("/kind", Rule::UnknownForm("a kind is a string"))),
        };
    }
    if map.contains_key("intentId") {
        return Ok(Kind::Other("plan".to_owned()));
    }
    if map.contains_key("policyTypeId") {
        return Ok(Kind::Other("policy".to_owned()));
    }
    if map.get("policies").is_some_and(Value::is_array) {
        return Ok(Kind::Other("policies".to_owned()));
    }
    Err(Fault::new("", Rule::UnknownForm("neither `intent_type` nor `kind`")))
}

/// The three forms that share `kind: NetworkIntent`.
fn network_intent(map: &Map<String, Value>) -> Result<Kind, Fault> {
    let version = match map.get("apiVersion") {
        Some(version) => version.as_str(),
        None => return Err(Fault::new("/apiVersion", Rule::Required)),
    };
    match version {
        Some("intent.nephoran.com/v1alpha1") => Ok(Kind::V1alpha1),
        Some("nephoran.com/v1") => version_1(map.get("spec")),
        _ => Err(Fault::new("/apiVersion", Rule::UnknownForm("no such version of NetworkIntent"))),
    }
}

/// Text or fields.
fn version_1(spec: Option<&Value>) -> Result<Kind, Fault> {
    let has = |field| spec.and_then(|spec| spec.get(field)).is_some();
    match spec {
        None | Some(Value::Null) => Err(Fault::new("/spec", Rule::Required)),
        Some(_) if has("intent") => Ok(Kind::CustomResource),
        Some(_) if has("action") => Ok(Kind::Kubernetes),
        Some(_) => Err(Fault::new("/spec", Rule::UnknownForm("neither `intent` nor `action`"))),
    }
}

fn is_policy_list(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(|item| item.get("policyTypeId").is_some())
}
