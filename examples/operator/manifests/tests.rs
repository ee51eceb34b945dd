use super::*;
use crate::plan::plan;
use crate::samples::{decoded, text_intent};
use crate::value::from_yaml;

fn rendered(answer: &str) -> BTreeMap<String, Bytes> {
    let intent = text_intent("Scale web to 5 replicas");
    render(&intent, &plan(&intent, &crate::answer::parse(answer).unwrap()).unwrap())
}

fn parsed(set: &BTreeMap<String, Bytes>, file: &str) -> Value {
    from_yaml(str::from_utf8(&set[file]).unwrap(), 1).unwrap()
}

#[test]
fn scaling_says_nothing_but_the_number() {
    let set = rendered(
        r#"{"action":"scale","targets":[{"namespace":"prod","name":"web","replicas":5}],"settings":{}}"#,
    );
    let expected = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  annotations:
    headworks.example/intent: default/sample
  labels:
    app.kubernetes.io/managed-by: headworks-operator
    app.kubernetes.io/name: web
  name: web
  namespace: prod
spec:
  replicas: 5
";
    assert_eq!(set.keys().collect::<Vec<_>>(), ["web-scale.yaml"]);
    assert_eq!(set["web-scale.yaml"], expected);
}

#[test]
fn a_deployment_selects_its_own_pods() {
    let set = rendered(
        r#"{"action":"deploy","targets":[{"namespace":"prod","name":"core.amf"}],
            "settings":{"image":"registry/amf:1"}}"#,
    );
    let object = parsed(&set, "core-amf-deployment.yaml");
    let template = &object["spec"]["template"];
    assert_eq!(object["spec"]["selector"]["matchLabels"], template["metadata"]["labels"]);
    assert_eq!(template["spec"]["containers"][0]["image"], "registry/amf:1");
    assert_eq!(object["spec"].get("replicas"), None);
    let settings = parsed(&set, "sample-settings.yaml");
    assert_eq!(settings["data"]["settings.json"], r#"{"image":"registry/amf:1"}"#);
}

#[test]
fn files_of_targets_with_one_name_do_not_collide() {
    let long = "x".repeat(80);
    let set = rendered(&format!(
        r#"{{"action":"scale","settings":{{}},"targets":[
            {{"namespace":"a","name":"web"}},{{"namespace":"b","name":"web"}},
            {{"namespace":"a","name":"a.b"}},{{"namespace":"a","name":"a-b"}},
            {{"namespace":"a","name":"{long}"}},{{"namespace":"a","name":"{long}y"}}]}}"#
    ));
    assert_eq!(set.len(), 6);
    let kebab = |name: &String| {
        name.len() <= 80
            && name.bytes().all(|b| b"abcdefghijklmnopqrstuvwxyz0123456789-.".contains(&b))
    };
    assert!(set.keys().all(kebab), "{:?}", set.keys());
}

#[test]
fn keys_are_camel_case_whatever_the_intent_says() {
    for document in crate::generate::documents(200, 3) {
        let (intent, _) = decoded(document.value).unwrap();
        let crate::intent::Request::Fields(answer) = &intent.request else { continue };
        let set = render(&intent, &plan(&intent, answer).unwrap());
        assert_eq!(set, render(&intent, &plan(&intent, answer).unwrap()), "the same bytes again");
        for file in set.keys() {
            lower_case_keys(&parsed(&set, file));
        }
    }
}

fn lower_case_keys(value: &Value) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            assert!(key.starts_with(|c: char| c.is_ascii_lowercase()), "{key}");
            assert!(!key.contains('_'), "{key}");
            lower_case_keys(value);
        }),
        Value::Array(items) => items.iter().for_each(lower_case_keys),
        _ => {}
    }
}
