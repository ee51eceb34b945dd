//! Short ways to make documents and intents in tests.

use serde_json::{Value, json};

use crate::document::Document;
use crate::formats::{Decoded, Warning, decode};
use crate::intent::NetworkIntent;
use crate::problem::{Fault, Origin};

pub(crate) fn document(value: Value) -> Document {
    Document { origin: Origin::new("sample.json", 1), value }
}

/// Decodes a value that is meant to be an intent.
pub(crate) fn decoded(value: Value) -> Result<(NetworkIntent, Vec<Warning>), Fault> {
    match decode(&document(value)) {
        Ok(Decoded::Intent(intent, warnings)) => Ok((*intent, warnings)),
        Ok(Decoded::Skipped(kind)) => panic!("skipped as {kind}"),
        Err(problem) => Err(problem.fault),
    }
}

/// A custom resource `default/sample` with this text.
pub(crate) fn text_intent(text: &str) -> NetworkIntent {
    decoded(json!({
        "apiVersion": "nephoran.com/v1",
        "kind": "NetworkIntent",
        "metadata": { "name": "sample", "namespace": "default" },
        "spec": { "intent": text },
    }))
    .unwrap()
    .0
}

/// A flat intent `default/web` for 5 replicas.
pub(crate) fn flat() -> Value {
    json!({ "intent_type": "scaling", "target": "web", "namespace": "default", "replicas": 5 })
}
