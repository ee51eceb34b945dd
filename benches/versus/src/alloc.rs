//! An allocator that counts, when told to.
//!
//! Counting is off while anything is timed: a counter shared by two threads costs more than the
//! allocation, and would be charged to whoever allocates most.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ON: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

struct Counting;

fn count(allocations: u64, bytes: i64) {
    if ON.load(Relaxed) {
        ALLOCATIONS.fetch_add(allocations, Relaxed);
        LIVE_BYTES.fetch_add(bytes, Relaxed);
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

// SAFETY: every call goes to `System` unchanged; the counters touch no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, signed(layout.size()));
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is passed on whole.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, -signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(1, signed(new_size) - signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, new_size) }
    }
}

/// What was allocated while a [`Count`] lived.
#[derive(Clone, Copy)]
pub struct Counted {
    /// Calls that asked for memory, reallocations among them.
    pub allocations: u64,
    /// Bytes asked for less bytes given back.
    pub live_bytes: i64,
}

/// Counts from its making on; there is never more than one.
pub struct Count(());

impl Count {
    pub fn start() -> Self {
        ALLOCATIONS.store(0, Relaxed);
        LIVE_BYTES.store(0, Relaxed);
        assert!(!ON.swap(true, Relaxed), "one count at a time");
        Self(())
    }

    /// So far.
    pub fn look(&self) -> Counted {
        Counted { allocations: ALLOCATIONS.load(Relaxed), live_bytes: LIVE_BYTES.load(Relaxed) }
    }

    pub fn stop(self) -> Counted {
        ON.store(false, Relaxed);
        self.look()
    }
}

/// Has the allocator give back to the system what it keeps for later, where it can.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it may be called at any time; it moves nothing that is in use.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
