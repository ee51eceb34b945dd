//! Tables for each rule, and the model beside the queue under random steps.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;

use super::class::{EXACT_TENANTS, SHARED_LANES};
use super::model::Pair;
use super::{CoDel, Overload, Place, Plan, Rules, Take, Thresholds, WaitQueue};
use crate::Priority::{self, High, Low, Normal, Urgent};
use crate::ground::tenant::Tenant;
use crate::ground::time::{self, Instant};

fn queue(cap: usize) -> WaitQueue<u32> {
    WaitQueue::new(Rules::new(cap))
}

fn of(class: Priority, tenant: u64) -> Place {
    Place { tenant: Tenant(tenant), ..Place::new(class) }
}

fn weighing(class: Priority, weight: u32) -> Place {
    Place { weight: NonZeroU32::new(weight).unwrap(), ..Place::new(class) }
}

fn offer(queue: &mut WaitQueue<u32>, place: Place, value: u32) -> Result<Option<u32>, u32> {
    let mut expired = Vec::new();
    let admitted = queue.offer(place, value, time::now(), &mut expired);
    assert!(expired.is_empty());
    admitted.map(|committed| committed.evicted)
}

fn granted(queue: &mut WaitQueue<u32>) -> Option<u32> {
    match queue.take(u32::MAX, time::now()) {
        Take::Granted(granted) => Some(granted.value),
        Take::Empty => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_class_fills_the_queue_up_to_its_own_limit() {
    for (class, places) in [(Low, 16), (Normal, 18), (High, 19), (Urgent, 20)] {
        let mut queue = queue(20);
        let admitted = (0..100).filter(|&i| offer(&mut queue, Place::new(class), i).is_ok());
        assert_eq!(admitted.count(), places, "{class}");
    }
}

#[test]
fn a_class_may_always_fill_one_place() {
    let rules = Rules { thresholds: Thresholds::new(0.01, 0.01, 0.01, 1.0), ..Rules::new(2) };
    let mut queue: WaitQueue<u32> = WaitQueue::new(rules);
    assert_eq!(offer(&mut queue, Place::new(Low), 1), Ok(None));
    assert_eq!(offer(&mut queue, Place::new(Low), 2), Err(2));
}

#[test]
fn the_newest_of_the_longest_tenant_of_the_lowest_class_goes_first() {
    let mut queue = queue(6);
    for (place, value) in [
        (of(Normal, 1), 10),
        (of(Low, 1), 11),
        (of(Low, 2), 12),
        (of(Low, 2), 13),
        (of(Low, 1), 14),
        (of(Urgent, 0), 15),
    ] {
        assert_eq!(offer(&mut queue, place, value), Ok(None));
    }
    // Both tenants of `Low` hold two; tenant 2 has held them for longer.
    assert_eq!(offer(&mut queue, Place::new(High), 20), Ok(Some(13)));
    assert_eq!(offer(&mut queue, Place::new(High), 21), Ok(Some(14)));
    let last: Vec<_> = (22..24).map(|v| offer(&mut queue, Place::new(High), v)).collect();
    assert_eq!(last.iter().flatten().flatten().count(), 2, "the last two lows go too");
    assert_eq!(offer(&mut queue, Place::new(High), 24), Ok(Some(10)), "then the normal one");
    assert_eq!(offer(&mut queue, Place::new(High), 25), Err(25), "nobody lower is left");
}

#[test]
fn a_tenant_with_two_fewer_displaces_the_longest_of_its_class() {
    let mut queue = queue(10);
    for value in 0..9 {
        assert_eq!(offer(&mut queue, of(Normal, 1), value), Ok(None));
    }
    let evicted: Vec<_> = (100..108).map(|v| offer(&mut queue, of(Normal, 2), v)).collect();
    assert_eq!(evicted[..4], [Ok(Some(8)), Ok(Some(7)), Ok(Some(6)), Ok(Some(5))]);
    assert_eq!(evicted[4], Err(104), "four against five is fair enough");
}

#[test]
fn urgent_first_but_the_passed_over_get_their_turn() {
    let mut queue = queue(1000);
    for value in 0..200 {
        offer(&mut queue, Place::new(Urgent), 1000 + value).unwrap();
    }
    for (class, base) in [(Low, 0), (Normal, 100), (High, 200)] {
        for value in 0..2 {
            offer(&mut queue, Place::new(class), base + value).unwrap();
        }
    }
    let order: Vec<u32> = std::iter::from_fn(|| granted(&mut queue)).collect();
    let place = |value: u32| order.iter().position(|&v| v == value).unwrap() + 1;
    for (p, values) in [(1, [0, 100, 200]), (2, [1, 101, 201])] {
        for value in values {
            assert!(place(value) <= p * (32 + 3), "{value} at {}", place(value));
        }
    }
    assert_eq!(order[32], 0, "the lowest first on a tie");
}

#[test]
fn a_heavy_head_is_not_overtaken_by_its_equals_or_those_below() {
    let mut queue = queue(100);
    let now = time::now();
    offer(&mut queue, weighing(Normal, 5), 1).unwrap();
    offer(&mut queue, of(Normal, 7), 2).unwrap();
    offer(&mut queue, Place::new(Low), 3).unwrap();
    assert!(matches!(queue.take(3, now), Take::Short { missing: 2 }));
    offer(&mut queue, Place::new(High), 4).unwrap();
    assert!(matches!(queue.take(3, now), Take::Granted(g) if g.value == 4));
    assert!(matches!(queue.take(3, now), Take::Short { missing: 2 }));
    assert!(matches!(queue.take(5, now), Take::Granted(g) if g.value == 1));
}

#[test]
fn at_its_starvation_turn_a_heavy_head_stops_even_the_class_above() {
    let mut queue = queue(1000);
    let now = time::now();
    offer(&mut queue, weighing(Low, 5), 1).unwrap();
    for value in 100..200 {
        offer(&mut queue, Place::new(Urgent), value).unwrap();
    }
    for _ in 0..32 {
        assert!(matches!(queue.take(1, now), Take::Granted(g) if g.class == Urgent));
    }
    assert!(matches!(queue.take(1, now), Take::Short { missing: 4 }));
    assert!(queue.head().unwrap().by_turn);
    assert!(matches!(queue.take(5, now), Take::Granted(g) if g.value == 1));
    assert!(matches!(queue.take(1, now), Take::Granted(g) if g.class == Urgent));
}

#[test]
fn tenants_take_turns_by_seats_not_by_tasks() {
    let mut queue = queue(1000);
    for value in 0..60 {
        let heavy = Place { tenant: Tenant(1), ..weighing(Normal, 3) };
        offer(&mut queue, heavy, value).unwrap();
        offer(&mut queue, of(Normal, 2), 100 + value).unwrap();
    }
    let mut seats = HashMap::new();
    for _ in 0..40 {
        let Take::Granted(granted) = queue.take(10, time::now()) else { panic!() };
        *seats.entry(granted.tenant).or_insert(0) += granted.weight.get();
    }
    assert_eq!(seats[&Tenant(1)], seats[&Tenant(2)]);
}

/// Else who offers something heavy and takes it back would be served twice as much each round.
#[test]
fn what_a_lane_was_given_for_a_heavy_one_that_left_is_not_for_its_light_ones() {
    let mut queue = queue(1000);
    let heavy = Place { tenant: Tenant(1), ..weighing(Normal, 64) };
    offer(&mut queue, heavy, 0).unwrap();
    let heavy = queue.head().unwrap().ticket;
    for value in 1..=50 {
        offer(&mut queue, of(Normal, 1), value).unwrap();
        offer(&mut queue, of(Normal, 2), 100 + value).unwrap();
    }
    assert!(matches!(queue.take(10, time::now()), Take::Short { missing: 54 }));
    assert_eq!(queue.cancel(heavy), Some(0));
    let first: Vec<u32> = std::iter::from_fn(|| granted(&mut queue)).take(20).collect();
    let of_the_other = first.iter().filter(|&&value| value > 100).count();
    assert!(of_the_other >= 9, "{first:?}");
}

#[test]
fn no_more_are_granted_before_a_newcomer_than_stand_ahead_of_it() {
    for newcomer in 0..5 {
        let mut queue = queue(100);
        let lanes = [(Normal, 0, 3), (Normal, 1, 9), (Normal, 2, 1), (High, 3, 2), (Low, 4, 5)];
        for (class, tenant, waiters) in lanes {
            for _ in 0..waiters {
                offer(&mut queue, of(class, tenant), 1).unwrap();
            }
        }
        let place = of(Normal, newcomer);
        let ahead = queue.depth(High) + queue.ahead_in_class(Normal, place.tenant);
        assert!(ahead <= queue.depth(High) + queue.depth(Normal));
        offer(&mut queue, place, 2).unwrap();
        let before = std::iter::from_fn(|| granted(&mut queue)).take_while(|&one| one == 1).count();
        assert!(before <= ahead, "tenant {newcomer}: {before} of {ahead}");
    }
}

#[test]
fn the_first_tenant_does_not_wait_for_all_of_nobodys() {
    let mut queue = queue(10);
    for _ in 0..5 {
        offer(&mut queue, Place::new(Normal), 1).unwrap();
    }
    assert_eq!(queue.ahead_in_class(Normal, Tenant::NONE), 5);
    assert_eq!(queue.ahead_in_class(Normal, Tenant(7)), 1);
}

#[test]
fn an_expired_head_is_returned_and_never_granted() {
    let mut queue = queue(10);
    let now = time::now();
    let place = Place { deadline: Some(now + Duration::from_millis(5)), ..Place::new(Normal) };
    queue.offer(place, 1, now, &mut Vec::new()).unwrap();
    offer(&mut queue, Place::new(Normal), 2).unwrap();
    let late = now + Duration::from_millis(5);
    assert!(matches!(queue.take(0, late), Take::Expired(1)));
    assert!(matches!(queue.take(1, late), Take::Granted(g) if g.value == 2));
}

#[test]
fn a_full_queue_drops_eight_expired_ones_before_it_evicts() {
    let mut queue = WaitQueue::new(Rules { thresholds: Thresholds::flat(1.0), ..Rules::new(30) });
    let now = time::now();
    let mut expired = Vec::new();
    for value in 0..30_u32 {
        let after = Duration::from_millis(u64::from(value % 3) * 10_000);
        let deadline = (value < 20).then(|| now + after);
        let place = Place { deadline, ..Place::new(Low) };
        queue.offer(place, value, now, &mut expired).unwrap();
    }
    let late = now + Duration::from_millis(15_000);
    assert_eq!(queue.plan(Urgent, Tenant::NONE, late, &mut expired), Plan::Queue);
    assert_eq!(expired.len(), 8);
    assert!(expired.iter().all(|value| value % 3 < 2 && *value < 20));
    // A clock that reads earlier than before finds nobody too early.
    assert!(matches!(queue.plan(Low, Tenant::NONE, now, &mut expired), Plan::Queue));
    assert_eq!(expired.len(), 8);
}

#[test]
fn after_a_resize_what_can_never_fit_leaves() {
    let mut queue = queue(10);
    offer(&mut queue, weighing(Normal, 8), 1).unwrap();
    offer(&mut queue, Place::new(Normal), 2).unwrap();
    queue.set_max_weight(4);
    assert!(matches!(queue.take(4, time::now()), Take::TooLarge(1)));
    assert!(matches!(queue.take(4, time::now()), Take::Granted(g) if g.value == 2));
}

#[test]
fn readmitted_ones_go_before_what_was_accepted_later_and_are_never_evicted() {
    let mut queue = queue(4);
    let now = time::now();
    for value in 1..=4 {
        offer(&mut queue, Place::new(Low), value).unwrap_or_default();
    }
    let Take::Granted(first) = queue.take(1, now) else { panic!() };
    let Take::Granted(second) = queue.take(1, now) else { panic!() };
    offer(&mut queue, Place::new(Low), 5).unwrap();
    queue.readmit(Place::new(Low), second.accept_no, second.value);
    queue.readmit(Place::new(Low), first.accept_no, first.value);
    for value in 10..13 {
        offer(&mut queue, Place::new(Urgent), value).unwrap_or_default();
    }
    let order: Vec<u32> = std::iter::from_fn(|| granted(&mut queue)).collect();
    let lows: Vec<u32> = order.into_iter().filter(|v| *v < 10).collect();
    assert_eq!(lows[..2], [1, 2]);
}

#[test]
fn beyond_a_thousand_tenants_lanes_are_shared_and_order_within_a_tenant_holds() {
    let mut queue: WaitQueue<u32> = WaitQueue::new(Rules::flat(1 << 20));
    let tenants = EXACT_TENANTS as u64 + 2 * SHARED_LANES;
    let spread = |tenant: u64| tenant.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for round in 0..3 {
        for tenant in 0..tenants {
            let value = (tenant * 3 + round) as u32;
            offer(&mut queue, of(Normal, spread(tenant)), value).unwrap();
        }
    }
    let mut last = HashMap::new();
    while let Some(value) = granted(&mut queue) {
        let (tenant, round) = (value / 3, value % 3);
        assert_eq!(last.insert(tenant, round).map_or(0, |r: u32| r + 1), round);
    }
    assert_eq!(last.len() as u64, tenants);
}

#[test]
fn a_held_tenant_takes_no_turns_and_keeps_its_place() {
    let mut queue = queue(100);
    for (place, value) in [
        (of(Normal, 1), 1),
        (of(Normal, 2), 2),
        (of(Normal, 1), 3),
        (of(Urgent, 1), 4),
        (of(Low, 3), 5),
    ] {
        offer(&mut queue, place, value).unwrap();
    }
    queue.hold(Tenant(1));
    assert!(queue.stands(Normal) && !queue.stands(High), "of the urgent nobody stands");
    assert_eq!((queue.len(), queue.depth(Normal), queue.depth(Urgent)), (5, 3, 1));
    offer(&mut queue, of(Normal, 1), 6).unwrap();
    assert_eq!(granted(&mut queue), Some(2));
    assert_eq!(granted(&mut queue), Some(5), "and nobody stands before those below");
    assert_eq!(granted(&mut queue), None);
    queue.release(Tenant(1));
    queue.release(Tenant(1));
    let order: Vec<u32> = std::iter::from_fn(|| granted(&mut queue)).collect();
    assert_eq!(order, [4, 1, 3, 6]);
}

#[test]
fn who_is_released_has_the_last_turn_of_the_round() {
    let mut queue = queue(100);
    for value in 0..3 {
        for tenant in 1..=3 {
            offer(&mut queue, of(Normal, tenant), 10 * tenant as u32 + value).unwrap();
        }
    }
    queue.hold(Tenant(1));
    assert_eq!(granted(&mut queue), Some(20));
    queue.release(Tenant(1));
    let order: Vec<u32> = std::iter::from_fn(|| granted(&mut queue)).collect();
    assert_eq!(order, [30, 21, 10, 31, 22, 11, 32, 12]);
}

#[test]
fn those_without_a_tenant_can_be_held_too() {
    let mut queue = queue(100);
    offer(&mut queue, Place::new(Normal), 1).unwrap();
    queue.hold(Tenant::NONE);
    assert_eq!(granted(&mut queue), None);
    offer(&mut queue, Place::new(Normal), 2).unwrap();
    offer(&mut queue, of(Normal, 1), 3).unwrap();
    assert_eq!(granted(&mut queue), Some(3));
    assert_eq!(granted(&mut queue), None);
    queue.release(Tenant::NONE);
    assert_eq!((granted(&mut queue), granted(&mut queue)), (Some(1), Some(2)));
    offer(&mut queue, Place::new(Normal), 4).unwrap();
    assert_eq!(granted(&mut queue), Some(4), "a hold ends with those it held");
}

#[test]
fn the_held_count_against_the_cap_may_be_evicted_and_leave_with_the_rest() {
    let mut queue = queue(4);
    for value in 0..4 {
        assert_eq!(offer(&mut queue, of(Low, 1 + u64::from(value % 2)), value), Ok(None));
    }
    queue.hold(Tenant(1));
    queue.hold(Tenant(2));
    assert!(queue.head().is_none());
    assert_eq!(offer(&mut queue, of(Low, 3), 9), Ok(Some(2)));
    assert_eq!(offer(&mut queue, of(Low, 3), 10), Err(10));
    assert_eq!(queue.close().collect::<Vec<_>>(), [9, 0, 1, 3]);
    assert!(queue.is_empty());
}

#[test]
fn the_passed_over_among_the_rest_still_get_their_turn() {
    let mut queue = WaitQueue::new(Rules { starvation_bound: 4, ..Rules::new(100) });
    offer(&mut queue, of(Low, 1), 1).unwrap();
    offer(&mut queue, of(Low, 2), 2).unwrap();
    for value in 100..120 {
        offer(&mut queue, of(Urgent, 3), value).unwrap();
    }
    queue.hold(Tenant(1));
    let order: Vec<u32> = (0..6).filter_map(|_| granted(&mut queue)).collect();
    assert_eq!(order, [100, 101, 102, 103, 2, 104]);
    queue.release(Tenant(1));
    let order: Vec<u32> = (0..5).filter_map(|_| granted(&mut queue)).collect();
    assert_eq!(order, [105, 106, 107, 108, 1], "counted from when it stands");
}

const MS: Duration = Duration::from_millis(1);

/// `Low` sheds: a target of 5 ms, an interval of 100 ms.
fn shedding(cap: usize) -> WaitQueue<u32> {
    let overload = Overload::default().with(Low, CoDel::default());
    WaitQueue::new(Rules { overload, thresholds: Thresholds::flat(1.0), ..Rules::new(cap) })
}

fn enter_at(queue: &mut WaitQueue<u32>, place: Place, value: u32, now: Instant) {
    queue.offer(place, value, now, &mut Vec::new()).unwrap();
}

/// What one seat that comes free brings: whoever is shed before, and who is granted.
fn seat_at(queue: &mut WaitQueue<u32>, now: Instant) -> (Vec<u32>, Option<u32>) {
    let mut shed = Vec::new();
    loop {
        match queue.take(1, now) {
            Take::Shed(value) => shed.push(value),
            Take::Granted(granted) => return (shed, Some(granted.value)),
            Take::Empty => return (shed, None),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_burst_that_is_worked_off_is_served_in_order_and_nobody_is_shed() {
    let (mut queue, start) = (shedding(1000), time::now());
    let mut next = 0;
    for burst in 0..5 {
        let now = start + burst * 200 * MS;
        for value in 0..90 {
            enter_at(&mut queue, Place::new(Low), 100 * burst + value, now);
        }
        for ms in 0..90 {
            let got = seat_at(&mut queue, now + ms * MS);
            assert_eq!(got, (vec![], Some(100 * burst + ms)), "old, but for less than an interval");
            next += 1;
        }
    }
    assert_eq!((next, queue.len()), (450, 0));
}

#[test]
fn a_queue_that_stands_serves_the_newest_sheds_the_old_and_recovers() {
    let (mut queue, start) = (shedding(10_000), time::now());
    let mut accounted = 0;
    let mut value = 0;
    // Two come each millisecond, one is served.
    for ms in 0..=106 {
        for _ in 0..2 {
            enter_at(&mut queue, Place::new(Low), value, start + ms * MS);
            value += 1;
        }
        let (shed, granted) = seat_at(&mut queue, start + ms * MS);
        accounted += 1;
        assert_eq!((shed.len(), granted), (0, Some(ms)), "first in, first out");
    }
    // Seen above the target at 11 ms first: the one granted then had come at 5 ms.
    for ms in 107..200 {
        for _ in 0..2 {
            enter_at(&mut queue, Place::new(Low), value, start + ms * MS);
            value += 1;
        }
        let (shed, granted) = seat_at(&mut queue, start + ms * MS);
        accounted += 1 + shed.len();
        if ms < 111 {
            assert_eq!((shed.len(), granted), (0, Some(ms)), "not yet an interval");
        } else {
            assert_eq!(granted, Some(value - 1), "the newest first");
            assert!(shed.iter().all(|shed| ms - shed / 2 > 10), "older than twice the target");
            assert!(shed.len() <= 32);
        }
    }
    assert!(queue.len() <= 22, "what is left is young: {}", queue.len());
    // Nobody comes any more: the rest is worked off, newest first, until the oldest is young.
    let mut later = start + 200 * MS;
    while !queue.is_empty() {
        let (shed, granted) = seat_at(&mut queue, later);
        accounted += shed.len() + usize::from(granted.is_some());
        later += MS / 4;
    }
    assert_eq!(accounted, value as usize, "nothing is lost");
    for value in 0..3 {
        enter_at(&mut queue, Place::new(Low), value, later);
    }
    let order: Vec<_> = (0..3).map(|_| seat_at(&mut queue, later + 50 * MS)).collect();
    assert_eq!(order, [(vec![], Some(0)), (vec![], Some(1)), (vec![], Some(2))]);
}

/// Old ones in every class and of two tenants; only one tenant's stand for an interval.
#[test]
fn only_the_lane_that_stands_is_shed() {
    let (mut queue, start) = (shedding(1000), time::now());
    for value in 0..10 {
        enter_at(&mut queue, of(Low, 1), value, start);
        enter_at(&mut queue, Place::new(Normal), 100 + value, start);
    }
    assert_eq!(seat_at(&mut queue, start + 20 * MS), (vec![], Some(100)));
    queue.hold(Tenant::NONE);
    assert_eq!(seat_at(&mut queue, start + 20 * MS), (vec![], Some(0)), "above from here on");
    enter_at(&mut queue, of(Low, 2), 200, start + 120 * MS);
    enter_at(&mut queue, of(Low, 2), 201, start + 120 * MS);
    let stands = (vec![1, 2, 3, 4, 5, 6, 7, 8, 9], Some(200));
    assert_eq!(seat_at(&mut queue, start + 120 * MS), stands, "all of them are old");
    queue.release(Tenant::NONE);
    let normal: Vec<_> = (0..9).map(|_| seat_at(&mut queue, start + 900 * MS)).collect();
    let expected: Vec<_> = (101..110).map(|value| (vec![], Some(value))).collect();
    assert_eq!(normal, expected, "another class");
    assert_eq!(seat_at(&mut queue, start + 900 * MS), (vec![], Some(201)), "another tenant");
}

#[test]
fn where_the_newest_goes_first_the_oldest_gives_its_place() {
    let (mut queue, start) = (shedding(4), time::now());
    for value in 0..4 {
        enter_at(&mut queue, Place::new(Low), value, start);
    }
    assert_eq!(seat_at(&mut queue, start + 6 * MS).1, Some(0));
    enter_at(&mut queue, Place::new(Low), 4, start + 100 * MS);
    assert_eq!(seat_at(&mut queue, start + 106 * MS), (vec![1, 2, 3], Some(4)));
    for value in 5..9 {
        enter_at(&mut queue, Place::new(Low), value, start + 107 * MS);
    }
    // A lane that is empty stands no more: it takes another interval.
    assert_eq!(seat_at(&mut queue, start + 200 * MS), (vec![], Some(5)));
    enter_at(&mut queue, Place::new(Low), 9, start + 298 * MS);
    assert!(matches!(queue.take(0, start + 300 * MS), Take::Shed(6)));
    enter_at(&mut queue, Place::new(Low), 10, start + 300 * MS);
    let admitted = queue.offer(Place::new(High), 11, start + 300 * MS, &mut Vec::new());
    assert_eq!(admitted.unwrap().evicted, Some(7), "the oldest, not the newest");
}

#[test]
fn one_grant_sheds_no_more_than_so_many() {
    let (mut queue, start) = (shedding(1000), time::now());
    for value in 0..100 {
        enter_at(&mut queue, Place::new(Low), value, start);
    }
    assert_eq!(seat_at(&mut queue, start + 6 * MS), (vec![], Some(0)));
    for (round, newest) in [99, 98, 97].into_iter().enumerate() {
        let (shed, granted) = seat_at(&mut queue, start + 200 * MS);
        let first = 1 + 32 * round as u32;
        let expected: Vec<u32> = (first..(first + 32).min(newest)).collect();
        assert_eq!((shed, granted), (expected, Some(newest)));
    }
    assert_eq!(seat_at(&mut queue, start + 200 * MS), (vec![], None));
}

#[test]
fn the_last_one_of_a_class_is_served_however_old_it_is() {
    let (mut queue, start) = (shedding(1000), time::now());
    for value in 0..3 {
        enter_at(&mut queue, Place::new(Low), value, start);
    }
    assert_eq!(seat_at(&mut queue, start + 6 * MS), (vec![], Some(0)));
    assert_eq!(seat_at(&mut queue, start + 200 * MS), (vec![1], Some(2)));
}

/// The corpus of the fuzz target, and whatever a bug once needed.
#[test]
fn seeds_agree_with_the_model() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/wait_queue_ops");
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap();
        Pair::new(time::now()).run(bytes.as_chunks::<4>().0);
        Pair::shedding(time::now()).run(bytes.as_chunks::<4>().0);
    }
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(1_000))]
    #[test]
    fn every_step_agrees_with_the_model(ops in prop::collection::vec(any::<[u8; 4]>(), 0..300)) {
        Pair::new(time::now()).run(&ops);
    }

    #[test]
    fn every_step_agrees_while_classes_shed(ops in prop::collection::vec(any::<[u8; 4]>(), 0..300)) {
        Pair::shedding(time::now()).run(&ops);
    }

    /// Time goes on in every third step, and nobody is held.
    #[test]
    fn every_step_agrees_while_the_queue_stands(ops in prop::collection::vec(any::<[u8; 4]>(), 0..300)) {
        let slowly = |[what, a, b, c]: [u8; 4]| match what {
            0..80 => [13, a, b | 1, c],
            80..160 => [what % 6, a % 2, b % 3, c | 1],
            160..200 => [6, a, b, c],
            _ => [6 + what % 9, a, b, c],
        };
        Pair::shedding(time::now()).run(&ops.into_iter().map(slowly).collect::<Vec<_>>());
    }

    /// One step in four holds or releases somebody.
    #[test]
    fn every_step_agrees_while_tenants_are_held(ops in prop::collection::vec(any::<[u8; 4]>(), 0..300)) {
        let often = |[what, a, b, c]: [u8; 4]| match what {
            192.. => [15, 1 + a % 11, b, c],
            _ => [what % 15, a, b, c],
        };
        Pair::new(time::now()).run(&ops.into_iter().map(often).collect::<Vec<_>>());
    }
}

#[test]
fn one_of_unknown_age_is_served_next_in_a_queue_that_stands() {
    let (mut queue, start) = (shedding(1_000), time::now());
    let before = queue.next_number();
    for value in 0..5 {
        enter_at(&mut queue, Place::new(Low), value, start);
    }
    assert_eq!(seat_at(&mut queue, start + 6 * MS).1, Some(0));
    enter_at(&mut queue, Place::new(Low), 5, start + 106 * MS);
    assert!(matches!(queue.take(0, start + 106 * MS), Take::Shed(1)), "it stands");
    queue.resume(Place::new(Low), before, 9);
    assert_eq!(seat_at(&mut queue, start + 107 * MS).1, Some(9));
}
