//! Each way from a body to an intent that no longer needs it, and from that to what is sent on.

use std::borrow::Cow;

use headworks::BytesPool;
use headworks::intake::{JsonText, RawJson};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

pub trait Codec {
    const NAME: &'static str;

    fn new() -> Self;
    /// Both ways; `sink` gets the text.
    fn through(&self, body: &[u8], sink: impl FnOnce(&[u8]));
}

/// Both forms of intents at once; `S` is a text, `R` what nobody looks into.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document<S, R> {
    #[serde(rename = "intent_type")]
    intent_type: Option<S>,
    target: Option<S>,
    namespace: Option<S>,
    replicas: Option<u32>,
    priority: Option<u8>,
    constraints: Option<R>,
    api_version: Option<S>,
    metadata: Option<Metadata<S>>,
    spec: Option<Spec<S, R>>,
}

#[derive(Deserialize)]
struct Metadata<S> {
    name: S,
    namespace: S,
}

#[derive(Deserialize)]
struct Spec<S, R> {
    action: S,
    target: Target<S>,
    parameters: Option<R>,
    constraints: Option<R>,
}

#[derive(Deserialize)]
struct Target<S> {
    name: S,
}

/// What travels on.
#[derive(Serialize)]
struct Ask<K, R> {
    key: K,
    action: K,
    target: K,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<R>,
    #[serde(skip_serializing_if = "Option::is_none")]
    constraints: Option<R>,
}

impl<S: AsRef<str>, R> Document<S, R> {
    fn ask<Q>(self, pass: impl Fn(R) -> Q) -> Option<Ask<String, Q>> {
        let Self { replicas, priority, .. } = self;
        let owned = |text: &S| text.as_ref().to_owned();
        Some(match (&self.intent_type, self.api_version) {
            (Some(kind), _) => Ask {
                key: key(self.namespace.as_ref()?.as_ref(), self.target.as_ref()?.as_ref()),
                action: owned(kind),
                target: owned(self.target.as_ref()?),
                replicas,
                priority,
                parameters: None,
                constraints: self.constraints.map(pass),
            },
            (None, Some(_)) => {
                let (metadata, spec) = (self.metadata?, self.spec?);
                Ask {
                    key: key(metadata.namespace.as_ref(), metadata.name.as_ref()),
                    action: owned(&spec.action),
                    target: owned(&spec.target.name),
                    replicas,
                    priority,
                    parameters: spec.parameters.map(&pass),
                    constraints: spec.constraints.map(&pass),
                }
            }
            (None, None) => return None,
        })
    }
}

fn key(namespace: &str, name: &str) -> String {
    let mut key = String::with_capacity(namespace.len() + 1 + name.len());
    key.extend([namespace, "/", name]);
    key
}

/// Borrowed where there are no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Borrowed strings, and parts that are passed on as they came, in pooled buffers.
pub struct Ours(BytesPool);

impl Codec for Ours {
    const NAME: &'static str = "headworks";

    fn new() -> Self {
        Self(BytesPool::new())
    }

    fn through(&self, body: &[u8], sink: impl FnOnce(&[u8])) {
        let text = JsonText::copied(body, &self.0);
        let seen: Document<Text<'_>, &RawValue> = text.parse().expect("a document");
        let ask: Ask<String, RawJson> = seen.ask(|part| text.pass(part)).expect("an intent");
        drop(text);
        let mut out = self.0.take(body.len());
        serde_json::to_writer(&mut out, &ask).expect("it is written");
        sink(&out);
    }
}

/// Through a tree of everything.
pub struct Valued;

impl Codec for Valued {
    const NAME: &'static str = "serde_json::Value";

    fn new() -> Self {
        Self
    }

    fn through(&self, body: &[u8], sink: impl FnOnce(&[u8])) {
        let mut whole: Value = serde_json::from_slice(body).expect("a document");
        let ask = valued(&mut whole).expect("an intent");
        drop(whole);
        sink(&serde_json::to_vec(&ask).expect("it is written"));
    }
}

fn valued(whole: &mut Value) -> Option<Ask<String, Value>> {
    let text = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
    let number = |value: &Value, name: &str| value.get(name)?.as_u64();
    if let Some(action) = text(whole, "intent_type") {
        let target = text(whole, "target")?;
        return Some(Ask {
            key: key(whole.get("namespace")?.as_str()?, &target),
            action,
            target,
            replicas: number(whole, "replicas").and_then(|number| number.try_into().ok()),
            priority: number(whole, "priority").and_then(|number| number.try_into().ok()),
            parameters: None,
            constraints: whole.get_mut("constraints").map(Value::take),
        });
    }
    let metadata = whole.get("metadata")?;
    let key = key(metadata.get("namespace")?.as_str()?, metadata.get("name")?.as_str()?);
    let spec = whole.get_mut("spec")?;
    Some(Ask {
        key,
        action: text(spec, "action")?,
        target: text(spec.get("target")?, "name")?,
        replicas: None,
        priority: None,
        parameters: spec.get_mut("parameters").map(Value::take),
        constraints: spec.get_mut("constraints").map(Value::take),
    })
}

/// Into types of its own, the open maps into trees.
pub struct Typed;

impl Codec for Typed {
    const NAME: &'static str = "serde_json typed";

    fn new() -> Self {
        Self
    }

    fn through(&self, body: &[u8], sink: impl FnOnce(&[u8])) {
        let seen: Document<String, Map<String, Value>> =
            serde_json::from_slice(body).expect("a document");
        let ask = seen.ask(|part| part).expect("an intent");
        sink(&serde_json::to_vec(&ask).expect("it is written"));
    }
}

/// As ours, another parser and writer: what it would be behind the same seam.
pub struct SonicTyped(BytesPool);

impl Codec for SonicTyped {
    const NAME: &'static str = "sonic-rs, as ours";

    fn new() -> Self {
        Self(BytesPool::new())
    }

    fn through(&self, body: &[u8], sink: impl FnOnce(&[u8])) {
        let text = JsonText::copied(body, &self.0);
        let bytes = text.bytes();
        let seen: Document<Text<'_>, sonic_rs::LazyValue<'_>> =
            sonic_rs::from_slice(bytes).expect("a document");
        let pass = |part: sonic_rs::LazyValue<'_>| bytes.slice_ref(part.as_raw_str().as_bytes());
        let ask = seen.ask(pass).expect("an intent");
        drop(text);
        // Checked again before it is written, as ours is.
        let raw = |part| sonic_rs::from_slice::<sonic_rs::LazyValue<'_>>(part).expect("a part");
        let ask = Ask {
            key: ask.key.as_str(),
            action: ask.action.as_str(),
            target: ask.target.as_str(),
            replicas: ask.replicas,
            priority: ask.priority,
            parameters: ask.parameters.as_deref().map(raw),
            constraints: ask.constraints.as_deref().map(raw),
        };
        let mut out = self.0.take(body.len());
        sonic_rs::to_writer(sonic_rs::writer::BufferedWriter::new(&mut out), &ask)
            .expect("it is written");
        sink(&out);
    }
}
