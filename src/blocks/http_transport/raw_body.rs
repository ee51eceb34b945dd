//! The body of an answer on the wire: it holds the connection until it has been read to its end.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Sleep;

use super::allowance::Allowance;
use super::error::{Phase, TransportError, broken_body};
use super::metrics::CloseReason;
use super::permit::Lease;
use super::stream::Answer;
use crate::BytesPool;
use crate::ground::time::{Instant, now, timer_at};

/// The body of an answer as it comes over the wire. It holds the connection.
pub(super) struct RawBody {
    incoming: Incoming,
    lease: Option<Lease>,
    allowance: Allowance,
    silence: Silence,
    failed: bool,
    /// How much came so far.
    bytes: usize,
}

/// What comes over either kind of connection.
pub(super) enum Incoming {
    H1(hyper::body::Incoming),
    H2(Box<Answer>),
    /// Nobody wants the rest.
    Gone,
}

impl Incoming {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        match self {
            Self::H1(body) => {
                Pin::new(body).poll_frame(cx).map(|piece| Some(piece?.map_err(broken_body)))
            }
            Self::H2(body) => body.poll_frame(cx),
            Self::Gone => Poll::Ready(None),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match self {
            Self::H1(body) => body.is_end_stream(),
            Self::H2(body) => body.is_end_stream(),
            Self::Gone => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::H1(body) => body.size_hint(),
            Self::H2(body) => body.size_hint(),
            Self::Gone => SizeHint::with_exact(0),
        }
    }
}

pub(super) type Piece = Result<Frame<Bytes>, TransportError>;

/// The timer of the silence between two pieces; made at the first one that has to be waited for.
#[derive(Default)]
struct Silence {
    timer: Option<Pin<Box<Sleep>>>,
    /// Until when this silence may last. `None`: it has not begun.
    until: Option<Instant>,
    /// How many answers had begun over a shared connection when it began.
    heard: Option<u64>,
}

impl Silence {
    fn poll_over(
        &mut self,
        begin: impl FnOnce() -> Option<Instant>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if self.until.is_none() {
            self.until = begin();
            let Some(at) = self.until else { return Poll::Pending };
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(timer_at(at)),
                none => *none = Some(Box::pin(tokio::time::sleep_until(timer_at(at)))),
            }
        }
        self.timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }
}

impl RawBody {
    pub(super) fn new(incoming: Incoming, lease: Lease, allowance: Allowance) -> Self {
        let mut body = Self {
            incoming,
            lease: Some(lease),
            allowance,
            silence: Silence::default(),
            failed: false,
            bytes: 0,
        };
        if body.incoming.is_end_stream() {
            body.release();
        }
        body
    }

    /// How much may come in all.
    pub(super) fn max_body_bytes(&self) -> Option<usize> {
        self.lease.as_ref().and_then(|lease| lease.config().max_body_bytes)
    }

    /// What its pieces may be put together in; `None`: no more will come.
    pub(super) fn buffers(&self) -> Option<BytesPool> {
        self.lease.as_ref().map(|lease| lease.buffers().clone())
    }

    fn release(&mut self) {
        // What is left of a request that was answered early goes with the stream.
        if let Incoming::H2(_) = self.incoming {
            self.incoming = Incoming::Gone;
        }
        if let Some(lease) = self.lease.take() {
            lease.finish();
        }
    }

    fn fail(&mut self, error: TransportError) -> Poll<Option<Piece>> {
        self.failed = true;
        let is_cut = self.lease.as_ref().is_some_and(Lease::is_cut);
        let error = if is_cut { TransportError::Closed } else { error };
        // Closes the connection, or ends the stream: first that, then its permit.
        self.incoming = Incoming::Gone;
        self.lease = None;
        Poll::Ready(Some(Err(error)))
    }

    fn on_silence(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        // It is there while anything is waited for.
        let Some(lease) = &self.lease else { return Poll::Pending };
        let (allowance, idle) = (self.allowance, lease.config().body_idle_timeout);
        let heard = self.lease.as_ref().and_then(Lease::heard);
        if self.silence.until.is_none() {
            self.silence.heard = heard;
        }
        let over = self.silence.poll_over(|| allowance.until(now(), idle), cx);
        match over {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let late = self
                    .allowance
                    .late(self.silence.until, Phase::Body, || TransportError::BodyIdleTimeout);
                // A silence of its full length, and no answer for anybody meanwhile: nobody else is
                // to wait for this peer. (The end of the whole tells nothing about it.)
                let is_dead =
                    matches!(late, TransportError::BodyIdleTimeout) && heard == self.silence.heard;
                if let Some(lease) = self.lease.as_ref().filter(|_| is_dead) {
                    lease.drain(CloseReason::Abandoned);
                }
                self.fail(late)
            }
        }
    }
}

impl http_body::Body for RawBody {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        if self.failed {
            return Poll::Ready(None);
        }
        match self.incoming.poll_frame(cx) {
            Poll::Pending => self.on_silence(cx),
            Poll::Ready(Some(Err(error))) => self.fail(error),
            Poll::Ready(None) => {
                self.release();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.silence.until = None;
                self.bytes += frame.data_ref().map_or(0, Bytes::len);
                if let Some(limit_bytes) = self.max_body_bytes().filter(|&most| self.bytes > most) {
                    return self.fail(TransportError::BodyTooLarge { limit_bytes });
                }
                if self.incoming.is_end_stream() {
                    self.release();
                } else if self.allowance.is_over(now()) {
                    return self.fail(TransportError::TotalTimeout { phase: Phase::Body });
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for RawBody {
    fn drop(&mut self) {
        // After a failure there is no lease.
        let Some(lease) = self.lease.take() else { return };
        match std::mem::replace(&mut self.incoming, Incoming::Gone) {
            Incoming::H1(rest) => lease.finish_without(rest),
            // First the stream, then its permit.
            Incoming::H2(rest) => drop(rest),
            Incoming::Gone => {}
        }
    }
}
