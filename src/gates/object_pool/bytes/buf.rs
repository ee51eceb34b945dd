//! A buffer that is out.
#![allow(unsafe_code, reason = "`BufMut` is an unsafe trait, passed on to `Vec`'s whole")]

use std::fmt;
use std::io;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::buf::UninitSlice;
use bytes::{BufMut, Bytes};
use zeroize::Zeroize;

use super::pool::{Class, Shared};
use crate::gates::object_pool::places::Place;

/// A buffer of a [`BytesPool`](crate::BytesPool), which goes back as this is dropped, or as the last
/// of the [`Bytes`] is that it was [frozen](Self::freeze) into. Written to as a [`BufMut`] or an
/// [`io::Write`]; it grows as a `Vec` does, by taking a larger buffer from the pool.
#[must_use = "dropped, it gives its memory back at once"]
pub struct PooledBuf<'a> {
    /// Of a class, it has the capacity of that class exactly.
    bytes: Vec<u8>,
    home: Home<'a>,
    /// None: it is larger than all classes.
    class: Option<(Class, Place)>,
    is_secret: bool,
}

enum Home<'a> {
    Borrowed(&'a Arc<Shared>),
    Owned(Arc<Shared>),
}

impl Deref for Home<'_> {
    type Target = Arc<Shared>;

    #[inline]
    fn deref(&self) -> &Arc<Shared> {
        match self {
            Self::Borrowed(shared) => shared,
            Self::Owned(shared) => shared,
        }
    }
}

impl<'a> PooledBuf<'a> {
    #[inline]
    #[track_caller]
    pub(super) fn new(shared: &'a Arc<Shared>, min_capacity: usize) -> Self {
        let (bytes, class) = shared.lend(min_capacity);
        Self { bytes, home: Home::Borrowed(shared), class, is_secret: false }
    }

    pub(super) fn into_secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// The same buffer, sharing its pool: can be kept, and sent into a task.
    ///
    /// # Cost
    ///
    /// Two atomic operations on a word that all share, one of them at its end.
    pub fn into_owned(mut self) -> PooledBuf<'static> {
        PooledBuf {
            bytes: mem::take(&mut self.bytes),
            home: Home::Owned(Arc::clone(&self.home)),
            class: self.class.take(),
            is_secret: self.is_secret,
        }
    }

    /// What was written, to be shared and sliced without a copy. The buffer goes back as the last
    /// clone and slice is dropped, on whichever thread that is.
    ///
    /// # Cost
    ///
    /// One small allocation, which holds the count of clones; none if nothing was written.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        if self.is_empty() { Bytes::new() } else { Bytes::from_owner(self.into_owned()) }
    }

    /// The buffer, for good: the pool forgets it. A secret is not zeroed then.
    #[must_use]
    pub fn detach(mut self) -> Vec<u8> {
        if let Some((class, place)) = self.class.take() {
            self.home.let_go(class, place);
        }
        self.is_secret = false;
        mem::take(&mut self.bytes)
    }

    /// How much can be written in all before it grows.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets what was written.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Forgets what was written from there on.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    /// Sees to it that so many bytes more can be written without growing.
    ///
    /// # Panics
    ///
    /// If that would be more than `isize::MAX` bytes in all.
    #[inline]
    pub fn reserve(&mut self, additional: usize) {
        if self.bytes.capacity() - self.bytes.len() < additional {
            self.grow(additional);
        }
    }

    #[cold]
    fn grow(&mut self, additional: usize) {
        // At least double, so that to write n bytes one by one moves each but once or twice.
        let wanted = self.bytes.len().saturating_add(additional).max(self.bytes.capacity() * 2);
        let (mut larger, class) = self.home.lend(wanted);
        larger.extend_from_slice(&self.bytes);
        mem::swap(&mut self.bytes, &mut larger);
        let before = mem::replace(&mut self.class, class);
        self.leave(larger, before);
    }

    /// Gives back a buffer that was this one's.
    #[inline]
    fn leave(&self, mut bytes: Vec<u8>, class: Option<(Class, Place)>) {
        if self.is_secret {
            bytes.zeroize();
        }
        if let Some((class, place)) = class {
            self.home.give_back(bytes, class, place);
        }
    }
}

impl Drop for PooledBuf<'_> {
    #[inline]
    fn drop(&mut self) {
        let bytes = mem::take(&mut self.bytes);
        self.leave(bytes, self.class);
    }
}

impl Deref for PooledBuf<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for PooledBuf<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for PooledBuf<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

// SAFETY: each method is that of `Vec<u8>`, whose implementation keeps the contract; growing
// beforehand changes neither what was written nor the length.
unsafe impl BufMut for PooledBuf<'_> {
    #[inline]
    fn remaining_mut(&self) -> usize {
        self.bytes.remaining_mut()
    }

    #[inline]
    unsafe fn advance_mut(&mut self, count: usize) {
        // SAFETY: the caller has written so many bytes to `chunk_mut`.
        unsafe { self.bytes.advance_mut(count) }
    }

    #[inline]
    fn chunk_mut(&mut self) -> &mut UninitSlice {
        self.reserve(1);
        self.bytes.chunk_mut()
    }

    #[inline]
    fn put_slice(&mut self, slice: &[u8]) {
        self.reserve(slice.len());
        self.bytes.extend_from_slice(slice);
    }

    #[inline]
    fn put_bytes(&mut self, byte: u8, count: usize) {
        self.reserve(count);
        self.bytes.put_bytes(byte, count);
    }
}

impl io::Write for PooledBuf<'_> {
    #[inline]
    fn write(&mut self, slice: &[u8]) -> io::Result<usize> {
        self.put_slice(slice);
        Ok(slice.len())
    }

    #[inline]
    fn write_all(&mut self, slice: &[u8]) -> io::Result<()> {
        self.put_slice(slice);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How much there is, not what: it may be a secret.
impl fmt::Debug for PooledBuf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledBuf")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}
