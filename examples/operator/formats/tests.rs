//! Every rule of every form, with the pointer its author gets; and how real folders end.

use std::collections::BTreeMap;
use std::path::Path;

use headworks::Priority;
use serde_json::{Value, json};

use super::*;
use crate::document::{Found, read_all};
use crate::intent::{Form, Request};
use crate::problem::Rule;
use crate::samples::{decoded, document, flat};

/// A copy of `value` with one field, named by its pointer, set anew.
fn with(value: &Value, pointer: &str, field: Value) -> Value {
    let mut value = value.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap()[name] = field;
    value
}

fn without(value: &Value, pointer: &str) -> Value {
    let mut value = value.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    value
}

fn kubernetes() -> Value {
    json!({
        "apiVersion": "nephoran.com/v1",
        "kind": "NetworkIntent",
        "metadata": { "name": "up", "namespace": "edge" },
        "spec": {
            "action": "scale",
            "target": { "type": "deployment", "name": "web", "namespace": "prod" },
            "parameters": { "replicas": 5 },
            "constraints": {},
        },
    })
}

fn text() -> Value {
    json!({
        "apiVersion": "nephoran.com/v1",
        "kind": "NetworkIntent",
        "metadata": { "name": "up", "namespace": "edge" },
        "spec": { "intent": "Scale web to 5 replicas" },
    })
}

fn v1alpha1() -> Value {
    json!({
        "apiVersion": "intent.nephoran.com/v1alpha1",
        "kind": "NetworkIntent",
        "metadata": { "name": "up", "namespace": "edge" },
        "spec": { "target": "web", "replicas": 5 },
    })
}

/// Asserts that a change of one field is a fault just there.
fn wrong(base: &Value, pointer: &str, field: Value) -> Rule {
    wrong_at(base, pointer, field, pointer)
}

fn wrong_at(base: &Value, changed: &str, field: Value, pointer: &str) -> Rule {
    let value = with(base, changed, field);
    let fault = decoded(value.clone()).expect_err(&value.to_string());
    assert_eq!(fault.pointer, pointer, "{value}: {fault}");
    fault.rule
}

fn right(base: &Value, pointer: &str, field: Value) -> NetworkIntent {
    let value = with(base, pointer, field);
    decoded(value.clone()).unwrap_or_else(|fault| panic!("{value}: {fault}")).0
}

fn required(base: &Value, pointer: &str) {
    let value = without(base, pointer);
    let fault = decoded(value.clone()).expect_err(&value.to_string());
    assert_eq!(fault, Fault::new(pointer, Rule::Required));
}

// Telling documents apart.

#[test]
fn what_is_no_intent_is_skipped_by_its_kind() {
    for (value, kind) in [
        (json!({"$schema": "x", "properties": {"intent_type": {}}}), "JSON Schema"),
        (json!({"apiVersion": "v1", "kind": "ConfigMap"}), "ConfigMap"),
        (json!({"kind": "CustomResourceDefinition", "spec": {}}), "CustomResourceDefinition"),
        (json!({"kind": "NetworkIntentList", "items": []}), "NetworkIntentList"),
        (json!({"intentId": "intent-20260101-0001", "actions": []}), "plan"),
        (json!({"policyTypeId": "x", "rules": {}}), "policy"),
        (json!([{"policyTypeId": "x"}]), "policies"),
        (json!({"policies": []}), "policies"),
    ] {
        match decode(&document(value.clone())) {
            Ok(Decoded::Skipped(found)) => assert_eq!(found, kind, "{value}"),
            other => panic!("{value}: {other:?}"),
        }
    }
}

#[test]
fn what_has_no_known_form_is_a_fault() {
    for (value, pointer) in [
        (json!({}), ""),
        (json!([]), ""),
        (json!(["a"]), ""),
        (json!("scale web"), ""),
        (json!({"spec": {}}), ""),
        (json!({"kind": 5}), "/kind"),
        (with(&kubernetes(), "/apiVersion", json!("nephoran.com/v2")), "/apiVersion"),
        (with(&kubernetes(), "/apiVersion", json!(1)), "/apiVersion"),
        (without(&kubernetes(), "/spec/action"), "/spec"),
    ] {
        let fault = decoded(value.clone()).expect_err(&value.to_string());
        assert!(matches!(fault.rule, Rule::UnknownForm(_)), "{value}: {fault}");
        assert_eq!(fault.pointer, pointer, "{value}");
    }
    required(&kubernetes(), "/apiVersion");
    for base in [kubernetes(), text(), v1alpha1()] {
        required(&base, "/spec");
    }
}

