//! One pool per distinct configuration.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::config::TransportConfig;
use super::dial::{Connector, Names};
use super::shared::Shared;
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::transport::Transport;
use crate::ground::config_error::ConfigError;
use crate::ground::primitives::Mutex;

/// Distinct configurations in use at a time.
const MAX_POOLS: usize = 64;

/// Hands out transports; equal configurations share one pool, with its TLS sessions.
///
/// Keep one per process. It holds no pool alive: one without transports is gone.
#[derive(Debug)]
pub struct TransportFactory {
    /// Looked up and pruned, never asked for an order.
    pools: Mutex<HashMap<TransportConfig, Weak<Shared>>>,
}

impl TransportFactory {
    /// A factory without pools.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn new() -> Result<Self, ConfigError> {
        Ok(Self { pools: Mutex::new(HashMap::new()) })
    }

    /// A transport over the one pool of this configuration. Starts nothing.
    ///
    /// # Errors
    ///
    /// `ConfigError::Invalid`, naming the field that is out of range, or the environment variable
    /// that names no proxy; or `transport` when 64 other
    /// configurations are in use.
    pub fn transport(&self, config: impl Into<TransportConfig>) -> Result<Transport, ConfigError> {
        let mut config = config.into();
        config.check()?;
        config.proxy = config.proxy.settled()?;
        let mut pools = self.pools.lock();
        if let Some(shared) = pools.get(&config).and_then(Weak::upgrade) {
            return Ok(Transport::new(shared));
        }
        if pools.len() >= MAX_POOLS {
            pools.retain(|_, pool| pool.strong_count() > 0);
        }
        ConfigError::unless(
            pools.len() < MAX_POOLS,
            "http_transport",
            format_args!("{:?}", config.name),
            "at most 64 distinct configurations in use at a time",
        )?;
        let connector = Connector::new(
            Names::System,
            #[cfg(feature = "tls")]
            Tls::new(&config.tls, config.protocol)?,
        );
        let shared = Arc::new(Shared::new(config.clone(), connector));
        pools.insert(config, Arc::downgrade(&shared));
        Ok(Transport::new(shared))
    }
}
