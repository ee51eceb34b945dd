//! What must hold of a decoder, whatever a server sends.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use async_compression::Level;
use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use bytes::Bytes;
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::BytesPool;
use crate::blocks::http_transport::decode::{CHUNK_BYTES, Coding, Decoded, FREE_BYTES};
use crate::blocks::http_transport::decoding::Decoding;
use crate::blocks::http_transport::error::TransportError;

/// A body whose pieces are all there.
struct Pieces(VecDeque<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

/// How it is cut: each piece is as long as its number says, or one byte longer.
fn cut(data: &[u8], piece: usize) -> Pieces {
    Pieces(data.chunks(piece.max(1)).map(Bytes::copy_from_slice).collect())
}

const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

/// The first four bytes: which coding, the length of its pieces, the limits; and where it is cut
/// short.
pub(crate) fn body(data: &[u8]) {
    let [coding, piece, limit, at, data @ ..] = data else { return };
    let coding = CODINGS[usize::from(*coding) % CODINGS.len()];
    let piece = usize::from(*piece) + 1;
    it_stays_within_its_limits(coding, data, piece, usize::from(*limit));
    it_is_the_same_in_any_pieces(coding, data, piece);
    what_was_said_is_heard(coding, data, piece, usize::from(*at));
}

/// How much came out, and how it ended.
fn read(
    said: Pieces,
    coding: Coding,
    limits: Decoding,
    max_body_bytes: Option<usize>,
) -> (Vec<u8>, Result<(), TransportError>) {
    let buffers = BytesPool::new();
    let mut body = Decoded::new(said, coding, limits, max_body_bytes, buffers.clone());
    let mut cx = Context::from_waker(Waker::noop());
    let mut all = Vec::new();
    let end = loop {
        match body.poll_frame(&mut cx) {
            Poll::Pending => panic!("everything is there"),
            Poll::Ready(None) => break Ok(()),
            Poll::Ready(Some(Err(error))) => break Err(error),
            Poll::Ready(Some(Ok(frame))) => {
                let piece = frame.into_data().expect("it has no trailers");
                assert!(!piece.is_empty() && piece.len() <= CHUNK_BYTES);
                all.extend_from_slice(&piece);
                let out: u64 = buffers.snapshot().iter().map(|class| class.outstanding).sum();
                assert!(out * CHUNK_BYTES as u64 <= 2 * piece.len() as u64, "{out}");
            }
        }
    };
    assert!(body.is_end_stream() && matches!(body.poll_frame(&mut cx), Poll::Ready(None)));
    assert!(buffers.snapshot().iter().all(|class| class.outstanding == 0));
    (all, end)
}

fn it_stays_within_its_limits(coding: Coding, data: &[u8], piece: usize, limit: usize) {
    let most = limit << 12;
    let limits = Decoding::default().with_max_bytes(most.max(1)).with_max_expansion(1);
    for max_body_bytes in [None, Some(most / 2)] {
        let (plain, end) = read(cut(data, piece), coding, limits, max_body_bytes);
        let expanded = FREE_BYTES.max(data.len() as u64) as usize;
        let most = most.max(1).min(max_body_bytes.unwrap_or(usize::MAX)).min(expanded);
        assert!(plain.len() <= most, "{} of {most}", plain.len());
        match end {
            Ok(()) | Err(TransportError::Undecodable { .. }) => {}
            Err(
                TransportError::DecodedTooLarge { .. }
                | TransportError::BodyTooLarge { .. }
                | TransportError::ExpandsTooMuch { .. },
            ) => assert!(plain.len() + CHUNK_BYTES > most, "{} of {most}", plain.len()),
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Nothing is allowed to be larger than this, which no test takes long for.
fn enough() -> Decoding {
    Decoding::default().with_max_bytes(4 << 20).with_max_expansion(1_000_000)
}

fn it_is_the_same_in_any_pieces(coding: Coding, data: &[u8], piece: usize) {
    let read = |piece| read(cut(data, piece), coding, enough(), None);
    let (whole, end) = read(data.len());
    for piece in [piece, 1] {
        let (other, other_end) = read(piece);
        assert_eq!(other_end.is_ok(), end.is_ok(), "{coding:?}: {end:?}, {other_end:?}");
        if end.is_ok() {
            assert!(other == whole, "{coding:?}");
        }
    }
}

fn what_was_said_is_heard(coding: Coding, plain: &[u8], piece: usize, at: usize) {
    let said = said(coding, plain);
    let read = |said: &[u8]| read(cut(said, piece), coding, enough(), None);
    let (heard, end) = read(&said);
    assert!(end.is_ok() && heard == plain, "{coding:?}: {end:?}");
    let short = at % said.len();
    let (heard, end) = read(&said[..short]);
    assert!(plain.starts_with(&heard), "{coding:?}");
    let is_truncated = matches!(end, Err(TransportError::Undecodable { truncated: true, .. }));
    assert!(is_truncated || short == 0, "{coding:?}, {short} of {}: {end:?}", said.len());
    let (_, end) = read(&[&said[..], &[0xff]].concat());
    assert!(matches!(end, Err(TransportError::Undecodable { .. })), "{coding:?}: {end:?}");
}

fn said(coding: Coding, plain: &[u8]) -> Vec<u8> {
    let encoder: Pin<Box<dyn AsyncRead>> = match coding {
        Coding::Gzip => Box::pin(GzipEncoder::with_quality(plain, Level::Fastest)),
        Coding::Brotli => Box::pin(BrotliEncoder::with_quality(plain, Level::Fastest)),
        Coding::Zstd => Box::pin(ZstdEncoder::with_quality(plain, Level::Fastest)),
    };
    let (mut encoder, mut said) = (encoder, Vec::new());
    let mut cx = Context::from_waker(Waker::noop());
    let ended = pin!(encoder.read_to_end(&mut said)).poll(&mut cx);
    assert!(matches!(ended, Poll::Ready(Ok(_))), "{ended:?}");
    said
}
