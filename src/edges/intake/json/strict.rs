//! The rules that hold for every document, whatever it means.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::rejections::{Step, rejected};
use crate::edges::intake::Rejected;
use crate::ground::primitives::Hashing;

/// Up to so many names of an object are compared one by one.
const FEW: usize = 16;

/// The text of one document within the bounds, in which no object says a name twice.
pub(super) fn check(bytes: &[u8], max_bytes: usize, max_depth: usize) -> Result<&str, Rejected> {
    if bytes.len() > max_bytes {
        return Err(rejected([], format_args!("at most {max_bytes} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        rejected([], format_args!("UTF-8 (byte {} is not)", error.valid_up_to()))
    })?;
    let mut trail = Trail { way: Vec::new(), names: Vec::new(), broken: None };
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Scan { trail: &mut trail, deeper: max_depth, max_depth }.deserialize(&mut reader);
    match read.and_then(|()| reader.end()) {
        Ok(()) => Ok(text),
        Err(error) => Err(trail.rejected(&error)),
    }
}

/// The way from the root to what is being read, and the names of the objects on it.
struct Trail<'de> {
    way: Vec<Turn<'de>>,
    /// Those of the outermost object first.
    names: Vec<Cow<'de, str>>,
    /// The rule that was broken, where it is not the language's.
    broken: Option<String>,
}

enum Turn<'de> {
    Name(Cow<'de, str>),
    Index(usize),
}

impl Trail<'_> {
    /// A reading that fails leaves the way where it failed.
    fn rejected(&self, error: &serde_json::Error) -> Rejected {
        let way = self.way.iter().map(|turn| match turn {
            Turn::Name(name) => Step::Name(name),
            Turn::Index(index) => Step::Index(*index),
        });
        match &self.broken {
            Some(rule) => rejected(way, rule),
            None => rejected(way, format_args!("one JSON text: {error}")),
        }
    }

    /// Notes the rule, and gives the reader an error to unwind with.
    fn broken<E: de::Error>(&mut self, rule: String) -> E {
        let error = E::custom(&rule);
        self.broken.get_or_insert(rule);
        error
    }
}

/// Reads any value, and keeps nothing of it.
struct Scan<'a, 'de> {
    trail: &'a mut Trail<'de>,
    /// How much deeper it may go.
    deeper: usize,
    max_depth: usize,
}

impl<'de> Scan<'_, 'de> {
    /// One level in.
    fn enter<E: de::Error>(&mut self) -> Result<(), E> {
        match self.deeper.checked_sub(1) {
            Some(deeper) => self.deeper = deeper,
            None => {
                let rule = format!("at most {} levels deep", self.max_depth);
                return Err(self.trail.broken(rule));
            }
        }
        Ok(())
    }

    fn inner(&mut self) -> Scan<'_, 'de> {
        Scan { trail: self.trail, deeper: self.deeper, max_depth: self.max_depth }
    }
}

impl<'de> DeserializeSeed<'de> for Scan<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scan<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.enter()?;
        for index in 0.. {
            self.trail.way.push(Turn::Index(index));
            let item = items.next_element_seed(self.inner())?;
            self.trail.way.pop();
            if item.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        self.enter()?;
        let first = self.trail.names.len();
        let mut many = HashSet::<_, Hashing>::default();
        while let Some(name) = members.next_key_seed(Name)? {
            let names = &self.trail.names[first..];
            let is_twice = if names.len() < FEW {
                names.contains(&name)
            } else {
                if many.is_empty() {
                    many.extend(names.iter().cloned());
                }
                !many.insert(name.clone())
            };
            self.trail.way.push(Turn::Name(name.clone()));
            if is_twice {
                return Err(self.trail.broken("each name of an object once".to_owned()));
            }
            // Beyond the few, the set has them.
            if names.len() < FEW {
                self.trail.names.push(name);
            }
            members.next_value_seed(self.inner())?;
            self.trail.way.pop();
        }
        self.trail.names.truncate(first);
        Ok(())
    }
}

/// A member's name: borrowed, unless it is escaped.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// For the fuzz target, whose seeds run with the tests: what is let through can be read in one way
/// only, and what is not is said in few words.
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, reason = "it is to panic where a claim fails")]
pub(crate) fn claims(bytes: &[u8]) {
    use serde_json::Value;

    const DEPTH: usize = 8;

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    let read = serde_json::from_slice::<Value>(bytes);
    match check(bytes, 4096, DEPTH) {
        Ok(text) => {
            assert!(text.len() <= 4096 && text.as_bytes() == bytes);
            let value = read.unwrap();
            assert!(depth(&value) <= DEPTH);
            // Written again it says no less: no name has covered another.
            let again = value.to_string();
            check(again.as_bytes(), usize::MAX, DEPTH).unwrap();
            assert_eq!(names(text), names(&again));
        }
        Err(Rejected::Invalid { pointer, rule }) => {
            assert!(!rule.is_empty() && rule.len() < 600 && pointer.len() < 1100);
            assert!(pointer.is_empty() || pointer.starts_with('/'), "{pointer}");
            // What serde_json reads was refused for a rule of ours, and breaks it.
            if let Ok(value) = read {
                let is_twice = || names(std::str::from_utf8(bytes).unwrap()) > members(&value);
                assert!(bytes.len() > 4096 || depth(&value) > DEPTH || is_twice(), "{rule}");
            }
        }
        Err(other) => panic!("{other}"),
    }

    /// How many names of members a text of JSON says.
    fn names(text: &str) -> usize {
        let (mut count, mut inside, mut escaped, mut closed) = (0, false, false, false);
        for c in text.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if inside => escaped = true,
                '"' => {
                    inside = !inside;
                    closed = !inside;
                }
                _ if inside => {}
                ':' if closed => count += 1,
                c if c.is_whitespace() => {}
                _ => closed = false,
            }
        }
        count
    }

    fn members(value: &Value) -> usize {
        match value {
            Value::Array(items) => items.iter().map(members).sum(),
            Value::Object(map) => map.len() + map.values().map(members).sum::<usize>(),
            _ => 0,
        }
    }
}
