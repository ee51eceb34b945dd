//! Steady use allocates nothing: counted by the allocator, for each thread by itself, so that tests
//! that run at the same time are not counted.
#![allow(unsafe_code, reason = "an allocator is unsafe; this one passes everything on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use bytes::BufMut;
use headworks::{BytesPool, ObjectPool};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

struct Counting;

// SAFETY: every call goes to `System` unchanged; the count touches no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract, which is passed on whole.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Made by this thread meanwhile.
fn allocations(act: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    act();
    ALLOCATIONS.get() - before
}

fn pages() -> ObjectPool<Box<[u8; 4096]>> {
    ObjectPool::new(|| Box::new([0; 4096]), |_| true)
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new([0_u8; 64])))), 1);
    let pool = pages();
    assert!(allocations(|| drop(pool.take())) >= 1, "the first is made");
}

#[test]
fn taking_and_giving_back_allocates_nothing() {
    let pool = Arc::new(pages());
    let many = || {
        let guards: [_; 100] = std::array::from_fn(|_| pool.take());
        drop(guards);
        (0..1_000).for_each(|_| drop((pool.take(), pool.take_owned())));
    };
    many();
    assert_eq!(allocations(|| (0..20).for_each(|_| many())), 0);
    assert_eq!(pool.snapshot().misses, 100);
}

#[test]
fn a_maker_and_a_user_on_two_threads_allocate_nothing() {
    let pool = Arc::new(pages());
    let (send, receive) = sync_channel(8);
    // A full channel in both directions: never more than 18 are out.
    let (send_back, receive_back) = sync_channel(8);
    let user = thread::spawn(move || {
        let mut seen = 0_u64;
        let mut steady = 0;
        for guard in receive {
            seen += 1;
            let before = ALLOCATIONS.get();
            drop(guard);
            steady += if seen > 10_000 { ALLOCATIONS.get() - before } else { 0 };
            send_back.send(()).unwrap();
        }
        steady
    });
    let mut steady = 0;
    for round in 0..30_000 {
        let before = ALLOCATIONS.get();
        let guard = pool.take_owned();
        steady += if round > 10_000 { ALLOCATIONS.get() - before } else { 0 };
        send.send(guard).unwrap();
        receive_back.recv().unwrap();
    }
    drop(send);
    assert_eq!((steady, user.join().unwrap()), (0, 0));
}

#[test]
fn buffers_allocate_nothing_and_a_frozen_one_its_count_of_clones() {
    let pool = BytesPool::new();
    let use_all = || {
        for size in [100, 1_024, 5_000, 65_536] {
            let mut buf = pool.take(size);
            buf.put_bytes(7, 10_000);
        }
    };
    use_all();
    assert_eq!(allocations(|| (0..1_000).for_each(|_| use_all())), 0, "growing is no exception");
    let freeze = || {
        let mut buf = pool.take(2_000);
        buf.put_slice(b"x");
        let bytes = buf.freeze();
        drop((bytes.clone(), bytes.slice(..1), bytes));
    };
    freeze();
    assert_eq!(allocations(|| (0..1_000).for_each(|_| freeze())), 1_000);
}
