//! How much heap a thread holds. A simulation lives on one thread, so the count is exact, whatever
//! other tests do meanwhile.
#![allow(unsafe_code, reason = "an allocator is unsafe to write; this one only counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

/// Bytes asked for by this thread, less bytes given back.
pub(crate) fn live_bytes() -> isize {
    LIVE.get()
}

struct Counting;

fn count(bytes: isize) {
    LIVE.set(LIVE.get() + bytes);
}

// SAFETY: every call goes to `System` unchanged; the count is a thread-local of no drop.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is passed on whole.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as isize - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, new_size) }
    }
}
