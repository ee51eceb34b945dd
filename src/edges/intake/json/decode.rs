//! The decoder.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::config::JsonDecodeConfig;
use super::rejections::{Step, rejected};
#[cfg(feature = "schema")]
use super::schema::{Schema, SchemaError};
use super::strict;
use crate::edges::intake::{Decode, Origin, Rejected};
use crate::{ConfigError, Intent};

/// Makes an intent of a document that serde has read.
///
/// A function of the document and its origin does it for [`JsonDecode::new`]; this trait is for
/// documents that borrow from the bytes (`&str`, [`RawValue`](serde_json::value::RawValue)).
pub trait ReadJson<P>: Send + Sync + 'static {
    /// What is read.
    type Document<'de>: Deserialize<'de>;

    /// The intent that it is.
    ///
    /// # Errors
    /// It breaks a rule that its type does not say, or is something else than an intent.
    fn intent(&self, document: Self::Document<'_>, origin: &Origin) -> Result<Intent<P>, Rejected>;
}

/// One JSON document, one intent: strict, typed, and with a pointer to whatever is wrong.
///
/// Refused are, with an RFC 6901 pointer to the place and the rule: more than
/// [`max_bytes`](JsonDecodeConfig::max_bytes), bytes that are not UTF-8, anything but one JSON text
/// (RFC 8259: no comments, nothing behind it, not nothing at all), nesting beyond
/// [`max_depth`](JsonDecodeConfig::max_depth), a name that an object says twice, at any depth,
/// what breaks the schema if there is one, and what serde or the operator's function refuses. (Where
/// serde looks at a value twice, in an untagged enum or behind `flatten`, the pointer is to the whole
/// of it.) Texts of a rejection have some hundred bytes at most, whatever the document says.
///
/// # Cost
/// Two readings, a third with a schema. The first keeps nothing but names that are escaped.
///
/// ```
/// use headworks::Intent;
/// use headworks::intake::{Decode, JsonDecode, JsonDecodeConfig, Origin, Rejected};
///
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Scale {
///     target: String,
///     replicas: u32,
/// }
///
/// let decode = JsonDecode::new(JsonDecodeConfig::default(), |scale: Scale, _: &Origin| {
///     if scale.replicas > 100 {
///         return Err(Rejected::invalid("/replicas", "at most 100"));
///     }
///     Ok(Intent::new(format!("default/{}", scale.target), scale.replicas))
/// })?;
/// let origin = Origin::Request { media_type: None, tenant: "".into() };
/// let read = |text: &str| decode.decode(text.as_bytes(), &origin).remove(0);
///
/// assert_eq!(read(r#"{"target": "web", "replicas": 5}"#).unwrap().payload, 5);
/// let refused = read(r#"{"target": "web", "replicas": -1}"#).unwrap_err();
/// assert!(refused.to_string().starts_with("at /replicas: invalid value: integer `-1`"));
/// assert!(read(r#"{"target": "web", "target": "db", "replicas": 5}"#).is_err());
/// # Ok::<(), headworks::ConfigError>(())
/// ```
pub struct JsonDecode<P> {
    config: JsonDecodeConfig,
    #[cfg(feature = "schema")]
    schema: Option<Schema>,
    read: Box<dyn Read<P>>,
}

impl<P: 'static> JsonDecode<P> {
    /// Reads documents of type `T`, of which `intent` makes intents.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] names the field, what it is and what it may be.
    pub fn new<T, F>(config: JsonDecodeConfig, intent: F) -> Result<Self, ConfigError>
    where
        T: DeserializeOwned + 'static,
        F: Fn(T, &Origin) -> Result<Intent<P>, Rejected> + Send + Sync + 'static,
    {
        Self::reading(config, Owned { intent, document: PhantomData })
    }

    /// Reads documents that may borrow from the bytes.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] names the field, what it is and what it may be.
    pub fn reading<R: ReadJson<P>>(
        config: JsonDecodeConfig,
        reader: R,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            #[cfg(feature = "schema")]
            schema: None,
            read: Box::new(reader),
        })
    }

    /// Every document must also be what this JSON Schema says; of several rules that one breaks, one
    /// is named. Drafts 4 to 2020-12, with `format`s checked.
    ///
    /// References to other documents are never followed: they are an error, here. Patterns are
    /// matched in linear time, so those with look-around or back references are an error, too.
    ///
    /// # Errors
    /// It is no schema, or can't be used for one of those reasons.
    #[cfg(feature = "schema")]
    #[cfg_attr(docsrs, doc(cfg(feature = "schema")))]
    pub fn with_schema(self, schema: &serde_json::Value) -> Result<Self, SchemaError> {
        Ok(Self { schema: Some(Schema::new(schema)?), ..self })
    }

    /// The one document of `bytes`.
    ///
    /// # Errors
    /// See [`JsonDecode`].
    pub fn decode_one(&self, bytes: &[u8], origin: &Origin) -> Result<Intent<P>, Rejected> {
        let JsonDecodeConfig { max_bytes, max_depth } = self.config;
        let text = strict::check(bytes, max_bytes, max_depth)?;
        #[cfg(feature = "schema")]
        if let Some(schema) = &self.schema {
            schema.check(&document(text)?)?;
        }
        self.read.read(text, origin)
    }
}

impl<P: 'static> Decode<P> for JsonDecode<P> {
    fn decode(&self, bytes: &[u8], origin: &Origin) -> Vec<Result<Intent<P>, Rejected>> {
        vec![self.decode_one(bytes, origin)]
    }
}

impl<P> fmt::Debug for JsonDecode<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonDecode").field("config", &self.config).finish_non_exhaustive()
    }
}

/// [`ReadJson`] without its types.
trait Read<P>: Send + Sync {
    fn read(&self, text: &str, origin: &Origin) -> Result<Intent<P>, Rejected>;
}

impl<P, R: ReadJson<P>> Read<P> for R {
    fn read(&self, text: &str, origin: &Origin) -> Result<Intent<P>, Rejected> {
        self.intent(document(text)?, origin)
    }
}

/// Its document is its own.
struct Owned<T, F> {
    intent: F,
    document: PhantomData<fn() -> T>,
}

impl<P, T, F> ReadJson<P> for Owned<T, F>
where
    T: DeserializeOwned + 'static,
    F: Fn(T, &Origin) -> Result<Intent<P>, Rejected> + Send + Sync + 'static,
{
    type Document<'de> = T;

    fn intent(&self, document: T, origin: &Origin) -> Result<Intent<P>, Rejected> {
        (self.intent)(document, origin)
    }
}

/// What serde makes of the text. Where something is wrong is looked for only if something is: it
/// costs half as much again.
fn document<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Rejected> {
    let error = match serde_json::from_str(text) {
        Ok(document) => return Ok(document),
        Err(error) => error,
    };
    let mut reader = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        // What fails only sometimes failed, and where is not known.
        Ok(_) => Err(rejected([], &error)),
        Err(error) => {
            let way = error.path().iter().filter_map(|segment| match segment {
                Segment::Seq { index } => Some(Step::Index(*index)),
                Segment::Map { key } => Some(Step::Name(key)),
                Segment::Enum { variant } => Some(Step::Name(variant)),
                Segment::Unknown => None,
            });
            Err(rejected(way, error.inner()))
        }
    }
}
