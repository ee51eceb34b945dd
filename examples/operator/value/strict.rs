//! The one reader behind both languages: it keeps the way to where it is, and the rules.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{MAX_DEPTH, pointer};
use crate::problem::{Fault, Rule};

/// Largest document after its aliases are expanded: bytes of text plus [`NODE_BYTES`] a node.
const MAX_EXPANDED_BYTES: usize = 64 << 20;

/// What one value costs beside its text: about the size of a `Value` in a map.
const NODE_BYTES: usize = 64;

/// The way from the root to the value being read, and the first rule broken on it.
#[derive(Default)]
pub(super) struct Trail {
    path: Vec<String>,
    broken: Option<Rule>,
    expanded_bytes: usize,
}

impl Trail {
    /// A failed read leaves the path where it failed.
    pub(super) fn fault(mut self, explain: impl FnOnce() -> (Option<String>, Rule)) -> Fault {
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

/// Reads any value, keeping the trail.
pub(super) struct Strict<'a> {
    trail: &'a RefCell<Trail>,
    depth: usize,
}

impl<'a> Strict<'a> {
    /// Reads from the root, leaving its way in `trail`.
    pub(super) fn reader(trail: &'a RefCell<Trail>) -> Self {
        Self { trail, depth: 0 }
    }

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
