//! What depth costs: prints a table, and fails when a deep queue is much slower than a shallow
//! one, or an entry larger than it should be. For a quiet machine, and optimised:
//! `cargo test --release --lib wait_queue::cost -- --ignored --nocapture`

use std::collections::{BinaryHeap, VecDeque};
use std::hint::black_box;
use std::mem::size_of;
use std::num::NonZeroU32;

use super::lane::Entry;
use super::{Place, Rules, Take, WaitQueue};
use crate::Priority;
use crate::ground::list::Links;
use crate::ground::tenant::Tenant;
use crate::ground::time;

const DEPTHS: [usize; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];
const ROUNDS: usize = 1_000_000;
const SAMPLES: usize = 5;

/// Of what a worker pool queues: a pointer.
type Waits = Box<u64>;

/// Best of a few: the least disturbed.
fn ns_per_round(mut round: impl FnMut(usize)) -> f64 {
    let sample = |_| {
        let start = time::now();
        (0..ROUNDS).for_each(&mut round);
        (time::now() - start).as_nanos() as f64 / ROUNDS as f64
    };
    (0..SAMPLES).map(sample).fold(f64::INFINITY, f64::min)
}

/// As many as wait come, over four classes and `tenants` tenants; then one is granted and one comes.
fn ours(depth: usize, tenants: u64) -> f64 {
    let now = time::now();
    let mut queue = WaitQueue::new(Rules::flat(depth + 1));
    let place = |i: usize| Place {
        tenant: Tenant(i as u64 % tenants),
        weight: NonZeroU32::MIN,
        ..Place::new(Priority::ALL[i % 4])
    };
    // The value is a number, so that only the queue is measured.
    for i in 0..depth {
        let full = queue.offer(place(i), i, now, &mut Vec::new());
        assert!(full.is_ok());
    }
    ns_per_round(|i| {
        let Take::Granted(granted) = queue.take(1, now) else { panic!("somebody waits") };
        black_box(granted.value);
        // Into the class it came from: the depth of each stays.
        let place = Place { class: granted.class, ..place(i) };
        let full = queue.offer(place, i, now, &mut Vec::new());
        assert!(full.is_ok());
    })
}

/// A queue without classes, cap or cancelling: what memory alone costs.
fn deque(depth: usize) -> f64 {
    let mut deque: VecDeque<usize> = (0..depth).collect();
    ns_per_round(|i| {
        black_box(deque.pop_front());
        deque.push_back(i);
    })
}

/// Classes by a heap, as most priority queues have them.
fn heap(depth: usize) -> f64 {
    let entry = |i: usize| (i % 4, usize::MAX - i);
    let mut heap: BinaryHeap<(usize, usize)> = (0..depth).map(entry).collect();
    ns_per_round(|i| {
        let (class, _) = heap.pop().expect("somebody waits");
        heap.push((class, usize::MAX - depth - i));
    })
}

#[test]
#[ignore = "measures: for a quiet machine, and optimised"]
fn growth_with_depth() {
    println!("depth\tns/push+pop\twith 100 tenants\tVecDeque\tBinaryHeap");
    let rows = DEPTHS.map(|depth| {
        let row = [ours(depth, 1), ours(depth, 100), deque(depth), heap(depth)];
        println!("{depth}\t{:.1}\t{:.1}\t{:.1}\t{:.1}", row[0], row[1], row[2], row[3]);
        row
    });
    let growth = rows[DEPTHS.len() - 1][0] / rows[0][0];
    println!("growth from {} to {}: {growth:.2}", DEPTHS[0], DEPTHS[DEPTHS.len() - 1]);
    assert!(growth <= 4.0, "{growth:.2}");
}

/// An entry, its serial and its tag, and its links: no more for what has no tenant, weight or
/// deadline, whatever other queues do.
#[test]
fn an_entry_is_small() {
    let slot = size_of::<Option<(u64, Entry<Waits>)>>();
    assert_eq!((size_of::<Entry<Waits>>(), slot, Links::BYTES_EACH), (16, 24, 8));
}
