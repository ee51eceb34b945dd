//! A connected socket, whatever lies between it and the peer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::ground::primitives::atomic::{AtomicU64, Ordering};

/// A socket, and what it is wrapped in.
#[derive(Debug)]
pub(in crate::blocks::http_transport) enum Io {
    Tcp(TcpStream),
    /// Over a socket, or over another of these: a tunnel through a proxy that itself speaks TLS.
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<Io>>),
    /// What was read too much of it comes first.
    Early(Bytes, Box<Io>),
}

impl Io {
    pub(super) fn after(early: Bytes, io: Self) -> Self {
        if early.is_empty() { io } else { Self::Early(early, Box::new(io)) }
    }
}

/// Runs `$body` on whichever it is; what came early matters to reading alone.
macro_rules! on_io {
    ($self:ident, $io:ident => $body:expr) => {
        match $self.get_mut() {
            Io::Tcp(io) => {
                let $io = Pin::new(io);
                $body
            }
            #[cfg(feature = "tls")]
            Io::Tls(io) => {
                let $io = Pin::new(&mut **io);
                $body
            }
            Io::Early(_, io) => {
                let $io = Pin::new(&mut **io);
                $body
            }
        }
    };
}

impl AsyncRead for Io {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Self::Early(early, _) = &mut *self
            && !early.is_empty()
        {
            let piece = early.len().min(buf.remaining());
            buf.put_slice(&early[..piece]);
            early.advance(piece);
            return Poll::Ready(Ok(()));
        }
        on_io!(self, io => io.poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_io!(self, io => io.poll_write(cx, bytes))
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_io!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_io!(self, io => io.poll_shutdown(cx))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_io!(self, io => io.poll_write_vectored(cx, slices))
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(io) => io.is_write_vectored(),
            #[cfg(feature = "tls")]
            Self::Tls(io) => io.is_write_vectored(),
            Self::Early(_, io) => io.is_write_vectored(),
        }
    }
}

/// A connection's socket, which counts how often something came back over it.
#[derive(Debug)]
pub(in crate::blocks::http_transport) struct Stream {
    io: Io,
    heard: Heard,
}

/// How often something came over a connection. Its other end is with whoever sends.
#[derive(Clone, Debug, Default)]
pub(in crate::blocks::http_transport) struct Heard(Arc<AtomicU64>);

impl Heard {
    pub(in crate::blocks::http_transport) fn again(&self) {
        // Release: pairs with the Acquire below, though the channels to whoever reads it already
        // order the two.
        self.0.fetch_add(1, Ordering::Release);
    }

    pub(in crate::blocks::http_transport) fn so_often(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Stream {
    pub(super) fn new(io: Io) -> Self {
        Self { io, heard: Heard::default() }
    }

    pub(in crate::blocks::http_transport) fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// Whether both sides agreed on HTTP/2 (ALPN).
    pub(super) fn agreed_on_h2(&self) -> bool {
        match &self.io {
            #[cfg(feature = "tls")]
            Io::Tls(io) => io.get_ref().1.alpn_protocol() == Some(b"h2"),
            Io::Tcp(_) | Io::Early(..) => false,
        }
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.again();
        }
        read
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
