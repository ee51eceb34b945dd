//! The body of an answer, as its reader sees it.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes};
use http_body::{Body as _, Frame, SizeHint};

#[cfg(feature = "compression")]
use super::decode::Decoded;
use super::error::TransportError;
use super::raw_body::RawBody;
use crate::BytesPool;

/// The body of an answer, as it comes in.
///
/// Read it with [`chunk`](Self::chunk), [`bytes`](Self::bytes), or as an [`http_body::Body`]. Its
/// connection returns to the pool when the end has been read. Of a body dropped before that, up to
/// `drain_bytes` are read for at most a second to save the connection, which is closed if that is
/// not the end; over HTTP/2 only its stream ends. `total_timeout` and `body_idle_timeout` hold
/// here while it is read: one that is kept and not polled keeps its connection.
pub struct Body(Inner);

#[allow(clippy::large_enum_variant, reason = "nearly all are raw, and cost no allocation")]
enum Inner {
    Raw(RawBody),
    #[cfg(feature = "compression")]
    Decoded(Box<Decoded>),
}

impl From<RawBody> for Body {
    fn from(body: RawBody) -> Self {
        Self(Inner::Raw(body))
    }
}

#[cfg(feature = "compression")]
impl From<Decoded> for Body {
    fn from(body: Decoded) -> Self {
        Self(Inner::Decoded(Box::new(body)))
    }
}

impl Body {
    /// The next piece; `None` at the end. Trailers are passed over.
    ///
    /// # Errors
    ///
    /// `ClosedEarly`, `InvalidAnswer`, `BodyIdleTimeout`, `TotalTimeout`, `BodyTooLarge` beyond
    /// `max_body_bytes`, `Closed` when the transport was closed over it; with `decoding` also
    /// `Undecodable`, `DecodedTooLarge` and `ExpandsTooMuch`. The answer is lost, and its connection
    /// closed (over HTTP/2 its stream).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: a piece that has not been returned comes with the next call.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, TransportError>> {
        loop {
            match poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => return Some(Ok(data)),
                    Err(_trailers) => continue,
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The whole body, of at most `limit_bytes`. One that comes in one piece is not copied; others are
    /// put together in a buffer that goes back to the transport's [`BytesPool`] with the last clone
    /// of what is returned.
    ///
    /// # Errors
    ///
    /// As [`chunk`](Self::chunk), and `BodyTooLarge` beyond `limit_bytes`.
    ///
    /// # Cancel safety
    ///
    /// Dropped, what was read is lost, and the connection as when the body is dropped.
    pub async fn bytes(mut self, limit_bytes: usize) -> Result<Bytes, TransportError> {
        let too_large = TransportError::BodyTooLarge { limit_bytes };
        if self.size_hint().lower() > limit_bytes as u64 {
            return Err(too_large);
        }
        let Some(first) = self.chunk().await.transpose()? else { return Ok(Bytes::new()) };
        if self.is_end_stream() && first.len() <= limit_bytes {
            return Ok(first);
        }
        // Now, while its connection is there.
        let buffers = self.buffers();
        let Some(mut next) = self.chunk().await.transpose()? else {
            return if first.len() > limit_bytes { Err(too_large) } else { Ok(first) };
        };
        // Its length, where it is known; and nobody makes us take more than comes, and as much again.
        let left = usize::try_from(self.size_hint().lower()).unwrap_or(usize::MAX);
        let so_far = first.len() + next.len();
        let buffers = buffers.unwrap_or_default();
        let mut all = buffers.take(so_far + left.min(so_far)).into_owned();
        all.put_slice(&first);
        drop(first);
        loop {
            if all.len() + next.len() > limit_bytes {
                return Err(too_large);
            }
            all.put_slice(&next);
            match self.chunk().await.transpose()? {
                Some(chunk) => next = chunk,
                None => return Ok(all.freeze()),
            }
        }
    }

    fn buffers(&self) -> Option<BytesPool> {
        match &self.0 {
            Inner::Raw(body) => body.buffers(),
            #[cfg(feature = "compression")]
            Inner::Decoded(body) => Some(body.buffers().clone()),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        match &mut self.0 {
            Inner::Raw(body) => Pin::new(body).poll_frame(cx),
            #[cfg(feature = "compression")]
            Inner::Decoded(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Raw(body) => body.is_end_stream(),
            #[cfg(feature = "compression")]
            Inner::Decoded(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Raw(body) => body.size_hint(),
            #[cfg(feature = "compression")]
            Inner::Decoded(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}
