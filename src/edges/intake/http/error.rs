//! Why there is no intake.

use std::net::SocketAddr;

use crate::ConfigError;

/// Why an intake does not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpIntakeError {
    /// What its configuration says can't work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its address is taken, or not this machine's: choose another.
    #[error("nothing can listen at {address}")]
    Bind {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}
