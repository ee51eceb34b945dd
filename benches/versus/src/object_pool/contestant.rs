//! What every pool is asked to do, for blocks of `N` bytes that are made zeroed.

use std::alloc::{GlobalAlloc, Layout};
use std::marker::PhantomData;

use crossbeam_queue::ArrayQueue;
use headworks::ObjectPool;
use headworks::object_pool::ObjectPoolConfig;

/// As many idle blocks as every pool may have, where it has a bound.
pub const IDLE: usize = 1_024;

pub type Block<const N: usize> = Box<[u8; N]>;

fn block<const N: usize>() -> Block<N> {
    Box::new([0; N])
}

/// A block at a time, which comes back when its guard is dropped. Always inlined, so that no pool
/// pays for what is around it.
pub trait Blocks<const N: usize>: Sync {
    const NAME: &'static str;
    type Guard<'a>: Send
    where
        Self: 'a;

    fn new() -> Self;
    fn take(&self) -> Self::Guard<'_>;
    /// So that a block is used, and by whom it must be.
    fn first<'a>(guard: &'a mut Self::Guard<'_>) -> &'a mut u8;
}

pub struct Ours<const N: usize>(ObjectPool<Block<N>>);

impl<const N: usize> Blocks<N> for Ours<N> {
    const NAME: &'static str = "headworks";
    type Guard<'a> = headworks::object_pool::Pooled<'a, Block<N>>;

    fn new() -> Self {
        let config = ObjectPoolConfig::default().with_max_idle(IDLE);
        Self(ObjectPool::with_config(config, block, |_| true).expect("in range"))
    }

    #[inline(always)]
    fn take(&self) -> Self::Guard<'_> {
        self.0.take()
    }

    fn first<'a>(guard: &'a mut Self::Guard<'_>) -> &'a mut u8 {
        &mut guard[0]
    }
}

pub struct Make<const N: usize>;

impl<const N: usize> opool::PoolAllocator<Block<N>> for Make<N> {
    fn allocate(&self) -> Block<N> {
        block()
    }
}

pub struct Opool<const N: usize>(opool::Pool<Make<N>, Block<N>>);

impl<const N: usize> Blocks<N> for Opool<N> {
    const NAME: &'static str = "opool";
    type Guard<'a> = opool::RefGuard<'a, Make<N>, Block<N>>;

    fn new() -> Self {
        Self(opool::Pool::new(IDLE, Make))
    }

    #[inline(always)]
    fn take(&self) -> Self::Guard<'_> {
        self.0.get()
    }

    fn first<'a>(guard: &'a mut Self::Guard<'_>) -> &'a mut u8 {
        &mut guard[0]
    }
}

pub struct Mutexed<const N: usize>(object_pool::Pool<Block<N>>);

impl<const N: usize> Blocks<N> for Mutexed<N> {
    const NAME: &'static str = "object-pool";
    type Guard<'a> = object_pool::Reusable<'a, Block<N>>;

    fn new() -> Self {
        Self(object_pool::Pool::new(0, block))
    }

    #[inline(always)]
    fn take(&self) -> Self::Guard<'_> {
        self.0.pull(block)
    }

    fn first<'a>(guard: &'a mut Self::Guard<'_>) -> &'a mut u8 {
        &mut guard[0]
    }
}

pub struct Linear<const N: usize>(lockfree_object_pool::LinearObjectPool<Block<N>>);

impl<const N: usize> Blocks<N> for Linear<N> {
    const NAME: &'static str = "lockfree-object-pool";
    type Guard<'a> = lockfree_object_pool::LinearReusable<'a, Block<N>>;

    fn new() -> Self {
        Self(lockfree_object_pool::LinearObjectPool::new(block, |_| ()))
    }

    #[inline(always)]
    fn take(&self) -> Self::Guard<'_> {
        self.0.pull()
    }

    fn first<'a>(guard: &'a mut Self::Guard<'_>) -> &'a mut u8 {
        &mut guard[0]
    }
}

/// A block that a slab can make and clear.
pub struct Slabbed<const N: usize>(Block<N>);

impl<const N: usize> Default for Slabbed<N> {
    fn default() -> Self {
        Self(block())
    }
}

impl<const N: usize> sharded_slab::Clear for Slabbed<N> {
    fn clear(&mut self) {}
}

pub struct Sharded<const N: usize>(sharded_slab::Pool<Slabbed<N>>);