// The flat form.

#[test]
fn flat_has_its_required_fields_and_no_strange_ones() {
    for pointer in ["/target", "/namespace", "/replicas"] {
        required(&flat(), pointer);
    }
    assert_eq!(wrong(&flat(), "/extra", json!(1)), Rule::UnknownField);
    assert_eq!(wrong(&flat(), "/extra", json!(null)), Rule::UnknownField);
}

#[test]
fn flat_fields_have_their_types_ranges_and_words() {
    for (pointer, field) in [
        ("/intent_type", json!("scale")),
        ("/intent_type", json!(null)),
        ("/target", json!("")),
        ("/target", json!("Web")),
        ("/target", json!("../web")),
        ("/target", json!("/web")),
        ("/target", json!(5)),
        ("/namespace", json!("")),
        ("/namespace", json!("a.b")),
        ("/namespace", json!("..")),
        ("/replicas", json!(0)),
        ("/replicas", json!(101)),
        ("/replicas", json!(-1)),
        ("/replicas", json!(2.5)),
        ("/replicas", json!("5")),
        ("/replicas", json!(u64::MAX)),
        ("/reason", json!("x".repeat(513))),
        ("/reason", json!(null)),
        ("/description", json!("x".repeat(1025))),
        ("/source", json!("monitoring-system")),
        ("/correlation_id", json!(7)),
        ("/priority", json!(11)),
        ("/priority", json!(-1)),
        ("/priority", json!("high")),
        ("/constraints", json!([])),
        ("/created_at", json!("yesterday")),
        ("/updated_at", json!(0)),
        ("/status", json!("lost")),
        ("/target_resources", json!("web")),
        ("/nephio_context", json!("edge")),
    ] {
        wrong(&flat(), pointer, field);
    }
    wrong_at(&flat(), "/target_resources", json!(["a", ""]), "/target_resources/1");
    wrong_at(
        &flat(),
        "/nephio_context",
        json!({"blueprint_name": 1}),
        "/nephio_context/blueprint_name",
    );
}

#[test]
fn flat_fields_may_go_to_their_limits() {
    for (pointer, field) in [
        ("/replicas", json!(1)),
        ("/replicas", json!(100)),
        ("/reason", json!("ä".repeat(512))),
        ("/description", json!("x".repeat(1024))),
        ("/source", json!("")),
        ("/source", json!("planner")),
        ("/constraints", json!({"anything": {"goes": true}, "min_replicas": 0})),
        ("/created_at", json!("2026-02-28T08:15:30+01:00")),
        ("/status", json!("failed")),
        ("/target_resources", json!([])),
        ("/nephio_context", json!({"workload_cluster": "edge", "more": 1})),
    ] {
        right(&flat(), pointer, field);
    }
}

#[test]
fn flat_is_keyed_by_namespace_and_target() {
    let (intent, _) = decoded(flat()).unwrap();
    assert_eq!((intent.key().as_str(), &*intent.tenant()), ("default/web", "default"));
    assert_eq!((intent.form, intent.generation), (Form::Flat, None));
}

// Bounds.

#[test]
fn bounds_are_kept_under_either_spelling() {
    for (constraints, pointer, rule) in [
        (json!({"min_replicas": 6}), "/replicas", Rule::BelowMin { min: 6, was: 5 }),
        (json!({"minReplicas": 6}), "/replicas", Rule::BelowMin { min: 6, was: 5 }),
        (json!({"max_replicas": 4}), "/replicas", Rule::AboveMax { max: 4, was: 5 }),
        (json!({"maxReplicas": 4}), "/replicas", Rule::AboveMax { max: 4, was: 5 }),
        (
            json!({"min_replicas": 6, "maxReplicas": 4}),
            "/constraints/min_replicas",
            Rule::MinAboveMax { min: 6, max: 4 },
        ),
        (
            json!({"min_replicas": 1, "minReplicas": 1}),
            "/constraints/minReplicas",
            Rule::BothSpellings,
        ),
        (
            json!({"allowed_namespaces": ["a"]}),
            "/namespace",
            Rule::NamespaceNotAllowed { was: "default".to_owned() },
        ),
        (
            json!({"allowedNamespaces": []}),
            "/namespace",
            Rule::NamespaceNotAllowed { was: "default".to_owned() },
        ),
    ] {
        assert_eq!(wrong_at(&flat(), "/constraints", constraints, pointer), rule);
    }
    for (constraints, pointer) in [
        (json!({"max_replicas": 0}), "/constraints/max_replicas"),
        (json!({"min_replicas": -1}), "/constraints/min_replicas"),
        (json!({"minReplicas": "1"}), "/constraints/minReplicas"),
        (json!({"allowed_namespaces": "a"}), "/constraints/allowed_namespaces"),
        (json!({"allowed_namespaces": [1]}), "/constraints/allowed_namespaces/0"),
    ] {
        wrong_at(&flat(), "/constraints", constraints, pointer);
    }
    right(&flat(), "/constraints", json!({"min_replicas": 5, "maxReplicas": 5}));
    right(&flat(), "/constraints", json!({"allowedNamespaces": ["a", "default"]}));
}

