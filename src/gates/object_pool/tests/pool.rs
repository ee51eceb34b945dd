use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::super::{ObjectPool, ObjectPoolConfig};
use crate::ground::metrics::MetricValue;
use crate::ground::time;

fn numbers(config: ObjectPoolConfig) -> ObjectPool<u64> {
    let next = std::sync::atomic::AtomicU64::new(0);
    let make = move || next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    ObjectPool::with_config(config, make, |_| true).unwrap()
}

#[test]
fn a_value_goes_out_to_one_at_a_time_and_comes_back() {
    let pool = numbers(ObjectPoolConfig::default().with_name("n"));
    let (a, b) = (pool.take(), pool.take());
    assert_eq!((*a, *b), (0, 1));
    drop(a);
    let again = pool.take();
    assert_eq!((*again, format!("{again:?}")), (0, "0".to_owned()));
    drop((again, b));
    let look = pool.snapshot();
    assert_eq!((look.hits, look.misses, look.kept, look.idle), (1, 2, 3, 2));
    assert_eq!((pool.name(), &*look.name), ("n", "n"));
    let hits = look.metrics().find(|metric| metric.name == "object_pool_hits_total").unwrap();
    assert!(matches!(hits.value, MetricValue::Counter(1)), "{hits:?}");
}

#[test]
fn what_is_detached_is_forgotten() {
    let pool = Arc::new(numbers(ObjectPoolConfig::default()));
    assert_eq!((pool.take().detach(), pool.take_owned().detach()), (0, 1));
    let look = pool.snapshot();
    assert_eq!((look.detached, look.outstanding, look.idle, look.kept), (2, 0, 0, 0));
}

#[test]
fn an_owned_guard_goes_anywhere_and_keeps_its_pool() {
    let pool = Arc::new(numbers(ObjectPoolConfig::default()));
    let guard = pool.take_owned();
    let weak = Arc::downgrade(&pool);
    drop(pool);
    let sent = thread::spawn(move || *guard);
    assert_eq!(sent.join().unwrap(), 0);
    assert!(weak.upgrade().is_none(), "its last guard was its last owner");
}

#[test]
fn what_its_reset_refuses_is_dropped() {
    let pool = ObjectPool::new(|| 0_u8, |value| *value < 2);
    for value in [1, 2, 3, 1] {
        *pool.take() = value;
    }
    let look = pool.snapshot();
    assert_eq!((look.dropped_by_reset, look.idle, look.hits, look.misses), (2, 1, 1, 3));
}

#[test]
fn values_of_no_size_are_counted_like_others() {
    let pool =
        ObjectPool::with_config(ObjectPoolConfig::default().with_max_idle(10), || (), |()| true);
    let pool = pool.unwrap();
    drop((0..100).map(|_| pool.take()).collect::<Vec<_>>());
    let look = pool.snapshot();
    assert_eq!((look.kept, look.dropped_by_bound, look.idle), (10, 90, 10));
}

#[test]
fn trim_leaves_the_floor() {
    let config = ObjectPoolConfig::default().with_max_idle(1_000).with_floor(100);
    let pool = numbers(config.with_trim_after(Duration::from_secs(1)));
    drop((0..1_000).map(|_| pool.take()).collect::<Vec<_>>());
    let (idle, start) = (pool.snapshot().idle, time::now());
    for second in 1..6 {
        pool.trim_at(start + Duration::from_secs(second));
    }
    let look = pool.snapshot();
    assert!((100..=132).contains(&look.idle), "the floor, and this thread's magazine: {look:?}");
    assert_eq!(look.idle + look.trimmed, idle);
}

#[cfg(debug_assertions)]
#[test]
fn what_is_out_is_known_by_the_line_that_took_it() {
    let pool = numbers(ObjectPoolConfig::default());
    let line = line!() + 1;
    let leaked = [(); 3].map(|()| std::mem::ManuallyDrop::new(pool.take()));
    let held = pool.take();
    let out = pool.outstanding_by_place();
    let lines: Vec<_> = out.iter().map(|(place, out)| (place.line(), *out)).collect();
    assert_eq!(lines, [(line, 3), (line + 1, 1)]);
    assert!(out[0].0.file().ends_with("tests/pool.rs"));
    drop(held);
    assert_eq!(pool.outstanding_by_place().len(), 1);
    assert_eq!((leaked.len() as u64, pool.snapshot().outstanding), (3, 3));
}

