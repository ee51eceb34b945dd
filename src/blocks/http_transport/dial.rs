//! A new connection: name lookup, TCP, and TLS where the URL asks for it.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
#[cfg(feature = "tls")]
use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use super::allowance::Allowance;
use super::config::{Protocol, TransportConfig};
use super::error::{Cause, Phase, TransportError};
use super::host::HostKey;
use super::times::HostTimes;
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::{h1, h2};
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::time::now;

/// Dials. One per configuration.
#[derive(Debug)]
pub(super) struct Connector {
    tcp: HttpConnector,
    #[cfg(feature = "tls")]
    tls: Tls,
}

impl Connector {
    pub(super) fn new(config: &TransportConfig, #[cfg(feature = "tls")] tls: Tls) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(config.tcp_keep_alive);
        // Shared out among a name's addresses, so that a dead one of several is passed over.
        tcp.set_connect_timeout(Some(config.dial_timeout));
        Self {
            tcp,
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
        let (stream, took) = self.stream(host, config, allowance, &times).await?;
        let muxed = match config.protocol {
            Protocol::Http1 => false,
            Protocol::Negotiated => stream.agreed_on_h2(),
            Protocol::Http2 => true,
        };
        let failed = |cause| TransportError::Dial { host: host.name(), cause };
        let late = || TransportError::DialTimeout { host: host.name() };
        if muxed {
            let agreed = h2::handshake(stream, config, times);
            // One timeout for both: connecting, and learning what the peer allows.
            let left = config.dial_timeout.saturating_sub(took);
            let agreed = allowance.spend(Phase::Dial, left, agreed, late).await?;
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

    /// A socket, and how long it took to connect it, TLS left out.
    async fn stream(
        &self,
        host: &HostKey,
        config: &TransportConfig,
        allowance: Allowance,
        times: &HostTimes,
    ) -> Result<(Stream, Duration), TransportError> {
        let began = now();
        let dialled = self.tcp.clone().call(host.uri());
        let late = || TransportError::DialTimeout { host: host.name() };
        let tcp = allowance
            .spend(Phase::Dial, config.dial_timeout, dialled, late)
            .await?
            .map_err(|error| match is_timeout(&error) {
                true => late(),
                false => TransportError::Dial { host: host.name(), cause: Cause::new(error) },
            })?
            .into_inner();
        let connected = now();
        let took = connected.saturating_duration_since(began);
        times.dialled(took);
        if !host.tls {
            return Ok((Stream::new(Io::Tcp(tcp)), took));
        }
        #[cfg(feature = "tls")]
        {
            let secured = self.tls.handshake(host, tcp)?;
            let tls = allowance
                .spend(Phase::Tls, config.tls_timeout, secured, || TransportError::TlsTimeout {
                    host: host.name(),
                })
                .await?
                .map_err(|error| TransportError::Tls {
                    host: host.name(),
                    cause: Cause::new(error),
                })?;
            let resumed = tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
            times.secured(now().saturating_duration_since(connected), resumed);
            Ok((Stream::new(Io::Tls(Box::new(tls))), took))
        }
        #[cfg(not(feature = "tls"))]
        Err(TransportError::UnsupportedScheme("https needs the feature tls"))
    }
}

/// All addresses used up their share of the time, or the system gave up.
fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        || error.source().is_some_and(is_timeout)
}

/// A new connection and the task that is to drive it.
#[derive(Debug)]
pub(super) enum Opened {
    H1(h1::H1, Box<h1::Driver>),
    H2(h2::H2, Box<h2::Driver>),
}

/// A connected socket that counts how often something came back over it.
#[derive(Debug)]
pub(super) struct Stream {
    io: Io,
    heard: Heard,
}

/// How often something came over a connection. Its other end is with whoever sends.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<AtomicU64>);

impl Heard {
    pub(super) fn again(&self) {
        // Release: pairs with the Acquire below, though the channels to whoever reads it already
        // order the two.
        self.0.fetch_add(1, Ordering::Release);
    }

    pub(super) fn so_often(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
enum Io {
    Tcp(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// Runs `$body` on whichever socket it is.
macro_rules! on_io {
    ($self:ident, $io:ident => $body:expr) => {
        match &mut $self.io {
            Io::Tcp(io) => {
                let $io = Pin::new(io);
                $body
            }
            #[cfg(feature = "tls")]
            Io::Tls(io) => {
                let $io = Pin::new(&mut **io);
                $body
            }
        }
    };
}

impl Stream {
    fn new(io: Io) -> Self {
        Self { io, heard: Heard::default() }
    }

    pub(super) fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// Whether both sides agreed on HTTP/2 (ALPN).
    pub(super) fn agreed_on_h2(&self) -> bool {
        match &self.io {
            Io::Tcp(_) => false,
            #[cfg(feature = "tls")]
            Io::Tls(io) => io.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = on_io!(self, io => io.poll_read(cx, buf));
        if buf.filled().len() > before {
            self.heard.again();
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_io!(self, io => io.poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_io!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_io!(self, io => io.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_io!(self, io => io.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Tcp(io) => io.is_write_vectored(),
            #[cfg(feature = "tls")]
            Io::Tls(io) => io.is_write_vectored(),
        }
    }
}