#[test]
fn bounds_hold_in_every_form_with_fields() {
    let at = "/spec/constraints";
    wrong_at(&kubernetes(), at, json!({"minReplicas": 6}), "/spec/parameters/replicas");
    wrong_at(&kubernetes(), at, json!({"max_replicas": 4}), "/spec/parameters/replicas");
    wrong_at(&kubernetes(), at, json!({"allowedNamespaces": ["edge"]}), "/spec/target/namespace");
    right(&kubernetes(), at, json!({"allowedNamespaces": ["prod"]}));
    let policy = |policy: Value| json!({ "autoscalingPolicy": policy });
    let at = "/spec/scalingParameters";
    wrong_at(&v1alpha1(), at, policy(json!({"minReplicas": 6})), "/spec/replicas");
    wrong_at(&v1alpha1(), at, policy(json!({"maxReplicas": 4})), "/spec/replicas");
    let pointer = "/spec/scalingParameters/autoscalingPolicy/minReplicas";
    wrong_at(&v1alpha1(), at, policy(json!({"minReplicas": 6, "maxReplicas": 4})), pointer);
}

#[test]
fn bounds_beside_a_text_wait_for_the_answer() {
    let scale = json!({"scaleParameters": {"minReplicas": 2, "maxReplicas": 4}});
    let intent = right(&text(), "/spec/processedParameters", scale);
    assert_eq!(intent.constraints.min_replicas, Some(2));
    assert_eq!(intent.constraints.max_replicas, Some(4));
}

// What the Kubernetes forms share.

#[test]
fn metadata_names_the_object() {
    for base in [kubernetes(), text(), v1alpha1()] {
        required(&base, "/metadata");
        required(&base, "/metadata/name");
        required(&base, "/metadata/namespace");
        for (pointer, field) in [
            ("/metadata/name", json!("Up")),
            ("/metadata/name", json!("a/b")),
            ("/metadata/name", json!("..")),
            ("/metadata/namespace", json!("/edge")),
            ("/metadata/namespace", json!("-")),
            ("/metadata/labels", json!("a")),
            ("/metadata/annotations", json!([])),
            ("/metadata/generation", json!(-1)),
            ("/metadata/generation", json!("1")),
        ] {
            wrong(&base, pointer, field);
        }
        let intent = right(&base, "/metadata/generation", json!(7));
        assert_eq!((intent.key().as_str(), intent.generation), ("edge/up", Some(7)));
        assert_eq!(intent.tenant().as_ref(), "edge");
        right(&base, "/metadata/labels", json!({"anything": "goes", "priority": "critical"}));
        right(&base, "/metadata/managedFields", json!([{}]));
        assert_eq!(right(&base, "/metadata/name", json!("a.b-c")).key(), "edge/a.b-c");
    }
}

#[test]
fn an_unknown_field_of_spec_is_a_fault_unless_it_is_null() {
    for base in [kubernetes(), text(), v1alpha1()] {
        assert_eq!(wrong(&base, "/spec/extra", json!({})), Rule::UnknownField);
        let (_, warnings) = decoded(with(&base, "/spec/extra", json!(null))).unwrap();
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].pointer, "/spec/extra");
        let (_, warnings) = decoded(with(&base, "/extra", json!(1))).unwrap();
        assert_eq!(warnings[0].pointer, "/extra");
    }
}

#[test]
fn a_known_field_that_is_null_is_absent() {
    let intent = right(&kubernetes(), "/spec/parameters", json!(null));
    let Request::Fields(answer) = intent.request else { panic!() };
    assert_eq!(answer.targets[0].replicas, None);
    right(&text(), "/spec/priority", json!(null));
    let value = with(&kubernetes(), "/spec/action", json!(null));
    assert_eq!(decoded(value).unwrap_err(), Fault::new("/spec/action", Rule::Required));
}

// Kubernetes-style.

