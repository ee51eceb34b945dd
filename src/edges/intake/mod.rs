//! How intents come in: bytes from somewhere, decoded into [`Intent`](crate::Intent)s.
//!
//! An operator says what its bytes mean with one trait, [`Decode`].

mod decode;
#[cfg(feature = "ingest")]
#[cfg_attr(docsrs, doc(cfg(feature = "ingest")))]
pub mod http;
mod raw;

pub use decode::{Decode, Origin, Rejected};
pub use raw::{JsonText, RawJson};
