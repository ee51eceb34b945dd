//! Form 1, flat: one JSON object that says in fields what to scale, deploy or configure.

use headworks::Priority;
use serde_json::{Map, Value};

use super::fields::{Fields, Nulls, integer, one_of, text, text_of};
use super::{constraints, priority};
use crate::answer::{Action, Answer, Target};
use crate::content::content_hash;
use crate::dates::date_time;
use crate::document::Document;
use crate::intent::{Constraints, Form, NetworkIntent, Request};
use crate::names::{Name, Namespace};
use crate::problem::{Fault, Rule};

const FIELDS: &[&str] = &[
    "intent_type",
    "target",
    "namespace",
    "replicas",
    "reason",
    "description",
    "source",
    "correlation_id",
    "priority",
    "constraints",
    "created_at",
    "updated_at",
    "status",
    "target_resources",
    "nephio_context",
];

/// Fields that say something about the workload, not about the request.
const SETTINGS: &[&str] = &["constraints", "nephio_context", "target_resources"];

pub(super) fn decode(document: &Document) -> Result<NetworkIntent, Fault> {
    let fields = Fields::of(&document.value, "", Nulls::Wrong)?;
    fields.only(FIELDS)?;
    let action = fields.required("intent_type", action)?;
    let name = fields.required("target", |value| Name::new(&text(value)?))?;
    let namespace = fields.required("namespace", |value| Namespace::new(&text(value)?))?;
    let replicas = fields.required("replicas", integer(1..=100))?;
    let priority = fields.optional("priority", priority::level)?.unwrap_or(Priority::Normal);
    check_the_rest(&fields)?;

    let constraints = bounds(&fields, replicas, &namespace)?;
    let target =
        Target { namespace: namespace.clone(), name: name.clone(), replicas: Some(replicas) };
    Ok(NetworkIntent {
        origin: document.origin.clone(),
        form: Form::Flat,
        namespace,
        name,
        generation: None,
        priority,
        content: content_hash(&document.value),
        request: Request::Fields(Answer {
            action,
            targets: vec![target],
            settings: settings(&fields),
        }),
        constraints,
    })
}

/// The word for an action in the two forms that call it a type of intent.
fn action(value: &Value) -> Result<Action, Rule> {
    let word = one_of("scaling | deployment | configuration")(value)?;
    Ok(Action::of_type(&word))
}

/// Fields that must be right although nothing here depends on them.
fn check_the_rest(fields: &Fields<'_>) -> Result<(), Fault> {
    fields.optional("reason", text_of(0..=512))?;
    fields.optional("description", text_of(0..=1024))?;
    fields.optional("source", one_of(r#"user | planner | test | """#))?;
    fields.optional("correlation_id", text)?;
    fields.optional("created_at", date_time)?;
    fields.optional("updated_at", date_time)?;
    fields.optional("status", one_of("pending | processing | completed | failed"))?;
    fields.list("target_resources", text_of(1..=usize::MAX))?;
    if let Some(context) = fields.inside("nephio_context")? {
        for name in ["package_revision", "workload_cluster", "blueprint_name"] {
            context.optional(name, text)?;
        }
    }
    Ok(())
}

fn bounds(fields: &Fields<'_>, replicas: u32, namespace: &Namespace) -> Result<Constraints, Fault> {
    let constraints = match fields.inside("constraints")? {
        Some(inside) => constraints::read(&inside)?,
        None => Constraints::default(),
    };
    constraints.allow_replicas(replicas).map_err(|rule| Fault::new("/replicas", rule))?;
    constraints.allow_namespace(namespace).map_err(|rule| Fault::new("/namespace", rule))?;
    Ok(constraints)
}

fn settings(fields: &Fields<'_>) -> Map<String, Value> {
    let present = |name: &&str| fields.raw(name).map(|value| ((*name).to_owned(), value.clone()));
    SETTINGS.iter().filter_map(present).collect()
}