#[test]
fn kubernetes_fields_have_their_types_and_words() {
    required(&kubernetes(), "/spec/target");
    required(&kubernetes(), "/spec/target/name");
    for (pointer, field) in [
        ("/spec/action", json!("Scale")),
        ("/spec/target", json!("web")),
        ("/spec/target/name", json!("../web")),
        ("/spec/target/namespace", json!("Prod")),
        ("/spec/target/type", json!(1)),
        ("/spec/parameters", json!([])),
        ("/spec/parameters/replicas", json!(-1)),
        ("/spec/parameters/replicas", json!("5")),
        ("/spec/parameters/priority", json!("soon")),
        ("/spec/parameters/priority", json!(11)),
        ("/spec/parameters/priority", json!({})),
        ("/spec/constraints", json!(1)),
    ] {
        wrong(&kubernetes(), pointer, field);
    }
    right(&kubernetes(), "/spec/target/profile", json!("5g"));
}

#[test]
fn kubernetes_carries_everything_it_says_into_the_settings() {
    let value = with(&kubernetes(), "/spec/parameters/sla", json!({"latency": "1ms"}));
    let value = with(&value, "/spec/constraints/mtls", json!(true));
    let Request::Fields(answer) = decoded(value).unwrap().0.request else { panic!() };
    assert_eq!(
        json!(answer),
        json!({
            "action": "scale",
            "targets": [{"namespace": "prod", "name": "web", "replicas": 5}],
            "settings": {
                "parameters": {"sla": {"latency": "1ms"}},
                "constraints": {"mtls": true},
                "target": {"type": "deployment"},
            },
        })
    );
}

#[test]
fn a_kubernetes_target_is_in_the_objects_namespace_unless_it_says_another() {
    let value = without(&kubernetes(), "/spec/target/namespace");
    let Request::Fields(answer) = decoded(value).unwrap().0.request else { panic!() };
    assert_eq!(&*answer.targets[0].namespace, "edge");
}

// Custom resource v1.

#[test]
fn a_text_is_short_and_of_harmless_characters() {
    wrong(&text(), "/spec/intent", json!(""));
    wrong(&text(), "/spec/intent", json!("x".repeat(1001)));
    wrong(&text(), "/spec/intent", json!(5));
    right(&text(), "/spec/intent", json!("x".repeat(1000)));
    right(&text(), "/spec/intent", json!("aZ09 \t\n\r-_.,;:()[]"));
    for c in "`$&*/\\'\"=<>@#{}|!?%^+~ä\u{a0}\0".chars() {
        let rule = wrong(&text(), "/spec/intent", json!(format!("Scale {c}")));
        assert!(matches!(rule, Rule::Pattern { was, .. } if was == c), "{c:?}: {rule}");
    }
}

#[test]
fn custom_resource_fields_have_their_types() {
    for (pointer, field) in [
        ("/spec/intentType", json!(1)),
        ("/spec/priority", json!("normal")),
        ("/spec/priority", json!(5)),
        ("/spec/targetNamespace", json!("../x")),
        ("/spec/resourceConstraints", json!("4 cores")),
        ("/spec/processedParameters", json!([])),
    ] {
        wrong(&text(), pointer, field);
    }
    wrong_at(&text(), "/spec/targetComponents", json!(["a", 1]), "/spec/targetComponents/1");
    right(&text(), "/spec/intentType", json!("whatever"));
}

#[test]
fn what_stands_beside_a_text_is_its_context() {
    let intent = right(&text(), "/spec/targetNamespace", json!("prod"));
    let Request::Text { text, context } = intent.request else { panic!() };
    assert_eq!(text, "Scale web to 5 replicas");
    assert_eq!(json!(context), json!({"targetNamespace": "prod"}));
}

// Custom resource v1alpha1.

#[test]
fn v1alpha1_fields_have_their_types() {
    required(&v1alpha1(), "/spec/target");
    for (pointer, field) in [
        ("/spec/target", json!({"name": "web"})),
        ("/spec/target", json!("Web")),
        ("/spec/namespace", json!("..")),
        ("/spec/replicas", json!(-1)),
        ("/spec/source", json!(1)),
        ("/spec/intentType", json!([])),
        ("/spec/scalingParameters", json!(3)),
        ("/spec/networkParameters", json!("fast")),
    ] {
        wrong(&v1alpha1(), pointer, field);
    }
    let quality = json!({"qosProfile": {"priority": -1}});
    wrong_at(
        &v1alpha1(),
        "/spec/networkParameters",
        quality,
        "/spec/networkParameters/qosProfile/priority",
    );
    right(&v1alpha1(), "/spec/replicas", json!(0));
}

