//! How the stand-in "understands": fixed rules over the JSON object that the operator sends.
//!
//! - An `intent` that has the shape of an answer comes back as it is.
//! - In a `text`, every `<name> to [negative] N replicas` and `<NAME> with N replicas` becomes a
//!   target (lower-cased, the first of a name wins); without any, the object's own name is the
//!   one target, without replicas.
//! - No text is refused, and what a rule of the operator should catch (negative, too many) is
//!   passed on as it was said.

use serde_json::value::RawValue;
use serde_json::{Value, json};

/// What the operator asks.
#[derive(Debug, serde::Deserialize)]
struct Question<'a> {
    #[serde(borrow)]
    intent: Option<&'a RawValue>,
    text: Option<String>,
    metadata: Option<Metadata>,
    context: Option<Value>,
}

#[derive(Debug, serde::Deserialize)]
struct Metadata {
    namespace: String,
    name: String,
}

/// The model's whole output for one question.
pub(crate) fn answer(question: &str) -> String {
    let parsed: Option<Question<'_>> = serde_json::from_str(question).ok();
    match parsed {
        Some(Question { intent: Some(intent), .. }) => intent.get().to_owned(),
        Some(Question { text: Some(text), metadata: Some(object), context, .. }) => {
            from_text(&text, &object, context.as_ref()).to_string()
        }
        // Not one of the operator's questions. A model would make something up; this one doesn't.
        _ => json!({"action": "configure", "targets": [], "settings": {}}).to_string(),
    }
}

fn from_text(text: &str, object: &Metadata, context: Option<&Value>) -> Value {
    let elsewhere = context.and_then(|context| context.get("targetNamespace")?.as_str());
    let namespace = elsewhere.unwrap_or(&object.namespace);
    let words: Vec<&str> = text.split_whitespace().collect();
    let mentions = mentions(&words);
    let scales = mentions.iter().any(|mention| mention.verb == Verb::To);
    let deploys = !mentions.is_empty()
        || words.iter().any(|word| word.to_ascii_lowercase().starts_with("deploy"));
    let mut targets: Vec<Value> = Vec::new();
    for mention in &mentions {
        if !targets.iter().any(|target| target["name"] == mention.name.as_str()) {
            targets.push(json!({
                "namespace": namespace, "name": mention.name, "replicas": mention.replicas,
            }));
        }
    }
    if targets.is_empty() {
        targets.push(json!({"namespace": namespace, "name": object.name}));
    }
    let action = match (scales, deploys) {
        (true, _) => "scale",
        (false, true) => "deploy",
        (false, false) => "configure",
    };
    json!({"action": action, "targets": targets, "settings": {}})
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verb {
    To,
    With,
}

/// One `<name> to|with N replicas` in a text.
#[derive(Debug, PartialEq)]
struct Mention {
    name: String,
    verb: Verb,
    replicas: i64,
}

/// Every mention, in order. Words of one mention belong to no other.
fn mentions(words: &[&str]) -> Vec<Mention> {
    let (mut found, mut rest) = (Vec::new(), words);
    while let [_, tail @ ..] = rest {
        rest = match mention(rest) {
            Some((mention, behind)) => {
                found.push(mention);
                behind
            }
            None => tail,
        };
    }
    found
}

/// The mention that begins with the first word, and the words behind it.
fn mention<'a, 'w>(words: &'a [&'w str]) -> Option<(Mention, &'a [&'w str])> {
    let [name, verb, rest @ ..] = words else { return None };
    let name = name_in(name)?;
    let verb = match verb.to_ascii_lowercase().as_str() {
        "to" => Verb::To,
        "with" => Verb::With,
        _ => return None,
    };
    let (sign, rest) = match rest {
        [word, rest @ ..] if verb == Verb::To && word.eq_ignore_ascii_case("negative") => {
            (-1, rest)
        }
        _ => (1, rest),
    };
    let [number, unit, rest @ ..] = rest else { return None };
    let replicas = sign * number_in(number)?;
    let unit = unit.trim_end_matches(|c: char| c.is_ascii_punctuation()).to_ascii_lowercase();
    matches!(unit.as_str(), "replica" | "replicas")
        .then_some((Mention { name, verb, replicas }, rest))
}

