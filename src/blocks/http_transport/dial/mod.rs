//! A new connection: name lookup, TCP, a tunnel where a proxy lies between, and TLS where the URL
//! asks for it.

pub(super) mod addresses;
pub(super) mod race;
mod socket;
mod tcp;
pub(super) mod tunnel;

use std::time::Duration;

pub(super) use self::socket::{Heard, Io, Stream};
pub(super) use self::tcp::Names;
use super::allowance::Allowance;
use super::config::{Protocol, TransportConfig};
use super::error::{Cause, Phase, TransportError};
use super::host::HostKey;
use super::proxy::{How, Via};
use super::times::HostTimes;
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::{h1, h2};
use crate::ground::time::now;

/// Dials. One per configuration.
#[derive(Debug)]
pub(super) struct Connector {
    names: Names,
    #[cfg(feature = "tls")]
    tls: Tls,
}

/// A new connection and the task that is to drive it.
#[derive(Debug)]
pub(super) enum Opened {
    H1(h1::H1, Box<h1::Driver>),
    H2(h2::H2, Box<h2::Driver>),
}

impl Connector {
    pub(super) fn new(names: Names, #[cfg(feature = "tls")] tls: Tls) -> Self {
        Self {
            names,
            #[cfg(feature = "tls")]
            tls,
        }
    }

    /// Connects to `host` and finds out what it speaks. Dropping the future ends the attempt.
    pub(super) async fn connect(
        &self,
        host: &HostKey,
        config: &TransportConfig,
        allowance: Allowance,
        times: HostTimes,
    ) -> Result<Opened, TransportError> {
        let (stream, dial_left) = self.stream(host, config, allowance, &times).await?;
        let muxed = match config.protocol {
            Protocol::Http1 => false,
            Protocol::Negotiated => stream.agreed_on_h2(),
            Protocol::Http2 => true,
        };
        let failed = |cause| TransportError::Dial { host: host.name(), cause };
        let late = || TransportError::DialTimeout { host: host.name() };
        if muxed {
            let agreed = h2::handshake(stream, config, times);
            let agreed = allowance.spend(Phase::Dial, dial_left, agreed, late).await?;
            agreed
                .map(|(conn, driver)| Opened::H2(conn, Box::new(driver)))
                .map_err(|error| failed(Cause::new(error)))
        } else {
            let begun = h1::handshake(stream, config.max_header_bytes, times).await;
            begun
                .map(|(conn, driver)| Opened::H1(conn, Box::new(driver)))
                .map_err(|error| failed(Cause::new(error)))
        }
    }

    /// Bytes to and from `host`, and what is left of the time for dialling.
    async fn stream(
        &self,
        host: &HostKey,
        config: &TransportConfig,
        allowance: Allowance,
        times: &HostTimes,
    ) -> Result<(Stream, Duration), TransportError> {
        let began = now();
        let reached = self.reach(host, config, times);
        let late = || match &host.via {
            None => TransportError::DialTimeout { host: host.name() },
            Some(via) => TransportError::ProxyTimeout { proxy: via.proxy.at().name() },
        };
        let io = allowance.spend(Phase::Dial, config.dial_timeout, reached, late).await??;
        let connected = now();
        let took = connected.saturating_duration_since(began);
        times.dialled(took);
        let dial_left = config.dial_timeout.saturating_sub(took);
        if !host.tls {
            return Ok((Stream::new(io), dial_left));
        }
        #[cfg(feature = "tls")]
        {
            let late = || TransportError::TlsTimeout { host: host.name() };
            let secured = self.tls.handshake(host, io);
            let tls = allowance.spend(Phase::Tls, config.tls_timeout, secured, late).await??;
            let took = now().saturating_duration_since(connected);
            times.secured(took, super::tls::is_resumed(&tls));
            Ok((Stream::new(Io::Tls(Box::new(tls))), dial_left))
        }
        #[cfg(not(feature = "tls"))]
        Err(TransportError::UnsupportedScheme("https needs the feature tls"))
    }

    /// A way to `host`, through a proxy where one lies between.
    async fn reach(
        &self,
        host: &HostKey,
        config: &TransportConfig,
        times: &HostTimes,
    ) -> Result<Io, TransportError> {
        let Some(via) = &host.via else {
            let dialled = tcp::connect(&self.names, host, config, times).await;
            return dialled.map(Io::Tcp).map_err(|failure| match failure {
                tcp::Failure::Late => TransportError::DialTimeout { host: host.name() },
                tcp::Failure::Failed(cause) => {
                    TransportError::Dial { host: host.name(), cause: Cause::new(cause) }
                }
            });
        };
        let proxy = || via.proxy.at().name();
        let dialled = tcp::connect(&self.names, via.proxy.at(), config, times).await;
        let io = dialled.map(Io::Tcp).map_err(|failure| match failure {
            tcp::Failure::Late => TransportError::ProxyTimeout { proxy: proxy() },
            tcp::Failure::Failed(cause) => {
                TransportError::ProxyDial { proxy: proxy(), cause: Cause::new(cause) }
            }
        })?;
        let io = self.secure_proxy(via, io).await?;
        if via.how == How::AbsoluteForm {
            return Ok(io);
        }
        let authorization = via.proxy.authorization();
        match tunnel::open(io, host, authorization, config.max_header_bytes).await {
            Ok((io, early)) => Ok(Io::after(early, io)),
            Err(tunnel::Failure::Refused(status)) => {
                Err(TransportError::ProxyRefused { proxy: proxy(), status })
            }
            Err(tunnel::Failure::Broken(cause)) => {
                Err(TransportError::ProxyAnswer { proxy: proxy(), cause: Cause::new(cause) })
            }
            Err(tunnel::Failure::Unasked(error)) => Err(error),
        }
    }

    #[cfg(feature = "tls")]
    async fn secure_proxy(&self, via: &Via, io: Io) -> Result<Io, TransportError> {
        if !via.proxy.at().tls {
            return Ok(io);
        }
        Ok(Io::Tls(Box::new(self.tls.handshake_with_proxy(via.proxy.at(), io).await?)))
    }

    #[cfg(not(feature = "tls"))]
    async fn secure_proxy(&self, _: &Via, io: Io) -> Result<Io, TransportError> {
        Ok(io)
    }
}
