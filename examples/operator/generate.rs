//! Makes documents for load runs: all valid, every form, every priority, the same for one seed.

use serde_json::{Value, json};

use crate::chance::Chance;
use crate::document::Document;
use crate::problem::Origin;

/// `count` documents over at least √`count` namespaces, made as they are asked for.
pub(crate) fn documents(count: u64, seed: u64) -> impl Iterator<Item = Document> {
    let namespaces = count.isqrt() + 1;
    (0..count).map(move |index| {
        let mut dice = Chance::of(seed, index, 1);
        let namespace = format!("tenant-{}", index % namespaces);
        let name = format!("{}-{index}", dice.one_of(FUNCTIONS));
        let (value, extension) = document(&mut dice, &namespace, &name);
        Document { origin: Origin::new(format!("generated/{index:09}.{extension}"), 1), value }
    })
}

const FUNCTIONS: &[&str] = &["amf", "smf", "upf", "ausf", "nrf", "odu", "ocu-cp", "ocu-up", "ric"];
const WORDS: &[&str] = &["low", "medium", "high", "critical"];

fn document(dice: &mut Chance, namespace: &str, name: &str) -> (Value, &'static str) {
    match dice.below(4) {
        0 => (flat(dice, namespace, name), "json"),
        1 => (kubernetes(dice, namespace, name), "json"),
        2 => (custom_resource(dice, namespace, name), "yaml"),
        _ => (v1alpha1(dice, namespace, name), "yaml"),
    }
}

fn flat(dice: &mut Chance, namespace: &str, name: &str) -> Value {
    json!({
        "intent_type": dice.one_of(&["scaling", "deployment", "configuration"]),
        "target": name,
        "namespace": namespace,
        "replicas": 1 + dice.below(20),
        "source": "test",
        "priority": dice.below(11),
        "constraints": { "min_replicas": 1, "max_replicas": 20 },
    })
}

fn kubernetes(dice: &mut Chance, namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "nephoran.com/v1",
        "kind": "NetworkIntent",
        "metadata": { "name": name, "namespace": namespace, "generation": 1 + dice.below(9) },
        "spec": {
            "action": dice.one_of(&["scale", "deploy"]),
            "target": { "type": "deployment", "name": name, "namespace": namespace },
            "parameters": { "replicas": dice.below(21), "priority": dice.one_of(WORDS) },
            "constraints": { "minReplicas": 0, "maxReplicas": 20 },
        },
    })
}

fn custom_resource(dice: &mut Chance, namespace: &str, name: &str) -> Value {
    let replicas = 1 + dice.below(20);
    let text = match dice.below(3) {
        0 => format!("Scale {name} to {replicas} replicas for the evening peak"),
        1 => format!("Deploy {} with {replicas} replicas, low latency", name.to_uppercase()),
        _ => "Set up a slice for sensors: 10 Mbps, isolated".to_owned(),
    };
    json!({
        "apiVersion": "nephoran.com/v1",
        "kind": "NetworkIntent",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "intent": text, "priority": dice.one_of(WORDS) },
    })
}

fn v1alpha1(dice: &mut Chance, namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "intent.nephoran.com/v1alpha1",
        "kind": "NetworkIntent",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "source": "test",
            "intentType": "scaling",
            "target": name,
            "namespace": namespace,
            "replicas": dice.below(11),
            "scalingParameters": { "autoscalingPolicy": { "minReplicas": 0, "maxReplicas": 10 } },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{Decoded, decode};
    use crate::intent::Form;
    use headworks::Priority;
    use std::collections::BTreeSet;

    #[test]
    fn every_generated_document_is_valid_and_has_a_key_of_its_own() {
        let (mut keys, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
        let (mut forms, mut priorities) = (Vec::new(), Vec::new());
        for document in documents(1000, 7) {
            let Decoded::Intent(intent, warnings) = decode(&document).unwrap() else {
                panic!("{document:?}");
            };
            assert_eq!(warnings, []);
            assert!(keys.insert(intent.key()));
            namespaces.insert(intent.namespace.to_string());
            forms.push(intent.form);
            priorities.push(intent.priority);
        }
        assert!(namespaces.len() >= 32);
        for form in [Form::Flat, Form::Kubernetes, Form::CustomResource, Form::V1alpha1] {
            assert!(forms.contains(&form), "{form}");
        }
        assert!(Priority::ALL.iter().all(|priority| priorities.contains(priority)));
    }

    #[test]
    fn a_seed_always_makes_the_same_documents() {
        assert!(documents(50, 1).eq(documents(50, 1)));
        assert!(!documents(50, 1).eq(documents(50, 2)));
    }
}