/// A DNS-1123 label with a letter in it, whatever its case and the brackets around it.
fn name_in(word: &str) -> Option<String> {
    let name = word.trim_matches(|c: char| c.is_ascii_punctuation()).to_ascii_lowercase();
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = (1..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && name.bytes().any(|byte| byte.is_ascii_lowercase());
    is_name.then_some(name)
}

/// A whole number; one too large for any rule stays too large.
fn number_in(word: &str) -> Option<i64> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| word.parse().unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(text: &str) -> Vec<(String, Option<i64>)> {
        let question = json!({"metadata": {"namespace": "ns", "name": "own-name"}, "text": text});
        let answer: Value = serde_json::from_str(&answer(&question.to_string())).unwrap();
        let target = |target: &Value| {
            assert_eq!(target["namespace"], "ns");
            (target["name"].as_str().unwrap().to_owned(), target["replicas"].as_i64())
        };
        answer["targets"].as_array().unwrap().iter().map(target).collect()
    }

    fn action(text: &str) -> String {
        let question = json!({"metadata": {"namespace": "ns", "name": "n"}, "text": text});
        let answer: Value = serde_json::from_str(&answer(&question.to_string())).unwrap();
        answer["action"].as_str().unwrap().to_owned()
    }

    #[test]
    fn every_name_to_n_replicas_is_a_target() {
        let text = "Scale RAN components simultaneously: du-deployment to 3 replicas with standard \
                    profile, CU to 5 replicas, and (ru-x) to negative 2 replicas.";
        let found = targets(text);
        let expected = [("du-deployment", 3), ("cu", 5), ("ru-x", -2)];
        let expected = expected.map(|(name, n)| (name.to_owned(), Some(n)));
        assert_eq!(found, expected);
        assert_eq!(action(text), "scale");
    }

    #[test]
    fn a_name_with_n_replicas_is_lower_cased() {
        let text = "Deploy AMF with 3 replicas for slice eMBB, UPF With 1 replica";
        assert_eq!(targets(text), [("amf".into(), Some(3)), ("upf".into(), Some(1))]);
        assert_eq!(action(text), "deploy");
    }

    #[test]
    fn any_other_text_means_the_object_itself() {
        for text in [
            "",
            "Set up UPF for edge deployment",
            "from 3 to 5 replicas",
            "web to many replicas",
            "to 5 replicas",
            "web to 5",
            "web_app to 5 replicas",
            "web with negative 5 replicas",
        ] {
            assert_eq!(targets(text), [("own-name".to_owned(), None)], "{text}");
        }
        assert_eq!(action("Set up UPF"), "configure");
        assert_eq!(action("set up and DEPLOYING"), "deploy");
    }

    #[test]
    fn numbers_come_back_as_said_and_the_first_of_a_name_wins() {
        assert_eq!(targets("a1 to 500 replicas, A1 to 3 replicas"), [("a1".into(), Some(500))]);
        let huge = "9".repeat(40);
        assert_eq!(targets(&format!("a1 to {huge} replicas"))[0].1, Some(i64::MAX));
    }

    #[test]
    fn an_intent_in_the_answers_shape_comes_back_byte_for_byte() {
        let intent =
            r#"{"action":"scale","targets":[],"settings":{"z":1e400,"a":0.1000000000000000055}}"#;
        let question =
            format!(r#"{{"metadata":{{"namespace":"a","name":"b"}},"intent":{intent}}}"#);
        assert_eq!(answer(&question), intent);
    }

    #[test]
    fn the_context_names_another_namespace() {
        let question = json!({
            "metadata": {"namespace": "a", "name": "b"}, "text": "x to 1 replicas",
            "context": {"targetNamespace": "prod"},
        });
        assert!(answer(&question.to_string()).contains("\"namespace\":\"prod\""));
    }

    #[test]
    fn nothing_makes_it_panic_or_refuse() {
        for question in ["", "{", "null", "[]", "{\"text\":5}", "{\"text\":\"x\"}", "\u{1f600}"] {
            let answer: Value = serde_json::from_str(&answer(question)).unwrap();
            assert_eq!(answer["targets"], json!([]));
        }
    }
}
