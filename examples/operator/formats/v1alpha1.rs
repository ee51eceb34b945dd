//! Form 4, custom resource v1alpha1: an object whose `spec.target` is a string.

use headworks::Priority;
use serde_json::{Map, Value};

use super::fields::{Fields, integer, text};
use super::metadata::{self, Metadata};
use super::{Warning, constraints};
use crate::answer::{Action, Answer, Target};
use crate::content::content_hash;
use crate::document::Document;
use crate::intent::{Constraints, Form, NetworkIntent, Request};
use crate::names::{Name, Namespace};
use crate::problem::Fault;

const SPEC: &[&str] = &[
    "source",
    "intentType",
    "target",
    "namespace",
    "replicas",
    "scalingParameters",
    "networkParameters",
];
const SETTINGS: &[&str] = &["scalingParameters", "networkParameters"];

pub(super) fn decode(
    document: &Document,
    warnings: &mut Vec<Warning>,
) -> Result<NetworkIntent, Fault> {
    let (metadata, spec) = metadata::read(document, SPEC, warnings)?;
    spec.optional("source", text)?;
    let action = Action::of_type(&spec.optional("intentType", text)?.unwrap_or_default());
    let target = target(&spec, &metadata)?;
    check_network_parameters(&spec)?;
    let constraints = bounds(&spec, &target)?;
    if contradicts(&spec, &target)? {
        let at = "/spec/scalingParameters/replicas".to_owned();
        warnings.push(metadata::warning(
            document,
            at,
            "differs from `spec.replicas`, which is used",
        ));
    }
    Ok(NetworkIntent {
        origin: document.origin.clone(),
        form: Form::V1alpha1,
        namespace: metadata.namespace,
        name: metadata.name,
        generation: metadata.generation,
        priority: Priority::Normal,
        content: content_hash(&document.value),
        request: Request::Fields(Answer {
            action,
            targets: vec![target],
            settings: settings(&spec),
        }),
        constraints,
    })
}

fn target(spec: &Fields<'_>, metadata: &Metadata) -> Result<Target, Fault> {
    let replicas = match spec.optional("replicas", constraints::replicas)? {
        Some(replicas) => Some(replicas),
        None => scaling_replicas(spec)?,
    };
    Ok(Target {
        name: spec.required("target", |value| Name::new(&text(value)?))?,
        namespace: spec
            .optional("namespace", |value| Namespace::new(&text(value)?))?
            .unwrap_or_else(|| metadata.namespace.clone()),
        replicas,
    })
}

fn scaling_replicas(spec: &Fields<'_>) -> Result<Option<u32>, Fault> {
    match spec.inside("scalingParameters")? {
        Some(scaling) => scaling.optional("replicas", constraints::replicas),
        None => Ok(None),
    }
}

fn contradicts(spec: &Fields<'_>, target: &Target) -> Result<bool, Fault> {
    Ok(scaling_replicas(spec)?.is_some_and(|replicas| target.replicas != Some(replicas)))
}

/// The bounds of the autoscaler hold for the number asked for as well.
fn bounds(spec: &Fields<'_>, target: &Target) -> Result<Constraints, Fault> {
    let Some(scaling) = spec.inside("scalingParameters")? else {
        return Ok(Constraints::default());
    };
    let Some(policy) = scaling.inside("autoscalingPolicy")? else {
        return Ok(Constraints::default());
    };
    let constraints = constraints::read(&policy)?;
    if let Some(replicas) = target.replicas {
        let at = if spec.raw("replicas").is_some() {
            spec.at("replicas")
        } else {
            scaling.at("replicas")
        };
        constraints.allow_replicas(replicas).map_err(|rule| Fault::new(at, rule))?;
    }
    Ok(constraints)
}

fn check_network_parameters(spec: &Fields<'_>) -> Result<(), Fault> {
    let Some(network) = spec.inside("networkParameters")? else { return Ok(()) };
    network.optional("networkSliceId", text)?;
    if let Some(quality) = network.inside("qosProfile")? {
        quality.optional("maximumDataRate", text)?;
        quality.optional("priority", integer(0..=i32::MAX.unsigned_abs()))?;
    }
    Ok(())
}

fn settings(spec: &Fields<'_>) -> Map<String, Value> {
    let present = |name: &&str| spec.raw(name).map(|value| ((*name).to_owned(), value.clone()));
    SETTINGS.iter().filter_map(present).collect()
}
