//! Reads the fields of one object, each by a rule, and says where a broken one is.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::names::shortened;
use crate::problem::{Fault, Rule};
use crate::value::child;

/// An object being read, and where it is in the document.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    pointer: String,
    nulls: Nulls,
}

/// What a `null` in a known field means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// A value of the wrong type, as in JSON Schema.
    Wrong,
    /// No value, as in Kubernetes.
    Absent,
}

impl<'a> Fields<'a> {
    /// # Errors
    /// It is not an object.
    pub(crate) fn of(
        value: &'a Value,
        pointer: impl Into<String>,
        nulls: Nulls,
    ) -> Result<Self, Fault> {
        let pointer = pointer.into();
        match value {
            Value::Object(map) => Ok(Self { map, pointer, nulls }),
            _ => Err(Fault::new(pointer, wrong_type("an object", value))),
        }
    }

    /// The pointer to a field of this object.
    pub(crate) fn at(&self, name: &str) -> String {
        child(&self.pointer, name)
    }

    /// The field as it stands.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| self.nulls == Nulls::Wrong || !value.is_null())
    }

    /// # Errors
    /// A field is not among the known ones.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Fault> {
        match self.unknown(known).next() {
            Some((name, _)) => Err(Fault::new(self.at(name), Rule::UnknownField)),
            None => Ok(()),
        }
    }

    /// The fields that are not among the known ones.
    pub(crate) fn unknown(&self, known: &[&str]) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let strange = |name: &str| !known.contains(&name);
        self.map.iter().map(|(name, value)| (name.as_str(), value)).filter(move |(n, _)| strange(n))
    }

    /// # Errors
    /// It is there and breaks its rule.
    pub(crate) fn optional<T>(
        &self,
        name: &str,
        read: impl Fn(&Value) -> Result<T, Rule>,
    ) -> Result<Option<T>, Fault> {
        self.raw(name)
            .map(|value| read(value).map_err(|rule| Fault::new(self.at(name), rule)))
            .transpose()
    }

    /// # Errors
    /// It is absent or breaks its rule.
    pub(crate) fn required<T>(
        &self,
        name: &str,
        read: impl Fn(&Value) -> Result<T, Rule>,
    ) -> Result<T, Fault> {
        self.optional(name, read)?.ok_or_else(|| Fault::new(self.at(name), Rule::Required))
    }

    /// The object in a field.
    ///
    /// # Errors
    /// It is there and is no object.
    pub(crate) fn inside(&self, name: &str) -> Result<Option<Fields<'a>>, Fault> {
        self.raw(name).map(|value| Fields::of(value, self.at(name), self.nulls)).transpose()
    }

    /// Every item of a list field, read by one rule.
    ///
    /// # Errors
    /// It is no list, or an item breaks the rule.
    pub(crate) fn list<T>(
        &self,
        name: &str,
        read: impl Fn(&Value) -> Result<T, Rule>,
    ) -> Result<Option<Vec<T>>, Fault> {
        let at = self.at(name);
        let read = |(index, item): (usize, &Value)| {
            read(item).map_err(|rule| Fault::new(child(&at, &index.to_string()), rule))
        };
        match self.raw(name) {
            None => Ok(None),
            Some(Value::Array(items)) => {
                items.iter().enumerate().map(read).collect::<Result<_, _>>().map(Some)
            }
            Some(other) => Err(Fault::new(at.clone(), wrong_type("a list", other))),
        }
    }
}

/// A string of any length.
pub(crate) fn text(value: &Value) -> Result<String, Rule> {
    text_of(0..=usize::MAX)(value)
}

/// A string of so many characters.
pub(crate) fn text_of(length: RangeInclusive<usize>) -> impl Fn(&Value) -> Result<String, Rule> {
    move |value| {
        let text = value.as_str().ok_or_else(|| wrong_type("a string", value))?;
        let was = text.chars().count();
        if !length.contains(&was) {
            return Err(Rule::Length { min: *length.start(), max: *length.end(), was });
        }
        Ok(text.to_owned())
    }
}

/// A string out of a list; `allowed` is that list with ` | ` between its words.
pub(crate) fn one_of(allowed: &'static str) -> impl Fn(&Value) -> Result<String, Rule> {
    move |value| {
        let was = text(value)?;
        match allowed.split(" | ").any(|word| word.trim_matches('"') == was) {
            true => Ok(was),
            false => Err(Rule::OneOf { allowed, was: shortened(&was) }),
        }
    }
}

/// A whole number; `3.0` is none, because the two print, hash and travel differently.
pub(crate) fn integer(range: RangeInclusive<u32>) -> impl Fn(&Value) -> Result<u32, Rule> {
    move |value| match value {
        Value::Number(number) => number
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| Rule::Range {
                min: u64::from(*range.start()),
                max: u64::from(*range.end()),
                was: shortened(&number.to_string()),
            }),
        _ => Err(wrong_type("a whole number", value)),
    }
}

/// Any object, kept as it is.
pub(crate) fn object(value: &Value) -> Result<Map<String, Value>, Rule> {
    value.as_object().cloned().ok_or_else(|| wrong_type("an object", value))
}

/// The rule for a value of another type than `expected`.
pub(crate) fn wrong_type(expected: &'static str, value: &Value) -> Rule {
    let was = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Rule::Type { expected, was }
}
