//! What the process has asked its allocator for.
#![allow(unsafe_code, reason = "an allocator is unsafe to write; this one only counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static BYTES: AtomicI64 = AtomicI64::new(0);
static BLOCKS: AtomicI64 = AtomicI64::new(0);

/// Bytes and blocks that are in use.
pub(crate) fn live() -> (i64, i64) {
    // Relaxed: two numbers that nothing else is read by.
    (BYTES.load(Ordering::Relaxed), BLOCKS.load(Ordering::Relaxed))
}

struct Counting;

fn count(bytes: i64, blocks: i64) {
    BYTES.fetch_add(bytes, Ordering::Relaxed);
    BLOCKS.fetch_add(blocks, Ordering::Relaxed);
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

// SAFETY: every call goes to `System` unchanged; the counters touch no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()), 1);
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is passed on whole.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-signed(layout.size()), -1);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(signed(new_size) - signed(layout.size()), 0);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, new_size) }
    }
}