/// Guards of one thread that many drop, in any order: as when a storm of tasks is cancelled.
#[test]
fn many_guards_dropped_by_other_threads_leave_it_exact() {
    let pool = Arc::new(numbers(ObjectPoolConfig::default().with_max_idle(500)));
    let threads = 8;
    for round in 1..=5 {
        let mut guards: Vec<_> = (0..4_000).map(|_| pool.take_owned()).collect();
        let mut seen: Vec<_> = guards.iter().map(|guard| **guard).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), guards.len(), "no value is out twice");
        let mut shares: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
        for (at, guard) in guards.drain(..).enumerate() {
            shares[at * 7 % threads].push(guard);
        }
        let droppers: Vec<_> =
            shares.into_iter().map(|share| thread::spawn(move || drop(share))).collect();
        droppers.into_iter().for_each(|dropper| dropper.join().unwrap());
        let look = pool.snapshot();
        assert_eq!((look.outstanding, look.hits + look.misses), (0, round * 4_000));
        assert_eq!(look.kept, look.hits + look.idle);
        assert!(look.idle <= 500, "{look:?}");
    }
    assert!(pool.snapshot().hits > 0, "what the other threads gave back was used again");
}

/// Threads that take and give back at once, with guards going round among them.
#[test]
fn threads_at_once_leave_it_exact() {
    let pool = Arc::new(numbers(ObjectPoolConfig::default().with_max_idle(64)));
    let (send, mut receive) = tokio::sync::mpsc::channel(16);
    let giver = thread::spawn({
        let pool = Arc::clone(&pool);
        move || (0..20_000).for_each(|_| send.blocking_send(pool.take_owned()).unwrap())
    });
    let users: Vec<_> = (0..3)
        .map(|_| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || (0..20_000).for_each(|_| drop((pool.take(), pool.take()))))
        })
        .collect();
    assert_eq!(std::iter::from_fn(|| receive.blocking_recv()).count(), 20_000);
    giver.join().unwrap();
    users.into_iter().for_each(|user| user.join().unwrap());
    let look = pool.snapshot();
    assert_eq!((look.outstanding, look.hits + look.misses), (0, 140_000));
    assert_eq!(look.hits + look.misses, look.kept + look.dropped());
    assert!(look.idle <= 64 && look.misses < 10_000, "{look:?}");
}

/// Numbers come back with the threads that had them.
#[test]
fn threads_that_come_and_go_find_what_others_left() {
    let pool = Arc::new(numbers(ObjectPoolConfig::default()));
    for _ in 0..300 {
        let pool = Arc::clone(&pool);
        thread::spawn(move || drop(pool.take())).join().unwrap();
    }
    let look = pool.snapshot();
    assert!(look.misses <= 64 && look.hits + look.misses == 300, "{look:?}");
}

/// In the destructor of a thread-local the thread may have no number any more.
#[test]
fn a_thread_that_ends_may_still_take() {
    struct Late(Arc<ObjectPool<u64>>);
    impl Drop for Late {
        fn drop(&mut self) {
            drop(self.0.take());
        }
    }
    thread_local!(static LATE: std::cell::RefCell<Option<Late>> = const { std::cell::RefCell::new(None) });
    let pool = Arc::new(numbers(ObjectPoolConfig::default()));
    for first in [true, false] {
        let pool = Arc::clone(&pool);
        let ended = thread::spawn(move || {
            if first {
                drop(pool.take());
            }
            LATE.set(Some(Late(Arc::clone(&pool))));
            if !first {
                drop(pool.take());
            }
        });
        ended.join().unwrap();
    }
    let look = pool.snapshot();
    assert_eq!((look.hits + look.misses, look.kept, look.outstanding), (4, 4, 0));
}
