//! Answers that come compressed (RFC 9110, section 8.4), decoded while they are read.
//!
//! The codecs are async-compression's. What is ours: when it is asked for, how large what comes out
//! may be, and how it ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::{Buf, Bytes};
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue, RANGE,
};
use http::{Request, Response};
use http_body::Frame;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};
use tokio::task::coop::poll_proceed;
use tokio_util::io::poll_read_buf;

use super::body::Body;
use super::decoding::Decoding;
use super::error::{Cause, TransportError};
use super::raw_body::{Incoming, Piece, RawBody};
use crate::object_pool::{BytesPool, PooledBuf};

/// What is decoded at a time; at most so much is beyond a limit.
pub(super) const CHUNK_BYTES: usize = 8 << 10;

/// A piece of less than this is copied out of its buffer: else a server could have a reader that keeps
/// them hold 8 KiB for each byte, and no limit would tell.
const FULL_ENOUGH_BYTES: usize = CHUNK_BYTES / 2;

/// So much may come out of anything: what expands more than allowed is told later.
pub(super) const FREE_BYTES: u64 = 1 << 20;

/// Log of the largest window of a zstd answer: 8 MiB, as RFC 9659 has it.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Asks for a compressed answer. `None`: the caller has said what it takes, or wants a part: its
/// bytes are those of the compressed whole.
pub(super) fn ask<B>(request: &mut Request<B>, decoding: Option<Decoding>) -> Option<Decoding> {
    let headers = request.headers_mut();
    let decoding = decoding
        .filter(|_| !headers.contains_key(ACCEPT_ENCODING) && !headers.contains_key(RANGE))?;
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, br, zstd"));
    Some(decoding)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

impl Coding {
    /// The one coding that was used. Of none, of several and of unknown ones the answer stays as it
    /// is.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(CONTENT_ENCODING).iter();
        let coding = all.next()?.to_str().ok()?.trim();
        let known = [
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("br", Self::Brotli),
            ("zstd", Self::Zstd),
        ];
        let known = known.into_iter().find(|(name, _)| coding.eq_ignore_ascii_case(name));
        known.filter(|_| all.next().is_none()).map(|(_, coding)| coding)
    }
}

/// The answer as it was before it was compressed, its headers too.
pub(super) fn decoded(
    answer: Response<Incoming>,
    decoding: Option<Decoding>,
    raw: impl FnOnce(Incoming) -> RawBody,
) -> Response<Body> {
    let coding = decoding.and_then(|limits| Some((limits, Coding::of(answer.headers())?)));
    let Some((limits, coding)) = coding.filter(|_| !answer.body().is_end_stream()) else {
        return answer.map(|incoming| Body::from(raw(incoming)));
    };
    let mut answer = answer.map(|incoming| {
        let raw = raw(incoming);
        let (max_body_bytes, buffers) = (raw.max_body_bytes(), raw.buffers());
        let buffers = buffers.unwrap_or_default();
        Body::from(Decoded::new(raw, coding, limits, max_body_bytes, buffers))
    });
    answer.headers_mut().remove(CONTENT_ENCODING);
    answer.headers_mut().remove(CONTENT_LENGTH);
    answer
}

/// What a compressed body says.
pub(super) struct Decoded<B = RawBody> {
    /// `None` after the end.
    reader: Option<Reader<B>>,
    limits: Decoding,
    max_body_bytes: Option<usize>,
    /// Came out so far.
    bytes: u64,
    /// What is decoded into. None of them is held between two polls.
    buffers: BytesPool,
    begun: bool,
}

enum Reader<B> {
    Gzip(GzipDecoder<Source<B>>),
    Brotli(BrotliDecoder<Source<B>>),
    Zstd(ZstdDecoder<Source<B>>),
}

/// Runs `$body` on whichever decoder it is.
macro_rules! on_reader {
    ($reader:expr, $decoder:ident => $body:expr) => {
        match $reader {
            Reader::Gzip($decoder) => $body,
            Reader::Brotli($decoder) => $body,
            Reader::Zstd($decoder) => $body,
        }
    };
}

