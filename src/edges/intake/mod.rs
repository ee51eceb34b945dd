//! How intents come in: bytes from somewhere, decoded into [`Intent`](crate::Intent)s.
//!
//! An operator says what its bytes mean with one trait, [`Decode`].

mod decode;

pub use decode::{Decode, Origin, Rejected};
