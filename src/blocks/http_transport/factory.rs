//! One pool per distinct configuration.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinSet;

use super::ceiling::AllPools;
use super::close::{CloseReport, InUse};
use super::config::TransportConfig;
use super::dial::{Connector, Names};
use super::metrics::CeilingCounts;
use super::shared::Shared;
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::transport::Transport;
use crate::ground::config_error::ConfigError;
use crate::ground::primitives::Mutex;

/// Pools at a time, those included that only end what they carry.
const MAX_POOLS: usize = 64;

/// Hands out transports; equal configurations share one pool, with its TLS sessions.
///
/// Keep one per process. It holds no pool alive: one without transports is gone.
///
/// # Examples
///
/// At most 400 sockets, however many configurations there are:
/// ```
/// use headworks::http_transport::{Preset, TransportFactory};
///
/// let factory = TransportFactory::with_ceiling(400)?;
/// let quick = factory.transport(Preset::Default)?;
/// let patient = factory.transport(Preset::HighThroughput)?;
/// let ceiling = patient.snapshot().ceiling.expect("there is one");
/// assert_eq!((ceiling.open, ceiling.max), (0, 400));
/// # drop(quick);
/// # Ok::<(), headworks::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct TransportFactory {
    pools: Mutex<Pools>,
    all: Option<Arc<AllPools>>,
}

/// Above it a ceiling is a mistake.
const HIGHEST_CEILING: usize = 1_000_000;

#[derive(Debug, Default)]
struct Pools {
    known: Vec<Known>,
    is_closed: bool,
}

/// A pool, as long as there is something of it.
#[derive(Debug)]
struct Known {
    /// Nobody uses it, once that is gone: it ends what it carries.
    in_use: Weak<InUse>,
    shared: Weak<Shared>,
}

impl TransportFactory {
    /// A factory without pools.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn new() -> Result<Self, ConfigError> {
        Ok(Self { pools: Mutex::default(), all: None })
    }

    /// A factory without pools, whose pools will never have more than so many open connections in
    /// all, 1 to 1,000,000: dialling ones and those still being closed included, beside what each
    /// configuration allows its own pool.
    ///
    /// When all are taken, a request that could dial otherwise waits in its own pool's line. What is
    /// freed goes to the pool whose head is of the highest class, by turns on a tie; idle connections
    /// are closed for those that wait, that of all pools first which is idle for longest
    /// ([`CloseReason::Displaced`](super::CloseReason::Displaced)); and a host that keeps being handed
    /// its own connections past a head of no lower class gives one up after 32 in a row.
    ///
    /// # Errors
    ///
    /// `ConfigError::Invalid` beyond those bounds.
    ///
    /// # Cost
    ///
    /// A lock that all its pools share, for each connection that is opened or closed, and while any
    /// request waits. Finding the connection that is idle for longest is O(hosts of all pools).
    pub fn with_ceiling(open_connections: usize) -> Result<Self, ConfigError> {
        ConfigError::unless(
            (1..=HIGHEST_CEILING).contains(&open_connections),
            "http_transport.ceiling",
            open_connections,
            "1..=1000000",
        )?;
        let all = Some(Arc::new(AllPools::new(open_connections)));
        Ok(Self { pools: Mutex::default(), all })
    }

    /// Where the [ceiling](Self::with_ceiling) stands; `None`: there is none.
    #[must_use]
    pub fn ceiling(&self) -> Option<CeilingCounts> {
        self.all.as_ref().map(|all| all.counts())
    }

    /// A transport over the one pool of this configuration. Starts nothing.
    ///
    /// # Errors
    ///
    /// `ConfigError::Invalid`, naming the field that is out of range, or the environment variable
    /// that names no proxy; or `http_transport` when there are 64 other pools.
    pub fn transport(&self, config: impl Into<TransportConfig>) -> Result<Transport, ConfigError> {
        self.pool(config.into()).map(Transport::new)
    }

    /// Gives `transport`, and every clone of it, another configuration: from the next request on
    /// they use the pool of that one. Requests under way end over the old pool, by the old
    /// configuration, and no connection goes from one pool to the other. Until the old one has ended
    /// each keeps to its own caps.
    ///
    /// Other transports that this factory has handed out for the old configuration keep it. When
    /// there are none, the old pool closes its idle connections at once, and the others as they come
    /// back. An equal configuration changes nothing.
    ///
    /// # Errors
    ///
    /// As [`transport`](Self::transport); then nothing has changed.
    pub fn reload(
        &self,
        transport: &Transport,
        config: impl Into<TransportConfig>,
    ) -> Result<(), ConfigError> {
        transport.move_to(self.pool(config.into())?);
        Ok(())
    }

    /// Closes every pool as [`Transport::close`] does, all at the same time, those that are left of
    /// earlier configurations too. What it hands out from now on is closed as well. The report is
    /// that of all pools, one after the other.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the pools take no new requests, and nothing else is cut. Another call goes on from there.
    ///
    /// # Cost
    ///
    /// A task for each pool, that ends with this call.
    pub async fn close(&self, within: Duration) -> CloseReport {
        let pools: Vec<_> = {
            let mut pools = self.pools.lock();
            pools.is_closed = true;
            pools.known.iter().filter_map(|pool| pool.shared.upgrade()).collect()
        };
        let mut tasks = JoinSet::new();
        for pool in pools {
            pool.door.close();
            tasks.spawn(async move { pool.close(within).await });
        }
        let mut all = CloseReport::default();
        while let Some(closed) = tasks.join_next().await {
            // None panics, and none is aborted but with this call.
            let CloseReport { requests, hosts, unresponsive } = closed.unwrap_or_default();
            all.requests += requests;
            all.hosts.extend(hosts);
            all.unresponsive += unresponsive;
        }
        all
    }

    fn pool(&self, mut config: TransportConfig) -> Result<Arc<InUse>, ConfigError> {
        config.check().map_err(|error| error.of(&config.name))?;
        config.proxy = config.proxy.settled()?;
        let mut pools = self.pools.lock();
        let in_use = pools.known.iter().filter_map(|pool| pool.in_use.upgrade());
        let is_closed = pools.is_closed;
        let mut same = in_use.filter(|pool| *pool.0.config == config);
        if let Some(pool) = same.find(|pool| is_closed || pool.0.door.is_open()) {
            return Ok(pool);
        }
        drop(same);
        pools.known.retain(|pool| pool.shared.strong_count() > 0);
        ConfigError::unless(
            pools.known.len() < MAX_POOLS,
            "http_transport",
            format_args!("{:?}", config.name),
            "at most 64 pools at a time",
        )?;
        let connector = Connector::new(
            Names::System,
            #[cfg(feature = "tls")]
            Tls::new(&config)?,
        );
        let all = self.all.as_ref();
        let shared = Arc::new_cyclic(|shared| {
            Shared::new(config, connector, all.map(|all| all.join(shared)))
        });
        if pools.is_closed {
            shared.door.close();
        }
        let (weak, in_use) = (Arc::downgrade(&shared), Arc::new(InUse(shared)));
        pools.known.push(Known { in_use: Arc::downgrade(&in_use), shared: weak });
        Ok(in_use)
    }
}
