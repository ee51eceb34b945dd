//! Who waits, told to those who don't: without the lock of the rooms, so that one who waits for
//! its key does not send every other key there.

use crate::ground::primitives::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Keys of one slot are told of each other's waiters: they look in the rooms then.
const SLOTS: usize = 64;

/// More than can wait.
const CLOSED: usize = usize::MAX;

/// Written under the lock of the rooms.
///
/// Relaxed throughout: who doesn't see those who wait yet came before them, and who doesn't see the
/// close, before that.
#[derive(Debug)]
pub(super) struct Standing {
    /// All that wait, or [`CLOSED`].
    waiting: AtomicUsize,
    /// Tokens wanted in the global line; at least one while anybody stands there.
    of_all: AtomicU64,
    /// Those that wait for a key of each slot.
    by_slot: [AtomicUsize; SLOTS],
}

/// Where a key's waiters are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(usize);

impl Slot {
    /// Of a key with this hash.
    pub(super) fn of(hash: u64) -> Self {
        // Other bits than those of shard and table.
        Self((hash >> 56) as usize % SLOTS)
    }
}

/// Who stands before somebody of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Nobody,
    /// Nobody of its key, and in the global line those that want so many tokens.
    All(u64),
    /// Perhaps somebody of its key.
    Key,
    Closed,
}

impl Standing {
    pub(super) fn new() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            of_all: AtomicU64::new(0),
            by_slot: std::array::from_fn(|_| AtomicUsize::new(0)),
        }
    }

    /// Whether nobody waits at all, and it isn't closed.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == CLOSED
    }

    pub(super) fn before(&self, slot: Slot) -> Before {
        if self.is_closed() {
            return Before::Closed;
        }
        if self.by_slot[slot.0].load(Ordering::Relaxed) > 0 {
            return Before::Key;
        }
        match self.of_all.load(Ordering::Relaxed) {
            0 => Before::Nobody,
            wanted => Before::All(wanted),
        }
    }

    /// Under the lock: one more that waits for a key of this slot.
    pub(super) fn enter(&self, slot: Slot) {
        self.by_slot[slot.0].fetch_add(1, Ordering::Relaxed);
    }

    /// Under the lock: one less.
    pub(super) fn leave(&self, slot: Slot) {
        self.by_slot[slot.0].fetch_sub(1, Ordering::Relaxed);
    }

    /// Under the lock: how many wait, and what the global line wants, if anybody stands there.
    pub(super) fn tell(&self, waiting: usize, of_all: Option<u64>) {
        if !self.is_closed() {
            self.of_all.store(of_all.map_or(0, |wanted| wanted.max(1)), Ordering::Relaxed);
            self.waiting.store(waiting, Ordering::Relaxed);
        }
    }

    /// Under the lock.
    pub(super) fn close(&self) {
        self.waiting.store(CLOSED, Ordering::Relaxed);
    }
}
