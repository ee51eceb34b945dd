//! Form 2, Kubernetes-style: an object whose `spec` names an action and a target.

use headworks::Priority;
use serde_json::{Map, Value};

use super::fields::{Fields, one_of, text};
use super::metadata::{self, Metadata};
use super::{Warning, constraints, priority};
use crate::answer::{Action, Answer, Target};
use crate::content::content_hash;
use crate::document::Document;
use crate::intent::{Constraints, Form, NetworkIntent, Request};
use crate::names::{Name, Namespace};
use crate::problem::{Fault, Rule};

const SPEC: &[&str] = &["action", "target", "parameters", "constraints"];

pub(super) fn decode(
    document: &Document,
    warnings: &mut Vec<Warning>,
) -> Result<NetworkIntent, Fault> {
    let (metadata, spec) = metadata::read(document, SPEC, warnings)?;
    let action = spec.required("action", action)?;
    let target = target(&spec, &metadata)?;
    let priority = match spec.inside("parameters")? {
        Some(inside) => inside.optional("priority", priority::word_or_level)?,
        None => None,
    };
    let constraints = bounds(&spec, &target)?;
    let settings = settings(&spec)?;
    Ok(NetworkIntent {
        origin: document.origin.clone(),
        form: Form::Kubernetes,
        namespace: metadata.namespace,
        name: metadata.name,
        generation: metadata.generation,
        priority: priority.unwrap_or(Priority::Normal),
        content: content_hash(&document.value),
        request: Request::Fields(Answer { action, targets: vec![target], settings }),
        constraints,
    })
}

fn action(value: &Value) -> Result<Action, Rule> {
    let word = one_of(Action::WORDS)(value)?;
    Ok(Action::of_word(&word).unwrap_or(Action::Configure))
}

/// The target, in the object's own namespace unless it says another.
fn target(spec: &Fields<'_>, metadata: &Metadata) -> Result<Target, Fault> {
    let fields =
        spec.inside("target")?.ok_or_else(|| Fault::new(spec.at("target"), Rule::Required))?;
    fields.optional("type", text)?;
    let replicas = match spec.inside("parameters")? {
        Some(inside) => inside.optional("replicas", constraints::replicas)?,
        None => None,
    };
    Ok(Target {
        name: fields.required("name", |value| Name::new(&text(value)?))?,
        namespace: fields
            .optional("namespace", |value| Namespace::new(&text(value)?))?
            .unwrap_or_else(|| metadata.namespace.clone()),
        replicas,
    })
}

fn bounds(spec: &Fields<'_>, target: &Target) -> Result<Constraints, Fault> {
    let Some(inside) = spec.inside("constraints")? else { return Ok(Constraints::default()) };
    let constraints = constraints::read(&inside)?;
    if let Some(replicas) = target.replicas {
        constraints
            .allow_replicas(replicas)
            .map_err(|rule| Fault::new("/spec/parameters/replicas", rule))?;
    }
    constraints
        .allow_namespace(&target.namespace)
        .map_err(|rule| Fault::new("/spec/target/namespace", rule))?;
    Ok(constraints)
}

/// Whatever else `spec` says: nothing of it is lost on the way to the manifests.
fn settings(spec: &Fields<'_>) -> Result<Map<String, Value>, Fault> {
    let without = |name: &str, taken: &[&str]| -> Result<Option<(String, Value)>, Fault> {
        let Some(inside) = spec.inside(name)? else { return Ok(None) };
        let rest: Map<String, Value> =
            inside.unknown(taken).map(|(name, value)| (name.to_owned(), value.clone())).collect();
        Ok((!rest.is_empty()).then(|| (name.to_owned(), Value::Object(rest))))
    };
    let parts = [
        without("parameters", &["replicas"])?,
        without("constraints", &[])?,
        without("target", &["name", "namespace"])?,
    ];
    Ok(parts.into_iter().flatten().collect())
}
