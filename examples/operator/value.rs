//! Reads JSON and YAML text into one JSON value, refusing what a plain decode loses in silence:
//! duplicate keys, nesting without end, aliases that explode.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::options::DuplicateKeyPolicy;

use crate::problem::{Fault, Rule};

/// Deepest nesting of arrays and objects.
pub(crate) const MAX_DEPTH: usize = 64;

/// Largest document after its aliases are expanded: bytes of text plus [`NODE_BYTES`] a node.
const MAX_EXPANDED_BYTES: usize = 64 << 20;

/// What one value costs beside its text: about the size of a `Value` in a map.
const NODE_BYTES: usize = 64;

/// Reads one JSON value that takes up the whole of `text`.
///
/// # Errors
/// Not JSON, a duplicate key, or nested too deep; the pointer says where.
pub(crate) fn from_json(text: &str) -> Result<Value, Fault> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = json_value(&mut reader, |error| explain_json(text, error))?;
    reader.end().map_err(|error| Fault::new("", explain_json(text, &error)))?;
    Ok(value)
}

/// Reads the one JSON value that `text` begins with, and says how long it is (bytes).
///
/// # Errors
/// As [`from_json`]; `incomplete` is set when the text ends inside the value.
pub(crate) fn json_prefix(text: &str) -> Result<(Value, usize), Prefix> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    match stream.next() {
        Some(Ok(_)) => {}
        Some(Err(error)) if error.is_eof() => return Err(Prefix::Incomplete),
        Some(Err(_)) => return Err(Prefix::NotJson),
        None => return Err(Prefix::Incomplete),
    }
    let length = stream.byte_offset();
    from_json(&text[..length]).map(|value| (value, length)).map_err(Prefix::Fault)
}

/// Why a text does not begin with a JSON value.
#[derive(Debug)]
pub(crate) enum Prefix {
    /// The text ends inside the value.
    Incomplete,
    /// There is no value.
    NotJson,
    /// The value is whole but breaks a rule.
    Fault(Fault),
}

/// Reads one YAML document; `first_line` is its place in the file, for the messages.
///
/// # Errors
/// Not YAML, a duplicate key, nested too deep, or aliases that expand too far.
pub(crate) fn from_yaml(text: &str, first_line: u64) -> Result<Value, Fault> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH + 1, // the reader below says it with a pointer first
            max_recorded_anchor_events: 10_000,
            max_recorded_anchor_bytes: 8 << 20,
            max_total_scalar_bytes: 8 << 20,
            max_aliases: 10_000,
            max_events: 2_000_000,
            max_nodes: 1_000_000,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 10_000 },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    let trail = RefCell::new(Trail::default());
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
        Strict { trail: &trail, depth: 0 }.deserialize(yaml)
    });
    read.map_err(|error| trail.into_inner().fault(|| explain_yaml(&error, first_line)))
}

fn json_value<'de, R: serde_json::de::Read<'de>>(
    reader: &mut serde_json::Deserializer<R>,
    explain: impl Fn(&serde_json::Error) -> Rule,
) -> Result<Value, Fault> {
    let trail = RefCell::new(Trail::default());
    Strict { trail: &trail, depth: 0 }
        .deserialize(reader)
        .map_err(|error| trail.into_inner().fault(|| (None, explain(&error))))
}

/// serde_json's words, and the plain one for its commonest cause.
fn explain_json(text: &str, error: &serde_json::Error) -> Rule {
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or("");
    let around = line.get(error.column().saturating_sub(1)..).unwrap_or("").trim_start();
    if around.starts_with("//") || around.starts_with("/*") {
        let (line, column) = (error.line(), error.column());
        return Rule::NotJson(format!("JSON has no comments, at line {line} column {column}"));
    }
    Rule::NotJson(error.to_string())
}

