//! The handle: which class a buffer belongs to.

use std::fmt;
use std::sync::Arc;

use super::buf::PooledBuf;
use super::config::BytesPoolConfig;
use crate::ConfigError;
use crate::gates::object_pool::metrics::ObjectPoolSnapshot;
use crate::gates::object_pool::places::Place;
use crate::gates::object_pool::pool::ObjectPool;
use crate::ground::time::{self, Instant};

/// Buffers by size classes, which are powers of two: to take one costs nanoseconds, whatever its
/// size, and to send it off as [`Bytes`](bytes::Bytes) no copy. Cheap to clone; clones share.
///
/// Each class is an [`ObjectPool`]: what the [module](crate::object_pool) says holds for it. Between the
/// smallest and the largest class no more than twice what was asked for is given; and at most
/// [`max_idle_bytes`](BytesPoolConfig::max_idle_bytes) lie in all classes together.
///
/// # Examples
///
/// ```
/// use bytes::BufMut;
/// use headworks::BytesPool;
///
/// let pool = BytesPool::new();
/// let mut buf = pool.take(3_000);
/// buf.put_slice(b"hello");
/// let bytes = buf.freeze();
/// let slice = bytes.slice(1..3);
/// drop(bytes);
/// assert_eq!(&slice[..], b"el");
/// drop(slice); // the last of it: the buffer is back
/// assert_eq!(pool.take(4_096).capacity(), 4_096);
/// assert_eq!(pool.snapshot()[2].hits, 1);
/// ```
#[derive(Clone)]
pub struct BytesPool {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    /// Smallest first, each twice the one before.
    classes: Box<[ObjectPool<Vec<u8>>]>,
    smallest: u32,
}

impl Default for BytesPool {
    fn default() -> Self {
        Self::new()
    }
}

impl BytesPool {
    /// A pool with the default [configuration](BytesPoolConfig): classes from 1 KiB to 64 KiB.
    #[must_use]
    pub fn new() -> Self {
        match Self::with_config(BytesPoolConfig::default()) {
            Ok(pool) => pool,
            Err(wrong) => unreachable!("{wrong}: the default"),
        }
    }

    /// A pool with classes and limits of one's own.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a field is out of its range.
    pub fn with_config(config: BytesPoolConfig) -> Result<Self, ConfigError> {
        let smallest = config.smallest_bytes.trailing_zeros();
        let class = |(size, config)| {
            let create = move || Vec::with_capacity(size);
            ObjectPool::with_config(config, create, |buffer: &mut Vec<u8>| {
                buffer.clear();
                true
            })
        };
        let classes = config.classes()?.into_iter().map(class).collect::<Result<_, _>>()?;
        Ok(Self { shared: Arc::new(Shared { classes, smallest }) })
    }

    /// An empty buffer with room for so many bytes at least. Dropped, it goes back; as the last
    /// of its [`Bytes`](bytes::Bytes) is, if it was [frozen](PooledBuf::freeze). Above the largest
    /// class it is allocated, and freed.
    ///
    /// # Cost
    ///
    /// As [`ObjectPool::take`].
    #[inline]
    #[track_caller]
    pub fn take(&self, min_capacity: usize) -> PooledBuf<'_> {
        PooledBuf::new(&self.shared, min_capacity)
    }

    /// As [`take`](Self::take), for what must not be found in memory later: all of the buffer is
    /// zeroed before it goes back or is freed, by writes that are not optimised away (the crate
    /// `zeroize`), and so is each smaller one that it outgrew.
    ///
    /// # Cost
    ///
    /// As [`take`](Self::take), and a write for each byte of its capacity as it comes back.
    #[track_caller]
    pub fn take_secret(&self, min_capacity: usize) -> PooledBuf<'_> {
        self.take(min_capacity).into_secret()
    }

    /// As [`ObjectPool::trim`], for every class.
    pub fn trim(&self) {
        self.trim_at(time::now());
    }

    pub(in super::super) fn trim_at(&self, now: Instant) {
        self.shared.classes.iter().for_each(|class| class.trim_at(now));
    }

    /// Each class, smallest first. Buffers above the largest are counted nowhere.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ObjectPoolSnapshot> {
        self.shared.classes.iter().map(ObjectPool::snapshot).collect()
    }
}

/// A class, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(usize);

impl Shared {
    /// A buffer for so many bytes; its class, and where it was taken, unless it is above all classes.
    #[inline]
    #[track_caller]
    pub(super) fn lend(&self, min_capacity: usize) -> (Vec<u8>, Option<(Class, Place)>) {
        // Of the next power of two; 0 and 1 have none above, and go to the smallest.
        let power = usize::BITS - min_capacity.saturating_sub(1).leading_zeros();
        let class = power.saturating_sub(self.smallest) as usize;
        match self.classes.get(class) {
            Some(pool) => {
                let (buffer, place) = pool.lend();
                (buffer, Some((Class(class), place)))
            }
            None => (Vec::with_capacity(min_capacity), None),
        }
    }

    /// A buffer of this class comes back, as large as it was.
    #[inline]
    pub(super) fn give_back(&self, buffer: Vec<u8>, Class(class): Class, place: Place) {
        self.classes[class].give_back(buffer, place);
    }

    /// A buffer of this class leaves for good.
    pub(super) fn let_go(&self, Class(class): Class, place: Place) {
        self.classes[class].let_go(place);
    }
}

impl fmt::Debug for BytesPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.shared.classes).finish()
    }
}