impl<B> Decoded<B>
where
    B: http_body::Body<Data = Bytes, Error = TransportError> + Unpin,
{
    pub(super) fn new(
        raw: B,
        coding: Coding,
        limits: Decoding,
        max_body_bytes: Option<usize>,
        buffers: BytesPool,
    ) -> Self {
        let source = Source::new(raw);
        let mut reader = match coding {
            Coding::Gzip => Reader::Gzip(GzipDecoder::new(source)),
            Coding::Brotli => Reader::Brotli(BrotliDecoder::new(source)),
            Coding::Zstd => {
                let window = [DParameter::window_log_max(ZSTD_WINDOW_LOG)];
                Reader::Zstd(ZstdDecoder::with_params(source, &window))
            }
        };
        match &mut reader {
            // Both may be of several parts (RFC 1952, section 2.2; RFC 8878, section 3.1).
            Reader::Gzip(decoder) => decoder.multiple_members(true),
            Reader::Zstd(decoder) => decoder.multiple_members(true),
            Reader::Brotli(_) => {}
        }
        Self { reader: Some(reader), limits, max_body_bytes, bytes: 0, buffers, begun: false }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.reader.is_none()
    }

    /// What its pieces may be put together in.
    pub(super) fn buffers(&self) -> &BytesPool {
        &self.buffers
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        // What is decoded is there at once: a body that expands would keep its thread to itself.
        let turn = ready!(poll_proceed(cx));
        let piece = ready!(self.poll_piece(cx));
        turn.made_progress();
        if !matches!(&piece, Some(Ok(frame)) if frame.is_data()) {
            // The rest of the raw body, if there is any, is not wanted any more.
            self.reader = None;
        }
        Poll::Ready(piece)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        let Some(reader) = &mut self.reader else { return Poll::Ready(None) };
        if !self.begun {
            // No byte at all is no damaged answer, though some servers call it compressed.
            let source = on_reader!(reader, decoder => decoder.get_mut());
            if let Err(error) = ready!(source.poll_piece(cx)) {
                return Poll::Ready(Some(Err(error)));
            }
            self.begun = true;
            if source.piece.is_empty() {
                return Poll::Ready(source.trailers());
            }
        }
        let mut out = self.buffers.take(CHUNK_BYTES);
        let read = on_reader!(reader, decoder => poll_read_buf(Pin::new(decoder), cx, &mut out));
        let source = on_reader!(reader, decoder => decoder.get_mut());
        match ready!(read) {
            Err(error) => Poll::Ready(Some(Err(source.failed.take().unwrap_or_else(|| {
                let truncated = error.kind() == io::ErrorKind::UnexpectedEof;
                TransportError::Undecodable { truncated, cause: Cause::new(error) }
            })))),
            Ok(0) => source.poll_rest(cx),
            Ok(length) => {
                let (chunk, read_bytes) = (kept(out), source.read_bytes);
                self.bytes += length as u64;
                Poll::Ready(Some(self.check(read_bytes).map(|()| Frame::data(chunk))))
            }
        }
    }

    /// `read_bytes`: what they came out of.
    fn check(&self, read_bytes: u64) -> Result<(), TransportError> {
        let Decoding { max_bytes, max_expansion } = self.limits;
        if self.bytes > max_bytes as u64 {
            return Err(TransportError::DecodedTooLarge { limit_bytes: max_bytes });
        }
        if let Some(limit_bytes) = self.max_body_bytes.filter(|&most| self.bytes > most as u64) {
            return Err(TransportError::BodyTooLarge { limit_bytes });
        }
        let allowed = read_bytes.saturating_mul(u64::from(max_expansion)).max(FREE_BYTES);
        if self.bytes > allowed {
            return Err(TransportError::ExpandsTooMuch { max_expansion });
        }
        Ok(())
    }
}

/// What was decoded, in no more than twice its own memory.
fn kept(out: PooledBuf<'_>) -> Bytes {
    if out.len() < FULL_ENOUGH_BYTES { Bytes::copy_from_slice(&out) } else { out.freeze() }
}

/// The raw body as a decoder reads it.
struct Source<B> {
    raw: B,
    piece: Bytes,
    read_bytes: u64,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// Why it broke: a decoder passes on no error but io's.
    failed: Option<TransportError>,
}

impl<B> Source<B>
where
    B: http_body::Body<Data = Bytes, Error = TransportError> + Unpin,
{
    fn new(raw: B) -> Self {
        let (piece, trailers, failed) = (Bytes::new(), None, None);
        Self { raw, piece, read_bytes: 0, trailers, ended: false, failed }
    }

    /// Ready with something in `piece`, or at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        while self.piece.is_empty() && !self.ended {
            match ready!(Pin::new(&mut self.raw).poll_frame(cx)) {
                None => self.ended = true,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.read_bytes += data.len() as u64;
                        self.piece = data;
                    }
                    Err(other) => self.trailers = other.into_trailers().ok(),
                },
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The decoder has come to its end: so must the body, for its connection's sake and because
    /// there is nothing that more could mean.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        if let Err(error) = ready!(self.poll_piece(cx)) {
            return Poll::Ready(Some(Err(error)));
        }
        if self.piece.is_empty() {
            return Poll::Ready(self.trailers());
        }
        let cause = Cause::new("there is more behind its end");
        Poll::Ready(Some(Err(TransportError::Undecodable { truncated: false, cause })))
    }

    fn trailers(&mut self) -> Option<Piece> {
        self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))
    }
}

impl<B> AsyncBufRead for Source<B>
where
    B: http_body::Body<Data = Bytes, Error = TransportError> + Unpin,
{
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let source = self.get_mut();
        match ready!(source.poll_piece(cx)) {
            Ok(()) => Poll::Ready(Ok(&source.piece)),
            Err(error) => {
                source.failed = Some(error);
                Poll::Ready(Err(io::Error::other("the body failed")))
            }
        }
    }

    fn consume(mut self: Pin<&mut Self>, bytes: usize) {
        self.piece.advance(bytes);
    }
}

impl<B> AsyncRead for Source<B>
where
    B: http_body::Body<Data = Bytes, Error = TransportError> + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let piece = ready!(self.as_mut().poll_fill_buf(cx))?;
        let bytes = piece.len().min(into.remaining());
        into.put_slice(&piece[..bytes]);
        self.consume(bytes);
        Poll::Ready(Ok(()))
    }
}
