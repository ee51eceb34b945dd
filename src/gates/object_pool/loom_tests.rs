//! Every interleaving of what threads do to each other's values: numbers that change hands, and
//! magazines that are exchanged. The cells of the slots are loom's, which finds a second borrow and
//! a borrow that does not see what went before.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::config::Limits;
use super::stock::{Pushed, Stock};
use crate::ground::thread_number::{Lease, Numbers};
use crate::ground::time::{self, Instant};

struct World {
    numbers: Numbers,
    stock: Stock<u32>,
    start: Instant,
}

const EPOCH: Duration = Duration::from_millis(1);

impl World {
    /// Magazines of one value.
    fn new(max_idle: usize) -> Arc<Self> {
        let start = time::now();
        let limits = Limits::new(max_idle, 0, Some(EPOCH), 4);
        Arc::new(Self { numbers: Numbers::new(), stock: Stock::new(limits, start), start })
    }

    /// One thread's life: gives these, and takes so many.
    fn live(&self, gives: &[u32], takes: usize) -> Vec<u32> {
        let lease = Lease::new(&self.numbers);
        for &value in gives {
            assert!(!matches!(self.stock.push(lease.number(), value), Pushed::Full(_)));
        }
        (0..takes).filter_map(|_| self.stock.pop(lease.number())).collect()
    }

    /// All that is left, in any part.
    fn end(self: Arc<Self>) -> Vec<u32> {
        let Ok(mut world) = Arc::try_unwrap(self) else { panic!("all threads have ended") };
        let mut left = Vec::new();
        for mut magazine in world.stock.drain() {
            left.extend(std::iter::from_fn(|| magazine.pop()));
        }
        left
    }
}

/// Each of these is found exactly once.
fn all_once(mut found: Vec<u32>, given: std::ops::Range<u32>) {
    found.sort_unstable();
    assert_eq!(found, given.collect::<Vec<_>>());
}

#[test]
fn loom_no_two_threads_have_one_number_and_the_next_sees_what_the_last_did() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let world = World::new(4);
        let life = |give: u32| {
            let world = Arc::clone(&world);
            move || world.live(&[give], 1)
        };
        let others = [thread::spawn(life(0)), thread::spawn(life(1))];
        let mut found = life(2)();
        for other in others {
            found.extend(other.join().unwrap());
        }
        found.extend(world.end());
        all_once(found, 0..3);
    });
}

#[test]
fn loom_magazines_are_exchanged_whole() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let world = World::new(8);
        let other = thread::spawn({
            let world = Arc::clone(&world);
            move || world.live(&[], 2)
        });
        let mut found = world.live(&[0, 1, 2, 3], 1);
        found.extend(other.join().unwrap());
        found.extend(world.end());
        all_once(found, 0..4);
    });
}

#[test]
fn loom_threads_without_a_place_share_the_front() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        // Two magazines, of which one thread may have one.
        let world = World::new(2);
        let other = thread::spawn({
            let world = Arc::clone(&world);
            move || world.live(&[0], 1)
        });
        let mut found = world.live(&[1], 1);
        found.extend(other.join().unwrap());
        let (popped, pushed) = world.stock.counts();
        assert_eq!((popped, pushed), (found.len() as u64, 2));
        found.extend(world.end());
        all_once(found, 0..2);
    });
}

#[test]
fn loom_a_trim_beside_a_taker_drops_or_leaves_each_value_once() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let world = World::new(8);
        let mut found = world.live(&[0, 1, 2, 3], 0);
        let trimmer = thread::spawn({
            let world = Arc::clone(&world);
            move || {
                let (lease, mut dropped) = (Lease::new(&world.numbers), Vec::new());
                for epoch in 1..=2 {
                    let now = world.start + epoch * EPOCH;
                    if let Some(mut victims) = world.stock.look_at(lease.number(), now) {
                        dropped.extend(victims.magazine.oldest(victims.count));
                        world.stock.restore(victims.magazine);
                    }
                }
                dropped
            }
        });
        found.extend(world.live(&[], 3));
        found.extend(trimmer.join().unwrap());
        found.extend(world.end());
        all_once(found, 0..4);
    });
}
