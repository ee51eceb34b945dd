//! The room before a full queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::class::EXACT_TENANTS;
use super::{Place, Room, Rules, Thresholds, Ticket, Turn};
use crate::Priority::{self, High, Low, Normal, Urgent};
use crate::ground::tenant::Tenant;
use crate::ground::time;

#[derive(Debug, Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// One who waits in the room.
struct Waits {
    ticket: Ticket,
    wakes: Arc<Wakes>,
}

impl Waits {
    fn turn(&self, room: &mut Room) -> Turn {
        room.turn(self.ticket, Waker::noop().clone()).0
    }

    fn would_wake(&self, waker: &Waker) -> bool {
        Waker::from(Arc::clone(&self.wakes)).will_wake(waker)
    }
}

fn try_enter(room: &mut Room, class: Priority) -> Option<(Waits, Option<Waker>)> {
    enter_at(room, Place::new(class)).map(|(waits, [displaced, _])| (waits, displaced))
}

fn enter_at(room: &mut Room, place: Place) -> Option<(Waits, [Option<Waker>; 2])> {
    let wakes = Arc::<Wakes>::default();
    let waker = Waker::from(Arc::clone(&wakes));
    let entered = room.enter(place, waker, time::now()).ok()?;
    Some((Waits { ticket: entered.ticket, wakes }, entered.wakes))
}

fn enter(room: &mut Room, class: Priority) -> Waits {
    let (waits, displaced) = try_enter(room, class).unwrap();
    assert!(displaced.is_none());
    waits
}

#[test]
fn the_turn_is_the_heads_alone() {
    let mut room = Room::new(Rules::new(10));
    let [low, normal, high] = [Low, Normal, High].map(|class| enter(&mut room, class));
    assert_eq!(high.turn(&mut room), Turn::Yours);
    assert_eq!(normal.turn(&mut room), Turn::Wait);
    assert_eq!(low.turn(&mut room), Turn::Wait);
    let urgent = enter(&mut room, Urgent);
    assert_eq!(high.turn(&mut room), Turn::Wait, "somebody more important has come");
    assert_eq!(urgent.turn(&mut room), Turn::Yours);
    assert_eq!(urgent.turn(&mut room), Turn::Yours, "asking takes nothing");
    assert_eq!(room.len(), 4);
}

#[test]
fn who_does_not_wait_lets_its_class_and_those_above_go_first() {
    let mut room = Room::new(Rules::new(10));
    assert!(!room.stands_before(Low));
    let normal = enter(&mut room, Normal);
    assert!(room.stands_before(Low) && room.stands_before(Normal));
    assert!(!room.stands_before(High) && !room.stands_before(Urgent));
    room.leave(normal.ticket);
    assert!(!room.stands_before(Low));
}

#[test]
fn when_the_head_leaves_the_next_is_woken() {
    let mut room = Room::new(Rules::new(10));
    let [first, second] = [Normal, Normal].map(|class| enter(&mut room, class));
    let third = enter(&mut room, Low);
    assert!(first.would_wake(&room.next().unwrap()));
    assert!(room.next().is_none(), "it is awake");
    assert!(room.leave(first.ticket).is_none());
    assert!(second.would_wake(&room.next().unwrap()));
    assert_eq!(second.turn(&mut room), Turn::Yours);
    room.accepted(second.ticket, time::now());
    assert!(third.would_wake(&room.next().unwrap()));
    room.leave(third.ticket);
    assert!(room.next().is_none());
}

#[test]
fn a_turn_remembers_the_newest_waker_and_gives_the_old_one_back() {
    let mut room = Room::new(Rules::new(10));
    let waits = enter(&mut room, Normal);
    let newer = Arc::<Wakes>::default();
    let waker = Waker::from(Arc::clone(&newer));
    let (_, old) = room.turn(waits.ticket, waker);
    assert!(waits.would_wake(&old.unwrap()));
    room.next().unwrap().wake();
    assert_eq!(newer.0.load(Ordering::Relaxed), 1);
    assert_eq!(waits.wakes.0.load(Ordering::Relaxed), 0);
}

