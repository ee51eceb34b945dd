//! The rows of the object pools: a block is taken, touched and given back; by one thread, by two at
//! once, or by one that takes and another that gives back.

mod contestant;

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Contestant, Effort, Measure, contest};
use crate::pin::{Cores, Pinned};
use contestant::{Blocks, Linear, Mutexed, Opool, Ours, Plain, Queue, Sharded, System};
use mimalloc::MiMalloc;

const MEASURES: [Measure; 1] = [Measure { suffix: "", unit: "ns/take+return" }];

/// Blocks that go from thread to thread at once, so that the channel costs little.
const BATCH: usize = 64;

/// Batches before the clock starts: as many blocks as any pool keeps, twice.
const WARM_UP: usize = 32;

#[derive(Clone, Copy)]
enum Way {
    /// So many threads, each for itself.
    Same(usize),
    Crossing,
}

impl Way {
    fn name(self) -> String {
        match self {
            Self::Same(threads) => format!("same_thread/{threads}_threads"),
            Self::Crossing => "crossing/2_threads".to_owned(),
        }
    }
}

pub fn run(effort: Effort) {
    for (way, cores) in
        [(Way::Same(1), Cores::One), (Way::Same(2), Cores::Two), (Way::Crossing, Cores::Two)]
    {
        let Some(_pinned) = Pinned::to(cores) else {
            println!("# object_pool/{}: no rows, this machine has fewer cores", way.name());
            continue;
        };
        rows::<256>(way, effort);
        rows::<4096>(way, effort);
        rows::<65536>(way, effort);
    }
}

fn rows<const N: usize>(way: Way, effort: Effort) {
    let entries = vec![
        entry::<Ours<N>, N>(way, effort),
        entry::<Opool<N>, N>(way, effort),
        entry::<Mutexed<N>, N>(way, effort),
        entry::<Linear<N>, N>(way, effort),
        entry::<Sharded<N>, N>(way, effort),
        entry::<Queue<N>, N>(way, effort),
        entry::<Plain<System, N, false>, N>(way, effort),
        entry::<Plain<MiMalloc, N, false>, N>(way, effort),
        entry::<Plain<System, N, true>, N>(way, effort),
        entry::<Plain<MiMalloc, N, true>, N>(way, effort),
    ];
    contest(&format!("object_pool/{}/{N}_bytes", way.name()), &MEASURES, effort, entries);
}

fn entry<'a, B: Blocks<N>, const N: usize>(way: Way, effort: Effort) -> Contestant<'a> {
    Contestant::new(B::NAME, move || {
        let figure = match way {
            Way::Same(threads) => same::<B, N>(threads, effort.ops(500_000)),
            Way::Crossing => crossing::<B, N>(effort.ops(1_000)),
        };
        vec![figure]
    })
}

/// What one thread waits: each thread's own wall time over its own operations.
fn same<B: Blocks<N>, const N: usize>(threads: usize, ops: usize) -> f64 {
    let pool = B::new();
    let start = Barrier::new(threads);
    let took: Duration = thread::scope(|scope| {
        let thread = |_| {
            scope.spawn(|| {
                drop(pool.take());
                start.wait();
                let from = Instant::now();
                for _ in 0..ops {
                    let mut block = pool.take();
                    *black_box(B::first(&mut block)) = 7;
                }
                from.elapsed()
            })
        };
        let threads: Vec<_> = (0..threads).map(thread).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread ends")).sum()
    });
    took.as_nanos() as f64 / (ops * threads) as f64
}

/// From when the pool has its blocks to the last one given back, over the blocks.
fn crossing<B: Blocks<N>, const N: usize>(batches: usize) -> f64 {
    let pool = B::new();
    let took = thread::scope(|scope| {
        let (send, receive) = sync_channel::<Vec<B::Guard<'_>>>(4);
        let (send_back, receive_back) = sync_channel(4);
        (0..4).for_each(|_| send_back.send(Vec::with_capacity(BATCH)).expect("room for four"));
        let mut from = Instant::now();
        let giver = scope.spawn(move || {
            for mut batch in receive {
                batch.clear();
                // The last ones find nobody.
                let _ = send_back.send(batch);
            }
        });
        for round in 0..WARM_UP + batches {
            if round == WARM_UP {
                from = Instant::now();
            }
            let mut batch = receive_back.recv().expect("one of four comes back");
            batch.extend((0..BATCH).map(|_| {
                let mut block = pool.take();
                *black_box(B::first(&mut block)) = 7;
                block
            }));
            send.send(batch).expect("somebody receives");
        }
        drop((send, receive_back));
        giver.join().expect("it ends");
        from.elapsed()
    });
    took.as_nanos() as f64 / (batches * BATCH) as f64
}
