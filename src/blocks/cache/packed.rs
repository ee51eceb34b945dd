//! Bytes that are compressed above a size.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use async_compression::Level;
use async_compression::tokio::bufread::{ZstdDecoder, ZstdEncoder};
use async_compression::zstd::DParameter;
use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

/// What is unpacked at a time; at most so much is beyond a limit.
const CHUNK_BYTES: usize = 8 << 10;

/// Log of the largest window of a zstd frame: 8 MiB, as RFC 9659 has it.
const WINDOW_LOG: u32 = 23;

/// How they stand in [`PackedBytes::as_bytes`]: one byte before the rest.
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// Bytes that are compressed (zstd) above a size, where that makes them smaller.
///
/// As the value of a cache it makes room: its weight is its [`len`](Self::len). In a second tier it
/// saves the way: [`as_bytes`](Self::as_bytes) is what is written, [`from_bytes`](Self::from_bytes)
/// takes it back. Cheap to clone.
///
/// ```
/// use bytes::Bytes;
/// use headworks::cache::PackedBytes;
///
/// let manifest = Bytes::from("replicas: 5\n".repeat(1_000));
/// let packed = PackedBytes::pack(manifest.clone(), 1_024);
/// assert!(packed.len() < 200);
/// assert_eq!(packed.unpack(1 << 20)?, manifest);
/// assert!(packed.unpack(1_000).is_err(), "a limit, whatever the bytes say of themselves");
/// # Ok::<(), headworks::cache::UnpackError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedBytes(Bytes);

/// Why packed bytes are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// They are not what [`PackedBytes`] writes.
    #[error("the bytes are damaged, or were not packed here")]
    Damaged,
    /// More than the caller takes came out.
    #[error("more than {limit_bytes} bytes come out")]
    TooLarge {
        /// What the caller takes.
        limit_bytes: usize,
    },
}

impl PackedBytes {
    /// Compresses what is longer than `above_bytes`.
    ///
    /// # Cost
    /// One copy; the compression, at zstd's fastest level, on this thread.
    #[must_use]
    pub fn pack(bytes: Bytes, above_bytes: usize) -> Self {
        let plain = || {
            let mut plain = Vec::with_capacity(1 + bytes.len());
            plain.push(PLAIN);
            plain.extend_from_slice(&bytes);
            plain
        };
        let compress = || {
            let encoder = ZstdEncoder::with_quality(&bytes[..], Level::Fastest);
            // What does not get smaller stays as it is.
            read(encoder, ZSTD, bytes.len()).ok()
        };
        let packed = if bytes.len() > above_bytes { compress() } else { None };
        Self(Bytes::from(packed.unwrap_or_else(plain)))
    }

    /// The bytes again, at most so many.
    ///
    /// # Errors
    /// [`UnpackError`]: damaged, or more than `limit_bytes`. No more than 8 KiB beyond the limit
    /// are made before it is told.
    ///
    /// # Cost
    /// Nothing for bytes that were not compressed.
    pub fn unpack(&self, limit_bytes: usize) -> Result<Bytes, UnpackError> {
        let too_large = UnpackError::TooLarge { limit_bytes };
        match self.0.first() {
            Some(&PLAIN) if self.0.len() - 1 > limit_bytes => Err(too_large),
            Some(&PLAIN) => Ok(self.0.slice(1..)),
            Some(&ZSTD) => {
                let window = [DParameter::window_log_max(WINDOW_LOG)];
                let mut decoder = ZstdDecoder::with_params(&self.0[1..], &window);
                decoder.multiple_members(false);
                let mut bytes = Bytes::from(read(decoder, PLAIN, limit_bytes)?);
                Ok(bytes.split_off(1))
            }
            _ => Err(UnpackError::Damaged),
        }
    }

    /// As they are written.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Takes what [`as_bytes`](Self::as_bytes) gave; looked at when it is unpacked.
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// How many they are as they lie here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing, not even the byte that says how they are packed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// All that a coder gives, behind `kind`. It reads from memory, so it never waits.
fn read(
    mut from: impl AsyncRead + Unpin,
    kind: u8,
    limit_bytes: usize,
) -> Result<Vec<u8>, UnpackError> {
    let mut all = vec![kind];
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        let mut out = ReadBuf::new(&mut chunk);
        match Pin::new(&mut from).poll_read(&mut cx, &mut out) {
            Poll::Ready(Ok(())) if out.filled().is_empty() => return Ok(all),
            Poll::Ready(Ok(())) => all.extend_from_slice(out.filled()),
            Poll::Ready(Err(_)) | Poll::Pending => return Err(UnpackError::Damaged),
        }
        if all.len() - 1 > limit_bytes {
            return Err(UnpackError::TooLarge { limit_bytes });
        }
    }
}