#[test]
fn a_full_room_displaces_the_least_important_or_refuses() {
    let mut room = Room::new(Rules::new(2));
    let [low, normal] = [Low, Normal].map(|class| enter(&mut room, class));
    assert!(try_enter(&mut room, Low).is_none());
    let (urgent, displaced) = try_enter(&mut room, Urgent).unwrap();
    displaced.unwrap().wake();
    assert_eq!(low.wakes.0.load(Ordering::Relaxed), 1);
    assert_eq!(low.turn(&mut room), Turn::Lost);
    assert!(room.leave(low.ticket).is_none(), "its place is another's");
    assert_eq!(urgent.turn(&mut room), Turn::Yours);
    assert_eq!(normal.turn(&mut room), Turn::Wait);
}

#[test]
fn a_flat_room_displaces_nobody() {
    let mut room = Room::new(Rules::flat(1));
    let low = enter(&mut room, Low);
    assert!(try_enter(&mut room, Urgent).is_none());
    assert_eq!(low.turn(&mut room), Turn::Yours);
}

#[test]
fn those_passed_over_get_their_turn_in_the_room_too() {
    let mut room = Room::new(Rules { starvation_bound: 2, ..Rules::new(10) });
    let low = enter(&mut room, Low);
    let urgent = [Urgent; 3].map(|class| enter(&mut room, class));
    for accepted in &urgent[..2] {
        assert_eq!(accepted.turn(&mut room), Turn::Yours);
        room.accepted(accepted.ticket, time::now());
    }
    assert_eq!(urgent[2].turn(&mut room), Turn::Wait);
    assert_eq!(low.turn(&mut room), Turn::Yours);
}

#[test]
fn closing_wakes_everybody_and_leaves_nobody() {
    let mut room = Room::new(Rules::new(10));
    let waits = [Low, Normal, High, Urgent].map(|class| enter(&mut room, class));
    room.close().for_each(Waker::wake);
    for one in &waits {
        assert_eq!(one.wakes.0.load(Ordering::Relaxed), 1);
        assert_eq!(one.turn(&mut room), Turn::Lost);
    }
    assert_eq!(room.len(), 0);
    let late = enter(&mut room, Low);
    assert_eq!(late.turn(&mut room), Turn::Yours, "whether it is closed is its owner's to know");
}

#[test]
fn a_passed_over_class_gets_one_turn_and_not_all_of_them() {
    let mut room = Room::new(Rules { starvation_bound: 4, ..Rules::new(100) });
    let lows: Vec<_> = (0..3).filter_map(|_| try_enter(&mut room, Low)).collect();
    let urgents: Vec<_> = (0..20).filter_map(|_| try_enter(&mut room, Urgent)).collect();
    let mut order = Vec::new();
    while room.len() > 0 {
        let mut all = lows.iter().map(|w| (w, 'l')).chain(urgents.iter().map(|w| (w, 'u')));
        let head = all.find(|((waits, _), _)| waits.turn(&mut room) == Turn::Yours);
        let ((waits, _), class) = head.expect("somebody is the head");
        order.push(class);
        room.accepted(waits.ticket, time::now());
    }
    let order: String = order.into_iter().collect();
    assert_eq!(order, "uuuuluuuuluuuuluuuuuuuu");
}

fn enter_of(room: &mut Room, class: Priority, tenant: u64) -> Waits {
    let place = Place { tenant: Tenant(tenant), ..Place::new(class) };
    let (waits, wakes) = enter_at(room, place).unwrap();
    assert!(wakes.iter().all(Option::is_none));
    waits
}

#[test]
fn a_held_tenant_has_no_turn_of_any_class_and_stands_before_nobody() {
    let mut room = Room::new(Rules::new(10));
    let first = enter_of(&mut room, Normal, 1);
    let other = enter_of(&mut room, Low, 2);
    assert_eq!(room.held_until(Tenant(1)), None);
    let until = time::now();
    room.hold(first.ticket, Some(until));
    assert_eq!(room.held_until(Tenant(1)), Some(Some(until)));
    assert!(other.would_wake(&room.next().unwrap()));
    let late = [Low, Urgent].map(|class| enter_of(&mut room, class, 1));
    assert!(late.iter().chain([&first]).all(|one| one.turn(&mut room) == Turn::Wait));
    assert_eq!(other.turn(&mut room), Turn::Yours);
    assert!(room.stands_before(Low) && !room.stands_before(Normal));
    assert!(!room.let_go(late[1].ticket), "not the holder");
    assert!(room.let_go(first.ticket) && !room.let_go(first.ticket));
    assert_eq!(late[1].turn(&mut room), Turn::Yours);
    assert_eq!((room.held_until(Tenant(1)), room.len()), (None, 4));
}

