//! Threads are leases here, of numbers of the test's own: all on one thread, in any order.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::super::config::Limits;
use super::super::stock::{Pushed, Stock};
use crate::ground::thread_number::{Lease, Number, Numbers};
use crate::ground::time::{self, Instant};

const MS: Duration = Duration::from_millis(1);

/// Magazines of `max_idle / 16` values.
fn stock(max_idle: usize, now: Instant) -> Stock<u32> {
    Stock::new(Limits::new(max_idle, 0, Some(MS), 4), now)
}

fn keep(stock: &Stock<u32>, me: Option<Number>, value: u32) -> bool {
    !matches!(stock.push(me, value), Pushed::Full(_))
}

fn idle(stock: &Stock<u32>) -> usize {
    let (popped, pushed) = stock.counts();
    (pushed - popped) as usize
}

/// As a pool does, at one look.
fn trim_some(stock: &Stock<u32>, me: Option<Number>, now: Instant) -> usize {
    let Some(mut victims) = stock.look_at(me, now) else { return 0 };
    let dropped = victims.magazine.oldest(victims.count).count();
    stock.restore(victims.magazine);
    dropped
}

#[test]
fn one_thread_gets_back_what_it_gave_newest_first() {
    let (numbers, stock) = (Numbers::new(), stock(64, time::now()));
    let lease = Lease::new(&numbers);
    let me = lease.number();
    assert_eq!(stock.pop(me), None);
    assert!((0..64).all(|value| keep(&stock, me, value)));
    assert_eq!(stock.push(me, 64), Pushed::Full(64));
    let mut back: Vec<_> = std::iter::from_fn(|| stock.pop(me)).collect();
    assert!(back.starts_with(&[63, 62, 61, 60]));
    back.sort_unstable();
    assert_eq!(back, (0..64).collect::<Vec<_>>());
}

#[test]
fn at_the_edge_of_a_magazine_none_is_exchanged() {
    let (numbers, stock) = (Numbers::new(), stock(64, time::now()));
    let lease = Lease::new(&numbers);
    let me = lease.number();
    assert!((0..12).all(|value| keep(&stock, me, value)));
    assert_eq!(stock.in_depot(), 4);
    for _ in 0..100 {
        let taken: Vec<_> = (0..5).map(|_| stock.pop(me).unwrap()).collect();
        assert!(taken.into_iter().all(|value| keep(&stock, me, value)));
        assert_eq!(stock.in_depot(), 4);
    }
}

#[test]
fn what_one_thread_gives_another_takes() {
    let (numbers, stock) = (Numbers::new(), stock(64, time::now()));
    let (maker, user) = (Lease::new(&numbers), Lease::new(&numbers));
    for round in 0..1_000 {
        assert!(keep(&stock, maker.number(), round));
        if round >= 16 {
            assert!(stock.pop(user.number()).is_some(), "two magazines with each, at most");
        }
    }
    assert!(idle(&stock) <= 16);
}

#[test]
fn a_thread_that_ends_leaves_its_values_to_the_next_with_its_number() {
    let (numbers, stock) = (Numbers::new(), stock(64, time::now()));
    let first = Lease::new(&numbers);
    assert!((0..3).all(|value| keep(&stock, first.number(), value)));
    let other = Lease::new(&numbers);
    assert_eq!(stock.pop(other.number()), None, "they are the first's");
    drop(first);
    let next = Lease::new(&numbers);
    assert_eq!(stock.pop(next.number()), Some(2));
}

#[test]
fn threads_without_a_number_share() {
    let stock = stock(64, time::now());
    assert!((0..64).all(|value| keep(&stock, None, value)));
    assert_eq!(stock.push(None, 64), Pushed::Full(64));
    assert_eq!(stock.in_depot(), 64);
    let numbers = Numbers::new();
    let lease = Lease::new(&numbers);
    assert_eq!(stock.pop(lease.number()), Some(59));
    assert_eq!((stock.in_depot(), idle(&stock)), (60, 63), "the rest of it came along");
    assert_eq!(stock.pop(None), Some(63));
}

#[test]
fn it_is_time_to_look_once_in_64() {
    let (numbers, stock) = (Numbers::new(), stock(64, time::now()));
    let lease = Lease::new(&numbers);
    for me in [lease.number(), None] {
        let mut looks = 0;
        for value in 0..640 {
            looks += usize::from(matches!(stock.push(me, value), Pushed::Look));
            stock.pop(me).unwrap();
        }
        assert!((9..=10).contains(&looks), "{looks}");
    }
}