pub struct ShardedGuard<'a, const N: usize> {
    pool: &'a sharded_slab::Pool<Slabbed<N>>,
    key: usize,
    first: u8,
}

impl<const N: usize> Drop for ShardedGuard<'_, N> {
    #[inline(always)]
    fn drop(&mut self) {
        self.pool.clear(self.key);
    }
}

impl<const N: usize> Blocks<N> for Sharded<N> {
    const NAME: &'static str = "sharded-slab";
    type Guard<'a> = ShardedGuard<'a, N>;

    fn new() -> Self {
        Self(sharded_slab::Pool::new())
    }

    #[inline(always)]
    fn take(&self) -> Self::Guard<'_> {
        let made = self.0.create().expect("room enough");
        ShardedGuard { pool: &self.0, key: made.key(), first: made.0[0] }
    }

    /// A copy: its guard of a block that can be written stays on its thread.
    fn first<'a>(guard: &'a mut Self::Guard<'_>) -> &'a mut u8 {
        &mut guard.first
    }
}

pub struct Queue<const N: usize>(ArrayQueue<Block<N>>);

pub struct QueueGuard<'a, const N: usize> {
    queue: &'a ArrayQueue<Block<N>>,
    block: Option<Block<N>>,
}

impl<const N: usize> Drop for QueueGuard<'_, N> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            let _ = self.queue.push(block);
        }
    }
}

impl<const N: usize> Blocks<N> for Queue<N> {
    const NAME: &'static str = "crossbeam ArrayQueue";
    type Guard<'a> = QueueGuard<'a, N>;

    fn new() -> Self {
        Self(ArrayQueue::new(IDLE))
    }

    #[inline(always)]
    fn take(&self) -> Self::Guard<'_> {
        QueueGuard { queue: &self.0, block: Some(self.0.pop().unwrap_or_else(block)) }
    }

    fn first<'a>(guard: &'a mut Self::Guard<'_>) -> &'a mut u8 {
        &mut guard.block.as_mut().expect("until it is dropped")[0]
    }
}

/// No pool, but an allocator, and whether its memory is to be zeroed.
pub struct Plain<A, const N: usize, const ZEROED: bool>(PhantomData<A>);

pub trait Allocator: GlobalAlloc + Sync + 'static {
    const HERE: Self;
    const NAME: &'static str;
    const ZEROED_NAME: &'static str;
}

pub struct System;

// SAFETY: everything is passed on whole.
unsafe impl GlobalAlloc for System {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { std::alloc::System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { std::alloc::System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { std::alloc::System.dealloc(at, layout) }
    }
}

impl Allocator for System {
    const HERE: Self = Self;
    const NAME: &'static str = "system allocator";
    const ZEROED_NAME: &'static str = "system allocator, zeroed";
}

impl Allocator for mimalloc::MiMalloc {
    const HERE: Self = Self;
    const NAME: &'static str = "mimalloc";
    const ZEROED_NAME: &'static str = "mimalloc, zeroed";
}

pub struct Raw<A: Allocator, const N: usize>(*mut u8, PhantomData<A>);

// SAFETY: it is the only owner of its memory, which any thread may free.
unsafe impl<A: Allocator, const N: usize> Send for Raw<A, N> {}

impl<A: Allocator, const N: usize> Drop for Raw<A, N> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: allocated by this allocator, with this layout.
        unsafe { A::HERE.dealloc(self.0, Layout::new::<[u8; N]>()) }
    }
}

impl<A: Allocator, const N: usize, const ZEROED: bool> Blocks<N> for Plain<A, N, ZEROED> {
    const NAME: &'static str = if ZEROED { A::ZEROED_NAME } else { A::NAME };
    type Guard<'a> = Raw<A, N>;

    fn new() -> Self {
        Self(PhantomData)
    }

    #[inline(always)]
    fn take(&self) -> Raw<A, N> {
        let layout = Layout::new::<[u8; N]>();
        let allocator = A::HERE;
        // SAFETY: the layout is not empty.
        let at = unsafe {
            if ZEROED { allocator.alloc_zeroed(layout) } else { allocator.alloc(layout) }
        };
        assert!(!at.is_null(), "memory is there");
        Raw(at, PhantomData)
    }

    fn first<'a>(guard: &'a mut Self::Guard<'_>) -> &'a mut u8 {
        // SAFETY: `N` bytes are there, this guard's alone.
        unsafe {
            guard.0.write(1);
            &mut *guard.0
        }
    }
}