#[test]
fn v1alpha1_acts_on_its_target() {
    let value = with(&v1alpha1(), "/spec/namespace", json!("oran"));
    let value = with(&value, "/spec/intentType", json!("scaling"));
    let intent = decoded(value).unwrap().0;
    assert_eq!((intent.form, intent.key().as_str()), (Form::V1alpha1, "edge/up"));
    let Request::Fields(answer) = intent.request else { panic!() };
    assert_eq!(
        json!(answer),
        json!({
            "action": "scale",
            "targets": [{"namespace": "oran", "name": "web", "replicas": 5}],
            "settings": {},
        })
    );
}

#[test]
fn v1alpha1_takes_the_number_it_states_first() {
    let (intent, warnings) =
        decoded(with(&v1alpha1(), "/spec/scalingParameters", json!({"replicas": 3}))).unwrap();
    let Request::Fields(answer) = intent.request else { panic!() };
    assert_eq!(answer.targets[0].replicas, Some(5));
    assert_eq!(warnings[0].pointer, "/spec/scalingParameters/replicas");
    let value = without(&v1alpha1(), "/spec/replicas");
    let intent = right(&value, "/spec/scalingParameters", json!({"replicas": 3}));
    let Request::Fields(answer) = intent.request else { panic!() };
    assert_eq!(answer.targets[0].replicas, Some(3));
}

// Priorities.

#[test]
fn levels_and_words_become_the_four_classes() {
    let expected = |level| match level {
        0..=2 => Priority::Low,
        3..=5 => Priority::Normal,
        6..=8 => Priority::High,
        _ => Priority::Urgent,
    };
    let parameter = "/spec/parameters/priority";
    for level in 0..=10 {
        assert_eq!(right(&flat(), "/priority", json!(level)).priority, expected(level));
        assert_eq!(right(&kubernetes(), parameter, json!(level)).priority, expected(level));
    }
    for (word, priority) in [
        ("low", Priority::Low),
        ("Medium", Priority::Normal),
        ("NORMAL", Priority::Normal),
        ("hIgH", Priority::High),
        ("critical", Priority::Urgent),
        ("Urgent", Priority::Urgent),
    ] {
        assert_eq!(right(&kubernetes(), parameter, json!(word)).priority, priority);
    }
    assert_eq!(right(&text(), "/spec/priority", json!("CRITICAL")).priority, Priority::Urgent);
    for base in [flat(), kubernetes(), text(), v1alpha1()] {
        assert_eq!(decoded(base).unwrap().0.priority, Priority::Normal);
    }
}

// Real folders.

/// How each document below a folder ends before it is submitted: by file, in order.
fn ends(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let mut ends: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for found in read_all(folder).unwrap() {
        let (origin, end) = match found {
            Found::Skipped { origin, kind } => (origin, format!("skipped: {kind}")),
            Found::Problem(problem) => (problem.origin, fault_line(&problem.fault)),
            Found::Document(document) => (document.origin.clone(), end(&document)),
        };
        ends.entry(origin.file.to_string()).or_default().push(end);
    }
    ends
}

fn end(document: &Document) -> String {
    match decode(document) {
        Ok(Decoded::Intent(intent, _)) => format!("{} {}", intent.form, intent.key()),
        Ok(Decoded::Skipped(kind)) => format!("skipped: {kind}"),
        Err(problem) => fault_line(&problem.fault),
    }
}

/// Pointer and the name of the rule; where a document grows without end is the parser's choice.
fn fault_line(fault: &Fault) -> String {
    match fault.rule {
        Rule::TooDeep { .. } => return "failed TooDeep".to_owned(),
        Rule::Expands(_) => return "failed Expands".to_owned(),
        _ => {}
    }
    let rule = format!("{:?}", fault.rule);
    let end = rule.find(|c: char| !c.is_alphanumeric()).unwrap_or(rule.len());
    format!("failed {:?} {}", fault.pointer, &rule[..end])
}

/// `file: end | end` per line, as a table in a test has it.
fn assert_ends(folder: &Path, table: &str) {
    let expected: Vec<&str> =
        table.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let found = ends(folder);
    let found: Vec<String> =
        found.iter().map(|(file, ends)| format!("{file}: {}", ends.join(" | "))).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_projects_own_samples_end_as_they_should() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/intents");
    assert_ends(&folder, include_str!("../expected/samples.txt"));
}

#[test]
fn real_samples_of_the_field_end_as_they_should() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/intents");
    if folder.is_dir() {
        assert_ends(&folder, include_str!("../expected/field.txt"));
    }
}
