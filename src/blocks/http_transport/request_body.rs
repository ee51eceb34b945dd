//! What a request carries: bytes, or a stream.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Method;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use super::error::{Cause, TransportError};
use super::expect::Gate;

/// The body of a request: [`Bytes`] without an allocation, or a boxed stream.
///
/// Made `From` `()`, [`Bytes`], `Vec<u8>`, `String` and static slices, or with
/// [`stream`](Self::stream). Bytes are *replayable*: an idempotent request that carries them may be
/// sent again when a pooled connection turns out to be dead, and over HTTP/2 any that the server
/// says it has not begun with; three times at most. A stream is sent once.
pub struct TransportBody(Inner);

enum Inner {
    Bytes(Bytes),
    /// And what is still to come of the length that it claims.
    Stream(UnsyncBoxBody<Bytes, Cause>, Option<u64>),
    /// Sent when the gate opens, if it does.
    HeldBack(Box<(Gate, Inner)>),
}

impl Inner {
    /// As it was before it was held back.
    fn free(self) -> Self {
        match self {
            Self::HeldBack(held) => held.1.free(),
            free => free,
        }
    }

    fn as_free(&self) -> &Self {
        match self {
            Self::HeldBack(held) => held.1.as_free(),
            free => free,
        }
    }
}

/// A stream is shorter, or longer, than it said.
#[derive(Debug, thiserror::Error)]
#[error("the body is not as long as it claims")]
struct LengthLies;

impl TransportBody {
    /// No bytes at all.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Inner::Bytes(Bytes::new()))
    }

    /// A body that is produced while it is sent. One allocation.
    ///
    /// Its own size hint decides between `Content-Length` and chunked (which a GET or HEAD can't
    /// be: it is refused). When it fails, or ends before the length it claims, or passes it inside
    /// a piece, the request
    /// ends as [`RequestBody`](super::TransportError::RequestBody) and its connection is closed.
    pub fn stream<S>(stream: S) -> Self
    where
        S: http_body::Body<Data = Bytes> + Send + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let claimed = stream.size_hint().exact();
        Self(Inner::Stream(stream.map_err(Cause::new).boxed_unsync(), claimed))
    }

    /// hyper would leave it out without a word.
    pub(super) fn check_length(&self, method: &Method) -> Result<(), TransportError> {
        let is_known = self.is_end_stream() || self.size_hint().exact().is_some();
        if is_known || !matches!(*method, Method::GET | Method::HEAD) {
            return Ok(());
        }
        Err(TransportError::InvalidRequest("a GET or HEAD whose body has no known length"))
    }

    /// The same bytes again; `None` for a stream.
    pub(super) fn replay(&self) -> Option<Self> {
        match self.0.as_free() {
            Inner::Bytes(bytes) => Some(Self(Inner::Bytes(bytes.clone()))),
            Inner::Stream(..) | Inner::HeldBack(_) => None,
        }
    }

    /// Whether there is nothing to be sent.
    pub(super) fn is_none(&self) -> bool {
        self.is_end_stream()
    }

    /// Whether it is longer than so many bytes, or may be.
    pub(super) fn is_larger_than(&self, bytes: usize) -> bool {
        self.size_hint().upper().is_none_or(|upper| upper > bytes as u64)
    }

    /// From now on nothing of it is sent before the gate opens. An earlier gate is gone.
    pub(super) fn hold_back(&mut self, gate: Gate) {
        let inner = std::mem::replace(&mut self.0, Inner::Bytes(Bytes::new())).free();
        self.0 = Inner::HeldBack(Box::new((gate, inner)));
    }
}

impl Default for TransportBody {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for TransportBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_free() {
            Inner::Bytes(bytes) => write!(f, "TransportBody({} bytes)", bytes.len()),
            Inner::Stream(..) | Inner::HeldBack(_) => f.write_str("TransportBody(stream)"),
        }
    }
}

impl From<()> for TransportBody {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

impl From<Cow<'static, str>> for TransportBody {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

macro_rules! from_bytes {
    ($($kind:ty),*) => { $(
        impl From<$kind> for TransportBody {
            fn from(bytes: $kind) -> Self {
                Self(Inner::Bytes(bytes.into()))
            }
        }
    )* };
}

from_bytes!(Bytes, Vec<u8>, String, &'static str, &'static [u8]);

impl http_body::Body for TransportBody {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        if let Inner::HeldBack(held) = &mut self.0 {
            std::task::ready!(held.0.poll_open(cx));
            self.0 = std::mem::replace(&mut held.1, Inner::Bytes(Bytes::new()));
        }
        match &mut self.0 {
            Inner::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::Stream(stream, None) => Pin::new(stream).poll_frame(cx),
            Inner::Stream(stream, Some(left)) => {
                let frame = std::task::ready!(Pin::new(stream).poll_frame(cx));
                let length = frame.as_ref().and_then(|it| it.as_ref().ok()?.data_ref());
                let so_much = length.map_or(0, |data| data.len() as u64);
                let lies = frame.is_none() && *left > 0 || so_much > *left;
                *left = left.saturating_sub(so_much);
                Poll::Ready(if lies { Some(Err(Cause::new(LengthLies))) } else { frame })
            }
            Inner::HeldBack(_) => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.0.as_free() {
            Inner::Bytes(bytes) => bytes.is_empty(),
            // Or one that ends early would pass for whole.
            Inner::Stream(stream, left) => {
                left.is_none_or(|left| left == 0) && stream.is_end_stream()
            }
            Inner::HeldBack(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.0.as_free() {
            Inner::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Stream(_, Some(left)) => SizeHint::with_exact(*left),
            Inner::Stream(stream, None) => stream.size_hint(),
            Inner::HeldBack(_) => SizeHint::default(),
        }
    }
}
