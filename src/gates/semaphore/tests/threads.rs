//! Threads, of which no one holds more than there is, and none is refused what is free.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;
use crate::ground::rng::Rng;

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

const THREADS: u64 = 8;
const ROUNDS: u64 = 2000;

/// What one thread saw.
#[derive(Debug, Default)]
struct Seen {
    granted: u64,
    refused: u64,
    abandoned: u64,
}

fn rounds(semaphore: &PrioritySemaphore, out: &AtomicUsize, seed: u64) -> Seen {
    let mut rng = Rng::seeded(seed);
    let mut seen = Seen::default();
    for _ in 0..ROUNDS {
        let class = Priority::ALL[rng.next() as usize % 4];
        let weight = rng.next() as u32 % 3 + 1;
        let mut acquiring = Box::pin(semaphore.acquire(heavy(class, weight)));
        let ended = match poll(&mut acquiring) {
            Poll::Ready(ended) => ended,
            Poll::Pending if rng.next().is_multiple_of(4) => {
                std::thread::yield_now();
                seen.abandoned += 1;
                continue;
            }
            Poll::Pending => block_on(acquiring),
        };
        match ended {
            Ok(permit) => {
                let weight = weight as usize;
                assert!(out.fetch_add(weight, Ordering::SeqCst) + weight <= 6);
                if rng.next().is_multiple_of(8) {
                    std::thread::yield_now();
                }
                out.fetch_sub(weight, Ordering::SeqCst);
                drop(permit);
                seen.granted += 1;
            }
            Err(AcquireError::Full | AcquireError::Evicted) => seen.refused += 1,
            Err(why) => panic!("{why}"),
        }
        if rng.next().is_multiple_of(64) {
            semaphore.resize(rng.next() as usize % 4 + 3);
        }
    }
    seen
}

#[test]
fn eight_threads_never_hold_more_than_there_is_and_lose_nothing() {
    let semaphore = small(6, 4);
    let out = AtomicUsize::new(0);
    let all: Vec<Seen> = std::thread::scope(|scope| {
        let run = |seed| {
            scope.spawn({
                let (semaphore, out) = (&semaphore, &out);
                move || rounds(semaphore, out, seed)
            })
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    is_at_rest(&semaphore);
    let s = semaphore.snapshot();
    let [granted, refused, abandoned] = [
        all.iter().map(|seen| seen.granted).sum::<u64>(),
        all.iter().map(|seen| seen.refused).sum(),
        all.iter().map(|seen| seen.abandoned).sum(),
    ];
    assert_eq!(granted + refused + abandoned, THREADS * ROUNDS);
    assert!(refused <= s.refused + s.evicted, "{refused} of {s:?}");
    assert_eq!((s.expired, s.too_large, s.closed), (0, 0, 0));
}

/// One permit each, and each holds one at most: one is always free. What is lent, recalled,
/// resized to the same and looked at meanwhile must not hide it.
#[test]
fn who_would_not_wait_is_never_refused_a_free_permit() {
    const EACH: usize = 20_000;
    let semaphore = semaphore(4);
    let out = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (semaphore, out) = (&semaphore, &out);
            scope.spawn(move || {
                let mut rng = Rng::seeded(seed);
                for _ in 0..EACH {
                    let permit = semaphore.try_acquire().expect("one is free");
                    assert!(out.fetch_add(1, Ordering::SeqCst) < 4);
                    out.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                    match rng.next() % 256 {
                        0 => semaphore.resize(4),
                        1 => is_exact(semaphore.snapshot()),
                        2..16 => semaphore.lend(rng.next() as usize % 8),
                        _ => {}
                    }
                }
            });
        }
    });
    is_at_rest(&semaphore);
}