#[test]
fn however_the_holder_leaves_the_next_of_its_tenant_has_the_turn() {
    for how in 0..3 {
        let mut room = Room::new(Rules::new(2));
        let holder = enter_of(&mut room, Low, 1);
        let next = enter_of(&mut room, Normal, 1);
        room.hold(holder.ticket, None);
        assert!(room.next().is_none());
        match how {
            0 => drop(room.leave(holder.ticket)),
            1 => drop(room.accepted(holder.ticket, time::now())),
            _ => {
                let (urgent, wakes) = try_enter(&mut room, Urgent).unwrap();
                assert!(holder.would_wake(&wakes.unwrap()));
                drop(room.leave(urgent.ticket));
            }
        }
        assert_eq!(room.held_until(Tenant(1)), None, "{how}");
        assert!(next.would_wake(&room.next().unwrap()), "{how}");
    }
}

#[test]
fn who_displaces_a_holder_wakes_whose_turn_it_is_then() {
    let mut room = Room::new(Rules { thresholds: Thresholds::flat(1.0), ..Rules::new(2) });
    let holder = enter_of(&mut room, Low, 1);
    let next = enter_of(&mut room, Urgent, 1);
    room.hold(holder.ticket, None);
    let (high, [displaced, woken]) = enter_at(&mut room, Place::new(High)).unwrap();
    assert!(holder.would_wake(&displaced.unwrap()));
    assert!(next.would_wake(&woken.unwrap()));
    assert_eq!(high.turn(&mut room), Turn::Wait);
}

#[test]
fn a_closed_room_holds_nobody() {
    let mut room = Room::new(Rules::new(10));
    let waits = [1, 1, 2].map(|tenant| enter_of(&mut room, Normal, tenant));
    room.hold(waits[0].ticket, None);
    room.hold(waits[2].ticket, None);
    room.close().for_each(Waker::wake);
    assert!(waits.iter().all(|one| one.wakes.0.load(Ordering::Relaxed) == 1));
    assert_eq!(room.held_until(Tenant(1)), None);
    let late = enter_of(&mut room, Normal, 1);
    assert_eq!(late.turn(&mut room), Turn::Yours);
}

#[test]
fn tenants_that_share_a_lane_are_held_together_and_none_is_forgotten() {
    let mut room = Room::new(Rules::flat(5_000));
    // Beyond this many they share; these two by their high bits.
    for tenant in 0..EXACT_TENANTS as u64 {
        let other = enter_of(&mut room, Normal, 2 + tenant);
        room.hold(other.ticket, None);
    }
    let (b, c) = (7 << 40 | 1, 7 << 40 | 3);
    let [first, second] = [b, c].map(|tenant| enter_of(&mut room, Normal, tenant));
    room.hold(first.ticket, None);
    assert_eq!(second.turn(&mut room), Turn::Wait);
    room.leave(first.ticket);
    assert_eq!(second.turn(&mut room), Turn::Yours);
    room.hold(second.ticket, None);
    let third = enter_of(&mut room, Normal, b);
    let fourth = enter_of(&mut room, Normal, c);
    assert_eq!(third.turn(&mut room), Turn::Wait);
    room.hold(third.ticket, None);
    assert!(room.let_go(third.ticket));
    assert_eq!(second.turn(&mut room), Turn::Yours, "too early, but never too late");
    room.accepted(second.ticket, time::now());
    assert_eq!(room.held_until(Tenant(c)), None);
    assert_eq!(third.turn(&mut room), Turn::Yours);
    room.accepted(third.ticket, time::now());
    assert_eq!(fourth.turn(&mut room), Turn::Yours);
}
