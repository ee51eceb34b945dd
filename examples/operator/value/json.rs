//! JSON text.

use std::cell::RefCell;

use serde::de::{DeserializeSeed, IgnoredAny};
use serde_json::Value;

use super::strict::{Strict, Trail};
use crate::problem::{Fault, Rule};

/// Reads one JSON value that takes up the whole of `text`.
///
/// # Errors
/// Not JSON, a duplicate key, or nested too deep; the pointer says where.
pub(crate) fn from_json(text: &str) -> Result<Value, Fault> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let trail = RefCell::new(Trail::default());
    let value = Strict::reader(&trail)
        .deserialize(&mut reader)
        .map_err(|error| trail.into_inner().fault(|| (None, explain(text, &error))))?;
    reader.end().map_err(|error| Fault::new("", explain(text, &error)))?;
    Ok(value)
}

/// Reads the one JSON value that `text` begins with, and says how long it is (bytes).
///
/// # Errors
/// [`Prefix`] tells a text that ends too early from one that begins with something else.
pub(crate) fn json_prefix(text: &str) -> Result<(Value, usize), Prefix> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
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

/// serde_json's words, and the plain one for its commonest cause.
fn explain(text: &str, error: &serde_json::Error) -> Rule {
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or("");
    let around = line.get(error.column().saturating_sub(1)..).unwrap_or("").trim_start();
    if around.starts_with("//") || around.starts_with("/*") {
        let (line, column) = (error.line(), error.column());
        return Rule::NotJson(format!("JSON has no comments, at line {line} column {column}"));
    }
    Rule::NotJson(error.to_string())
}
