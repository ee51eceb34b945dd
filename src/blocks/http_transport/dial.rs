//! A new connection: name lookup, TCP, and TLS where the URL asks for it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::HttpConnector;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use super::allowance::Allowance;
use super::config::TransportConfig;
use super::error::{Cause, Phase, TransportError};
use super::host::HostKey;
#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::ground::primitives::atomic::{AtomicBool, Ordering};

/// Dials. One per configuration; the TLS side is shared by all of a factory.
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
        Self {
            tcp,
            #[cfg(feature = "tls")]
            tls,
        }
    }

    /// Connects to `host`. Dropping the future ends the attempt.
    pub(super) async fn connect(
        &self,
        host: &HostKey,
        config: &TransportConfig,
        allowance: Allowance,
    ) -> Result<Stream, TransportError> {
        let dialled = self.tcp.clone().call(host.uri());
        let tcp = allowance
            .spend(Phase::Dial, config.dial_timeout, dialled, || TransportError::DialTimeout {
                host: host.name(),
            })
            .await?
            .map_err(|error| TransportError::Dial { host: host.name(), cause: Cause::new(error) })?
            .into_inner();
        if !host.tls {
            return Ok(Stream::new(Io::Tcp(tcp)));
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
            Ok(Stream::new(Io::Tls(Box::new(tls))))
        }
        #[cfg(not(feature = "tls"))]
        Err(TransportError::UnsupportedScheme("https needs the feature tls"))
    }
}

/// A connected socket that remembers whether anything came back over it.
#[derive(Debug)]
pub(super) struct Stream {
    io: Io,
    answered: Arc<AtomicBool>,
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
        Self { io, answered: Arc::new(AtomicBool::new(false)) }
    }

    /// Set by the first byte that is read; whoever sends clears it before.
    pub(super) fn answered(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.answered)
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
            // Release: pairs with the Acquire of `Conn::was_answered`, though hyper's own channel
            // already orders the two.
            self.answered.store(true, Ordering::Release);
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