/// The rule behind a YAML error, and the key it is about when only the parser knows it.
fn explain_yaml(error: &serde_saphyr::Error, first_line: u64) -> (Option<String>, Rule) {
    use serde_saphyr::Error;
    let error = error.without_snippet();
    match error {
        Error::AliasError { error, .. } => explain_yaml(error, first_line),
        Error::DuplicateMappingKey { key, .. } => (key.clone(), Rule::DuplicateKey),
        Error::Budget { breach, .. } if format!("{breach:?}").starts_with("Depth") => {
            (None, Rule::TooDeep { max: MAX_DEPTH })
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => (None, Rule::Expands(error.to_string())),
        // The scanner gives up on brackets before the reader gets to see them; it has only words.
        _ if error.to_string().contains("recursion limit") => {
            (None, Rule::TooDeep { max: MAX_DEPTH })
        }
        _ => (None, Rule::NotYaml(with_line(error, first_line))),
    }
}

/// The parser counts lines from the start of the document; the author counts from the file's.
fn with_line(error: &serde_saphyr::Error, first_line: u64) -> String {
    match error.location() {
        Some(at) if first_line > 1 => {
            format!("{error} (line {} of the file)", first_line + at.line() - 1)
        }
        _ => error.to_string(),
    }
}

/// The way from the root to the value being read, and the first rule broken on it.
#[derive(Default)]
struct Trail {
    path: Vec<String>,
    broken: Option<Rule>,
    expanded_bytes: usize,
}

impl Trail {
    /// A failed read leaves the path where it failed.
    fn fault(mut self, explain: impl FnOnce() -> (Option<String>, Rule)) -> Fault {
        let rule = self.broken.take().unwrap_or_else(|| {
            let (key, rule) = explain();
            self.path.extend(key);
            rule
        });
        Fault::new(pointer(&self.path), rule)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Rule> {
        self.expanded_bytes = self.expanded_bytes.saturating_add(bytes + NODE_BYTES);
        if self.expanded_bytes > MAX_EXPANDED_BYTES {
            return Err(Rule::Expands(format!("at most {MAX_EXPANDED_BYTES} bytes")));
        }
        Ok(())
    }
}

/// A JSON pointer from its unescaped parts.
pub(crate) fn pointer<S: AsRef<str>>(parts: &[S]) -> String {
    parts.iter().fold(String::new(), |pointer, part| child(&pointer, part.as_ref()))
}

/// The pointer to a member of what `parent` points to.
pub(crate) fn child(parent: &str, key: &str) -> String {
    format!("{parent}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Reads any value, keeping the trail.
struct Strict<'a> {
    trail: &'a RefCell<Trail>,
    depth: usize,
}

impl Strict<'_> {
    /// Notes the rule and gives the reader an error to unwind with.
    fn broken<E: serde::de::Error>(&self, rule: Rule) -> E {
        let error = E::custom(&rule);
        self.trail.borrow_mut().broken.get_or_insert(rule);
        error
    }

    fn spend<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        let spent = self.trail.borrow_mut().spend(bytes);
        spent.map_err(|rule| self.broken(rule))
    }

    fn inner<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.broken(Rule::TooDeep { max: MAX_DEPTH }));
        }
        Ok(Self { trail: self.trail, depth: self.depth + 1 })
    }

    fn enter(&self, key: String) {
        self.trail.borrow_mut().path.push(key);
    }

    fn leave(&self) {
        self.trail.borrow_mut().path.pop();
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.spend(0)?;
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.spend(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.spend(0)?;
        let mut list = Vec::new();
        loop {
            let inner = self.inner()?;
            self.enter(list.len().to_string());
            let item = items.next_element_seed(inner)?;
            self.leave();
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        self.spend(0)?;
        let mut map = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            self.spend(key.len())?;
            let inner = self.inner()?;
            self.enter(key.clone());
            if map.contains_key(&key) {
                return Err(self.broken(Rule::DuplicateKey));
            }
            let value = members.next_value_seed(inner)?;
            self.leave();
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
