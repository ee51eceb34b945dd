//! A connection that can be told to end in a reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Tells one connection to end in a reset once everything written so far is out.
/// `Relaxed` suffices: body and socket are polled by the one task of their connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResetSwitch(Arc<AtomicBool>);

impl ResetSwitch {
    pub(crate) fn pull(&self) {
        self.0.store(true, Relaxed);
    }

    fn is_pulled(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// A TCP stream with a [`ResetSwitch`].
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TokioIo<TcpStream>,
    switch: ResetSwitch,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, switch: ResetSwitch) -> Self {
        Self { stream: TokioIo::new(stream), switch }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.switch.is_pulled() {
            // Closing with a linger time of zero sends RST instead of FIN. Should the socket refuse
            // the option, the client sees a body that ends too early: a fault all the same.
            _ = self.stream.inner().set_zero_linger();
        }
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when the body has nothing more for now: the first half is out by then.
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) if self.switch.is_pulled() => {
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            other => other,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.switch.is_pulled() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
