//! From the answer to the resources, within the bounds that the author set.

use serde_json::{Map, Value};

use crate::answer::{Action, Answer, Target};
use crate::intent::NetworkIntent;
use crate::names::{Name, Namespace};
use crate::problem::Fault;
use crate::value::child;

/// What is to exist in the cluster once the intent is done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResourcePlan {
    pub(crate) resources: Vec<Resource>,
}

/// One object to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Resource {
    /// The number of replicas of a deployment that is there already; nothing else of it.
    Scale { namespace: Namespace, name: Name, replicas: Option<u32> },
    /// A whole deployment.
    Deployment { namespace: Namespace, name: Name, replicas: Option<u32>, image: String },
    /// What the intent says beside its targets; named like the intent, whose key no other has.
    Settings {
        namespace: Namespace,
        name: Name,
        settings: Map<String, Value>,
        targets: Vec<Target>,
    },
}

/// Plans the resources.
///
/// # Errors
/// A target is outside the author's bounds; the pointer is one into the answer.
pub(crate) fn plan(intent: &NetworkIntent, answer: &Answer) -> Result<ResourcePlan, Fault> {
    for (index, target) in answer.targets.iter().enumerate() {
        check(intent, target, &child("/targets", &index.to_string()))?;
    }
    let workloads = answer.targets.iter().filter_map(|target| workload(answer, target));
    let settings = Resource::Settings {
        namespace: intent.namespace.clone(),
        name: intent.name.clone(),
        settings: answer.settings.clone(),
        targets: answer.targets.clone(),
    };
    let carries = answer.action == Action::Configure || !answer.settings.is_empty();
    Ok(ResourcePlan { resources: workloads.chain(carries.then_some(settings)).collect() })
}

fn check(intent: &NetworkIntent, target: &Target, at: &str) -> Result<(), Fault> {
    let constraints = &intent.constraints;
    constraints
        .allow_namespace(&target.namespace)
        .map_err(|rule| Fault::new(child(at, "namespace"), rule))?;
    match target.replicas {
        Some(replicas) => constraints
            .allow_replicas(replicas)
            .map_err(|rule| Fault::new(child(at, "replicas"), rule)),
        None => Ok(()),
    }
}

fn workload(answer: &Answer, target: &Target) -> Option<Resource> {
    let Target { namespace, name, replicas } = target.clone();
    match answer.action {
        Action::Scale => Some(Resource::Scale { namespace, name, replicas }),
        Action::Deploy => {
            let image = image(answer, &name);
            Some(Resource::Deployment { namespace, name, replicas, image })
        }
        Action::Configure => None,
    }
}

/// The image that the settings name, or the workload's own name.
fn image(answer: &Answer, name: &Name) -> String {
    let parameters = answer.settings.get("parameters").and_then(|inside| inside.get("image"));
    let image = answer.settings.get("image").or(parameters).and_then(Value::as_str);
    image.map_or_else(|| format!("{name}:latest"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::Constraints;
    use crate::problem::Rule;
    use crate::samples::text_intent;

    fn answered(action: &str, replicas: u32) -> Answer {
        let text = format!(
            r#"{{"action":"{action}","settings":{{}},
                "targets":[{{"namespace":"prod","name":"web","replicas":{replicas}}}]}}"#
        );
        crate::answer::parse(&text).unwrap()
    }

    fn bounded(constraints: Constraints) -> NetworkIntent {
        NetworkIntent { constraints, ..text_intent("Scale web to 5 replicas") }
    }

    #[test]
    fn bounds_hold_for_what_the_llm_made_of_a_text() {
        let bounds = Constraints {
            min_replicas: Some(2),
            max_replicas: Some(4),
            allowed_namespaces: Some(vec!["prod".to_owned()]),
        };
        let fault = |intent: &NetworkIntent, replicas| {
            plan(intent, &answered("scale", replicas)).unwrap_err()
        };
        let intent = bounded(bounds.clone());
        assert!(plan(&intent, &answered("scale", 2)).is_ok());
        assert!(plan(&intent, &answered("scale", 4)).is_ok());
        let at = "/targets/0/replicas";
        assert_eq!(fault(&intent, 1), Fault::new(at, Rule::BelowMin { min: 2, was: 1 }));
        assert_eq!(fault(&intent, 5), Fault::new(at, Rule::AboveMax { max: 4, was: 5 }));
        let elsewhere = bounded(Constraints { allowed_namespaces: Some(vec![]), ..bounds });
        let rule = Rule::NamespaceNotAllowed { was: "prod".to_owned() };
        assert_eq!(fault(&elsewhere, 3), Fault::new("/targets/0/namespace", rule));
    }

    #[test]
    fn every_action_leaves_at_least_one_resource() {
        let intent = text_intent("Scale web to 5 replicas");
        for action in ["scale", "deploy", "configure"] {
            let plan = plan(&intent, &answered(action, 5)).unwrap();
            assert_eq!(plan.resources.len(), 1, "{action}");
        }
    }
}
