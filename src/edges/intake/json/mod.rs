//! Intents of JSON documents: [`JsonDecode`].
//!
//! Bytes are read twice, three times with a schema: once for the rules that hold for every document,
//! which keeps nothing of it; then by serde, into the operator's own type. What the first reading
//! lets through is one JSON text (RFC 8259) in UTF-8, of bounded size and depth, in which no object
//! says a name twice: so that nobody downstream can read it otherwise than it was read here.

mod config;
#[allow(clippy::module_inception, reason = "the file is named for the noun in it")]
mod decode;
mod rejections;
#[cfg(feature = "schema")]
mod schema;
mod strict;
#[cfg(all(test, not(headworks_loom)))]
mod tests;

pub use config::JsonDecodeConfig;
pub use decode::{JsonDecode, ReadJson};
#[cfg(any(feature = "ingest", all(feature = "watch", unix)))]
pub(super) use rejections::bounded;
#[cfg(feature = "schema")]
#[cfg_attr(docsrs, doc(cfg(feature = "schema")))]
pub use schema::SchemaError;

#[cfg(any(test, fuzzing))]
pub(crate) use strict::claims;
