//! The body of a reply.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::socket::ResetSwitch;

/// A whole body, or one that is cut by a reset after its first half.
#[derive(Debug)]
pub(crate) struct ReplyBody {
    now: Option<Bytes>,
    /// Bytes that the header announces and that never come.
    missing: u64,
    switch: Option<ResetSwitch>,
}

impl ReplyBody {
    pub(super) fn whole(text: String) -> Self {
        Self { now: Some(text.into()), missing: 0, switch: None }
    }

    pub(super) fn cut(text: String, switch: ResetSwitch) -> Self {
        let mut now = Bytes::from(text);
        let missing = now.split_off(now.len() / 2).len() as u64;
        Self { now: Some(now), missing, switch: Some(switch) }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match (self.now.take(), &self.switch) {
            (Some(bytes), _) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            (None, None) => Poll::Ready(None),
            (None, Some(switch)) => {
                // Nobody wakes this body again: the flush that follows ends the connection.
                switch.pull();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.now.is_none() && self.switch.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let now = self.now.as_ref().map_or(0, Bytes::len) as u64;
        SizeHint::with_exact(now + self.missing)
    }
}
