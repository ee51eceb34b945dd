//! How intents come in: bytes from somewhere, decoded into [`Intent`](crate::Intent)s.
//!
//! An operator says what its bytes mean with one trait, [`Decode`]; [`JsonDecode`] is that trait for
//! JSON documents of the operator's own types. `DirectoryWatcher` (feature `watch`) takes the files of
//! a directory.

mod decode;
#[cfg(any(feature = "ingest", all(feature = "watch", unix)))]
mod failure;
#[cfg(feature = "ingest")]
#[cfg_attr(docsrs, doc(cfg(feature = "ingest")))]
pub mod http;
mod json;
mod raw;
#[cfg(all(feature = "watch", unix))]
#[cfg_attr(docsrs, doc(cfg(feature = "watch")))]
pub mod watch;

pub use decode::{Decode, Origin, Rejected};
#[cfg(feature = "schema")]
#[cfg_attr(docsrs, doc(cfg(feature = "schema")))]
pub use json::SchemaError;
pub use json::{JsonDecode, JsonDecodeConfig, ReadJson};
pub use raw::{JsonText, RawJson};
#[cfg(all(feature = "watch", unix))]
#[cfg_attr(docsrs, doc(cfg(feature = "watch")))]
pub use watch::{
    DirectoryWatcher, Durability, WatchConfig, WatchError, WatchReport, WatchSnapshot, Watching,
};

#[cfg(fuzzing)]
pub(crate) use json::claims as json_claims;
#[cfg(all(fuzzing, feature = "watch", unix))]
pub(crate) use watch::claims as watch_claims;
