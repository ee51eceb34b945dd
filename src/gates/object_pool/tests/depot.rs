use std::time::Duration;

use super::super::config::Limits;
use super::super::depot::Depot;
use super::super::magazine::Magazine;

const EPOCH: u64 = 1_000_000;
const NONE: [u32; 0] = [];

/// Magazines of four.
fn depot(max_idle: usize, floor: usize) -> Depot<u32> {
    let limits = Limits::new(max_idle, floor, Some(Duration::from_millis(1)), max_idle / 16);
    assert_eq!(limits.room, 4);
    Depot::new(limits)
}

fn push(depot: &mut Depot<u32>, value: u32) -> bool {
    if depot.orders(false) {
        depot.add(Magazine::new(4));
    }
    depot.push(value).is_ok()
}

/// Drops all victims there are. Which they were.
fn trim(depot: &mut Depot<u32>, now_ns: u64) -> Vec<u32> {
    let mut dropped = Vec::new();
    depot.turn(now_ns);
    while let Some(mut victims) = depot.victims() {
        dropped.extend(victims.magazine.oldest(victims.count));
        depot.restore(victims.magazine);
        depot.stored();
    }
    dropped
}

#[test]
fn it_keeps_as_many_as_its_magazines_hold() {
    let mut depot = depot(16, 0);
    assert!((0..16).all(|value| push(&mut depot, value)));
    assert!(!push(&mut depot, 16));
    assert_eq!(depot.stored(), 16);
    let newest_first: Vec<_> = std::iter::from_fn(|| depot.pop()).collect();
    assert_eq!(newest_first, (0..16).rev().collect::<Vec<_>>());
    assert_eq!((depot.stored(), depot.counts()), (0, (16, 16)));
}

#[test]
fn nothing_is_dropped_before_an_epoch_in_which_it_lay() {
    let mut depot = depot(16, 0);
    assert!((0..6).all(|value| push(&mut depot, value)));
    assert_eq!(trim(&mut depot, EPOCH - 1), NONE);
    assert_eq!(trim(&mut depot, EPOCH), NONE, "the first epoch began without them");
    assert_eq!(trim(&mut depot, 2 * EPOCH - 1), NONE);
    assert_eq!(trim(&mut depot, 2 * EPOCH), [0, 1, 2, 3, 4, 5], "oldest first");
    assert_eq!(depot.stored(), 0);
    assert!(push(&mut depot, 9), "and its magazines may be made again");
}

#[test]
fn what_was_needed_in_an_epoch_is_kept() {
    let mut depot = depot(16, 0);
    assert!((0..12).all(|value| push(&mut depot, value)));
    assert_eq!(trim(&mut depot, EPOCH), NONE);
    // Five are out at once, in the epoch.
    let taken: Vec<_> = (0..5).map(|_| depot.pop().unwrap()).collect();
    assert!(taken.into_iter().all(|value| push(&mut depot, value)));
    assert_eq!(trim(&mut depot, 2 * EPOCH), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(depot.stored(), 5);
}

#[test]
fn a_victim_that_is_needed_is_none() {
    let mut depot = depot(16, 2);
    assert!((0..12).all(|value| push(&mut depot, value)));
    depot.turn(EPOCH);
    depot.turn(2 * EPOCH);
    assert_eq!(depot.due_ns(), 0, "there are victims");
    // All but three are needed now; two of those are the floor.
    for _ in 0..9 {
        depot.pop().unwrap();
    }
    assert_eq!(trim(&mut depot, 2 * EPOCH), [0]);
    assert_eq!((depot.stored(), depot.due_ns()), (2, 3 * EPOCH));
}

#[test]
fn the_floor_stays_to_the_value() {
    for floor in 0..=13 {
        let mut depot = depot(16, floor);
        assert!((0..13).all(|value| push(&mut depot, value)));
        for epoch in 1..5 {
            trim(&mut depot, epoch * EPOCH);
        }
        assert_eq!(depot.stored(), floor);
    }
}

#[test]
fn an_older_now_turns_no_epoch() {
    let mut depot = depot(16, 0);
    depot.turn(5 * EPOCH);
    depot.turn(EPOCH);
    assert_eq!((depot.epoch(), depot.due_ns()), (1, 6 * EPOCH));
    depot.turn(u64::MAX);
    assert_eq!((depot.epoch(), depot.due_ns()), (2, u64::MAX));
}

#[test]
fn half_of_the_magazines_are_for_threads() {
    let mut depot = depot(16, 0);
    for _ in 0..2 {
        assert!(depot.lends(false));
        assert!(depot.orders(true));
        depot.add(Magazine::new(4));
        depot.take_empty().unwrap();
    }
    assert!(!depot.lends(false) && depot.lends(true), "one for one, still");
    assert!((0..8).all(|value| push(&mut depot, value)));
    assert!(!push(&mut depot, 8), "two lie with threads");
    let full = depot.take_full().unwrap();
    assert_eq!((full.len(), depot.stored()), (4, 4));
    depot.put(full);
    depot.put(Magazine::absent());
    assert_eq!(depot.stored(), 8);
}
