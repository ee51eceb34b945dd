//! Sockets: name lookup, and the race between a name's addresses.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};

use super::addresses::order;
use super::race::first_of;
use crate::blocks::http_transport::config::{AddressOrder, TransportConfig};
use crate::blocks::http_transport::host::HostKey;
use crate::blocks::http_transport::times::HostTimes;

/// Who knows the addresses of a name.
#[derive(Debug)]
pub(in crate::blocks::http_transport) enum Names {
    /// The system: `getaddrinfo`, both families at once, so there is nothing to wait for between
    /// them. It is asked for every new connection and remembers what it likes. It can't be
    /// interrupted: a dial that is given up leaves it to its thread, of which tokio has 512.
    System,
    /// Whatever the name.
    #[cfg(all(test, not(headworks_loom)))]
    These(Vec<SocketAddr>),
}

impl Names {
    async fn addresses_of(&self, host: &HostKey) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::System => Ok(lookup_host((host.host(), host.port())).await?.collect()),
            #[cfg(all(test, not(headworks_loom)))]
            Self::These(addresses) => Ok(addresses.clone()),
        }
    }
}

/// Why there is no socket.
pub(super) enum Failure {
    /// The system gave up on every address.
    Late,
    Failed(Box<dyn StdError + Send + Sync>),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Connects to whichever address of `host` answers first.
pub(super) async fn connect(
    names: &Names,
    host: &HostKey,
    config: &TransportConfig,
    times: &HostTimes,
) -> Result<TcpStream, Failure> {
    let found = names.addresses_of(host).await?;
    let turn = match config.address_order {
        AddressOrder::Preferred => None,
        AddressOrder::RoundRobin => Some(times.next_turn()),
    };
    let addresses = order(found, turn);
    let raced = first_of(addresses, config.address_delay, TcpStream::connect).await;
    let stream = raced.map_err(|error| match error.is_timeout() {
        true => Failure::Late,
        false => Failure::Failed(error.into()),
    })?;
    stream.set_nodelay(true)?;
    if let Some(silence) = config.tcp_keep_alive {
        SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(silence))?;
    }
    Ok(stream)
}
