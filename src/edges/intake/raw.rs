//! JSON that is taken apart only where somebody looks.
//!
//! An intent is mostly read in a few places (its name, its namespace, a number), and the rest of it
//! travels on to whoever understands it. Through a [`serde_json::Value`] all of it is taken apart, a
//! string and a map node at a time, and put together again. Here a body is copied once, into a pooled
//! buffer; what is looked at is borrowed from there ([`JsonText::parse`], into a type of `&str`,
//! `Cow<str>` and numbers), and what is not looked at is a part of that same buffer
//! ([`JsonText::pass`]), which goes home when the last part of it is dropped.
//!
//! Beside a [`serde_json::Value`] that takes less than half of the time and a fifth of the allocations
//! on the project's samples, and a quarter of the time where much is passed on (`benches/versus`, room
//! `json`). sonic-rs behind the same types took 1.3 to 1.7 times as long there, on x86-64 as it is
//! compiled by default: so serde_json it is, and there is no seam for another parser.
//!
//! What is passed on is one JSON value, as serde_json reads it, and nothing more is known of it: that
//! no name in it comes twice, or how deep it is, is for whoever checked the whole before
//! (`JsonDecode` does) or takes it apart later.

use std::fmt;

use bytes::{BufMut, Bytes};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::BytesPool;

/// A JSON text that is kept as it came, to be looked at in parts.
///
/// # Examples
/// ```
/// use headworks::BytesPool;
/// use headworks::intake::{JsonText, RawJson};
/// use serde::{Deserialize, Serialize};
/// use serde_json::value::RawValue;
///
/// #[derive(Deserialize)]
/// struct Seen<'a> {
///     target: &'a str,
///     #[serde(borrow)]
///     parameters: &'a RawValue,
/// }
///
/// #[derive(Serialize)]
/// struct Scale {
///     target: String,
///     parameters: RawJson,
/// }
///
/// let body = br#"{"target":"cells","parameters":{"depth":[1, 2, 3]}}"#;
/// let text = JsonText::copied(body, &BytesPool::new());
/// let seen: Seen<'_> = text.parse()?;
/// let scale = Scale { target: seen.target.to_owned(), parameters: text.pass(seen.parameters) };
/// drop(text);
/// assert_eq!(scale.parameters.get(), r#"{"depth":[1, 2, 3]}"#);
/// assert_eq!(serde_json::to_vec(&scale)?, body, "passed on as it came");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone)]
pub struct JsonText(Bytes);

impl JsonText {
    /// A copy of `bytes` in a buffer of this pool.
    ///
    /// # Cost
    /// One copy. One allocation where the pool has a buffer that is large enough.
    #[must_use]
    pub fn copied(bytes: &[u8], pool: &BytesPool) -> Self {
        let mut buf = pool.take(bytes.len());
        buf.put_slice(bytes);
        Self(buf.freeze())
    }

    /// The whole of it.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Reads it into a type that may borrow from it: `&str` where a string has no escapes,
    /// `Cow<str>` (with `#[serde(borrow)]`) where it may have some, `&RawValue` for what is to be
    /// passed on.
    ///
    /// # Errors
    /// It is not one JSON text, or not of that type.
    ///
    /// # Cost
    /// What the type itself allocates.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        parse(&self.0)
    }

    /// A part that [`parse`](Self::parse) found, to be kept without its text.
    ///
    /// # Cost
    /// A reference count. A copy, if it is no part of this text but of another one.
    #[must_use]
    pub fn pass(&self, part: &RawValue) -> RawJson {
        let part = part.get().as_bytes();
        let (own, parts) = (self.0.as_ptr_range(), part.as_ptr_range());
        let is_part = own.start <= parts.start && parts.end <= own.end;
        RawJson(if is_part { self.0.slice_ref(part) } else { Bytes::copy_from_slice(part) })
    }
}

/// It is shared, not copied.
impl From<Bytes> for JsonText {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonText").field("bytes", &self.0.len()).finish()
    }
}

/// One JSON value that nobody has looked into: a part of a [`JsonText`]. Cheap to clone.
///
/// It is written as it came, spaces and all. (serde reads and writes it as a
/// [`serde_json::value::RawValue`], so with serde_json only.)
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RawJson(Bytes);

impl RawJson {
    /// As it came.
    #[must_use]
    pub fn get(&self) -> &str {
        // It was cut out of a text where a value begins and ends.
        std::str::from_utf8(&self.0).unwrap_or("null")
    }

    /// As it came.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Reads it after all.
    ///
    /// # Errors
    /// It is not of that type.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        parse(&self.0)
    }
}

/// To check all of it for UTF-8 at once costs less than to check each string. Where it is not, the
/// other way finds the place.
fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, serde_json::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(bytes),
    }
}

/// Looks through it once more, for it is written as it is.
impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = self.parse().map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// A copy of its own: what is read here is no part of a [`JsonText`].
impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(Bytes::from(Box::<str>::from(raw).into_boxed_bytes())))
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawJson").field(&self.get()).finish()
    }
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[derive(Deserialize)]
    struct Seen<'a> {
        #[serde(borrow)]
        one: &'a RawValue,
        #[serde(borrow)]
        two: Option<&'a RawValue>,
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(crate::ground::cases::cases(256))]

        #[test]
        fn what_is_passed_on_is_what_came(one in value(), two in value(), pretty in any::<bool>()) {
            let whole = serde_json::json!({ "one": one, "two": two });
            let body = if pretty { serde_json::to_vec_pretty(&whole) } else { serde_json::to_vec(&whole) };
            let pool = BytesPool::new();
            let text = JsonText::copied(&body.unwrap(), &pool);
            let seen: Seen<'_> = text.parse().unwrap();
            let passed = [text.pass(seen.one), text.pass(seen.two.unwrap_or(seen.one))];
            drop(text);
            let read = passed.each_ref().map(|raw| raw.parse::<Value>().unwrap());
            prop_assert_eq!(&read[0], &one);
            if !two.is_null() {
                prop_assert_eq!(&read[1], &two);
            }
            let written = serde_json::to_string(&passed[0]).unwrap();
            prop_assert_eq!(written.as_str(), passed[0].get());
            let again: RawJson = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(&again, &passed[0]);
        }

        #[test]
        fn whatever_bytes_come_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let text = JsonText::copied(&bytes, &BytesPool::new());
            let read = text.parse::<&RawValue>();
            prop_assert_eq!(read.is_ok(), serde_json::from_slice::<Box<RawValue>>(&bytes).is_ok());
        }
    }

    #[test]
    fn the_buffer_comes_home_with_its_last_part() {
        let pool = BytesPool::new();
        let text = JsonText::copied(br#"{"one":[1,2]}"#, &pool);
        let seen: Seen<'_> = text.parse().unwrap();
        let part = text.pass(seen.one);
        let other = JsonText::from(Bytes::from_static(b"[3]"));
        assert_eq!(text.pass(other.parse().unwrap()).get(), "[3]", "another text's is copied");
        drop(text);
        let hits = || pool.snapshot().iter().map(|class| class.hits).sum::<u64>();
        drop(pool.take(10));
        assert_eq!(hits(), 0, "it is in use");
        drop(part);
        let (one, two) = (pool.take(10), pool.take(10));
        assert_eq!(hits(), 2, "both are back");
        drop((one, two));
    }
}
