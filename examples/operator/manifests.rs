//! From the plan to the files of one folder.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::answer::Target;
use crate::intent::NetworkIntent;
use crate::plan::{Resource, ResourcePlan};
use crate::yaml::to_yaml;

/// Renders the plan: file names and contents, the same bytes for the same plan; never empty.
pub(crate) fn render(intent: &NetworkIntent, plan: &ResourcePlan) -> BTreeMap<String, Bytes> {
    let mut files = BTreeMap::new();
    for resource in &plan.resources {
        let (object, kind) = manifest(intent, resource);
        let name = free_name(&files, &file_stem(resource), kind);
        files.insert(name, Bytes::from(to_yaml(&object)));
    }
    files
}

/// The object and the word that ends its file's name.
fn manifest(intent: &NetworkIntent, resource: &Resource) -> (Value, &'static str) {
    match resource {
        Resource::Scale { namespace, name, replicas } => {
            let mut object = object("apps/v1", "Deployment", namespace, name, intent);
            object["spec"] = with_replicas(Map::new(), *replicas);
            (object, "scale")
        }
        Resource::Deployment { namespace, name, replicas, image } => {
            let mut object = object("apps/v1", "Deployment", namespace, name, intent);
            object["spec"] = with_replicas(pods(&kebab(name), image), *replicas);
            (object, "deployment")
        }
        Resource::Settings { namespace, name, settings, targets } => {
            let mut object = object("v1", "ConfigMap", namespace, name, intent);
            object["data"] = data(settings, targets);
            (object, "settings")
        }
    }
}

fn object(api: &str, kind: &str, namespace: &str, name: &str, intent: &NetworkIntent) -> Value {
    json!({
        "apiVersion": api,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/managed-by": "headworks-operator",
                "app.kubernetes.io/name": kebab(name),
            },
            "annotations": { "headworks.example/intent": intent.key() },
        },
    })
}

fn with_replicas(mut spec: Map<String, Value>, replicas: Option<u32>) -> Value {
    if let Some(replicas) = replicas {
        spec.insert("replicas".to_owned(), replicas.into());
    }
    Value::Object(spec)
}

fn pods(app: &str, image: &str) -> Map<String, Value> {
    let labels = json!({ "app.kubernetes.io/name": app });
    let template = json!({
        "metadata": { "labels": labels },
        "spec": { "containers": [{ "name": app, "image": image }] },
    });
    let selector = json!({ "matchLabels": labels });
    Map::from_iter([("selector".to_owned(), selector), ("template".to_owned(), template)])
}

/// A ConfigMap holds strings only: structure travels as JSON.
fn data(settings: &Map<String, Value>, targets: &[Target]) -> Value {
    json!({ "settings.json": json!(settings).to_string(), "targets.json": json!(targets).to_string() })
}

/// A name as a DNS-1123 label: what labels, containers and files are called.
fn kebab(name: &str) -> String {
    const MAX: usize = 63;
    let name = name.replace('.', "-");
    name[..name.len().min(MAX)].trim_end_matches('-').to_owned()
}

fn file_stem(resource: &Resource) -> String {
    match resource {
        Resource::Scale { name, .. }
        | Resource::Deployment { name, .. }
        | Resource::Settings { name, .. } => kebab(name),
    }
}

/// `<stem>-<kind>.yaml`, numbered when a target of another namespace has it already.
fn free_name(files: &BTreeMap<String, Bytes>, stem: &str, kind: &str) -> String {
    let numbered = (2..).map(|number: u32| format!("{stem}-{kind}-{number}.yaml"));
    std::iter::once(format!("{stem}-{kind}.yaml"))
        .chain(numbered)
        .find(|name| !files.contains_key(name))
        .expect("one of endlessly many names is free")
}

#[cfg(test)]
mod tests;