#[test]
fn one_who_uses_it_trims_the_depot_and_its_own_second_magazine() {
    let start = time::now();
    let (numbers, stock) = (Numbers::new(), stock(64, start));
    let lease = Lease::new(&numbers);
    let me = lease.number();
    assert!((0..40).all(|value| keep(&stock, me, value)));
    let mut dropped = Vec::new();
    for tenth in 0..60 {
        // Uses no more than one at a time.
        let value = stock.pop(me).unwrap();
        assert!(keep(&stock, me, value));
        dropped.push(trim_some(&stock, me, start + tenth * MS / 10));
    }
    assert!(dropped[..20].iter().all(|&n| n == 0), "an epoch at least: {dropped:?}");
    assert!(dropped.iter().all(|&n| n <= 4), "a magazine at a time: {dropped:?}");
    assert_eq!(dropped.iter().sum::<usize>(), 36, "{dropped:?}");
    assert_eq!(stock.in_depot(), 0);
    assert_eq!(stock.pop(me).map(|_| idle(&stock) - 36), Some(3), "the first one stays");
}

#[test]
fn what_lies_with_another_thread_is_out_of_reach() {
    let start = time::now();
    let (numbers, stock) = (Numbers::new(), stock(64, start));
    let (gone, here) = (Lease::new(&numbers), Lease::new(&numbers));
    assert!((0..20).all(|value| keep(&stock, gone.number(), value)));
    let looks = (0..100).map(|tenth| trim_some(&stock, here.number(), start + tenth * MS / 10));
    assert_eq!(looks.sum::<usize>(), 12);
    let left: Vec<_> = std::iter::from_fn(|| stock.pop(gone.number())).collect();
    assert_eq!(left.len(), 8, "two magazines");
}

#[derive(Clone, Debug)]
enum Op {
    Push(usize),
    Pop(usize),
    /// The thread ends, and another begins.
    Renew(usize),
    Look(usize),
    /// So many tenths of an epoch.
    Wait(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..4_usize).prop_map(Op::Push),
        8 => (0..4_usize).prop_map(Op::Pop),
        1 => (0..4_usize).prop_map(Op::Renew),
        3 => (0..4_usize).prop_map(Op::Look),
        1 => (0..15_u32).prop_map(Op::Wait),
    ]
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(256))]

    /// Beside a set: whatever is pushed is popped once, dropped as a victim, or still there; and
    /// one thread alone finds all there is, and, until a trim leaves a magazine in part, all the
    /// room.
    #[test]
    fn it_is_a_bounded_bag(
        ops in prop::collection::vec(op(), 0..400),
        max_idle in 1..100_usize,
        threads in 1..4_usize,
    ) {
        let mut now = time::now();
        let limits = Limits::new(max_idle, max_idle / 5, Some(MS), 2);
        let bound = limits.room * limits.magazines;
        let stock = Stock::new(limits, now);
        let numbers = Numbers::new();
        // The last one has no number.
        let mut leases: Vec<_> = (0..3).map(|_| Lease::new(&numbers)).collect();
        let me = |leases: &[Lease<'_>], who: usize| leases.get(who).and_then(Lease::number);
        let (mut bag, mut next, mut is_trimmed) = (BTreeSet::new(), 0, false);
        for op in ops {
            match op {
                Op::Push(who) => {
                    let is_kept = !matches!(stock.push(me(&leases, who % threads), next), Pushed::Full(_));
                    prop_assert!(is_kept || bag.len() == bound || threads > 1 || is_trimmed);
                    prop_assert!(!is_kept || bag.insert(next));
                    next += 1;
                }
                Op::Pop(who) => match stock.pop(me(&leases, who % threads)) {
                    Some(value) => prop_assert!(bag.remove(&value), "{value} twice"),
                    None => prop_assert!(bag.is_empty() || threads > 1),
                },
                Op::Renew(who) if who < leases.len() => {
                    leases.remove(who);
                    leases.insert(who, Lease::new(&numbers));
                }
                Op::Renew(_) => {}
                Op::Look(who) => {
                    if let Some(mut victims) = stock.look_at(me(&leases, who % threads), now) {
                        for value in victims.magazine.oldest(victims.count) {
                            prop_assert!(bag.remove(&value), "{value} twice");
                        }
                        stock.restore(victims.magazine);
                        is_trimmed = true;
                    }
                }
                Op::Wait(tenths) => now += tenths * MS / 10,
            }
            prop_assert!(bag.len() <= bound);
            stock.in_depot();
        }
        let mut stock = stock;
        for mut magazine in stock.drain() {
            while let Some(value) = magazine.pop() {
                prop_assert!(bag.remove(&value), "{value} twice");
            }
        }
        prop_assert!(bag.is_empty(), "{bag:?} lost");
    }
}
