//! Several cores beneath one ceiling: whatever order things come in, nobody waits beside a free place.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::ceiling::{Calls, Ceiling, Seat, SeatId};
use super::super::core::{Ask, Closing, Core, Grant, Grants, Held, HostId, Limits, NotOpened};
use super::super::metrics::CloseReason;
use super::table::{key, limits, origin};
use crate::Priority;
use crate::gates::wait_queue::Ticket;
use crate::ground::time::Instant;

const POOLS: usize = 3;
const HOSTS: [&str; 2] = ["a", "b"];

#[derive(Clone, Debug)]
enum Op {
    Ask { host: usize, class: Priority },
    Ahead { host: usize },
    Dialled { nth: usize, well: bool },
    Return(usize),
    Ends(usize),
    Cancel(usize),
}

/// Which pool, and what; or some of what is left to do with no lock held.
fn op() -> impl Strategy<Value = Option<(usize, Op)>> {
    let class = prop::sample::select(Priority::ALL.to_vec());
    let host = 0..HOSTS.len();
    let op = prop_oneof![
        5 => (host.clone(), class).prop_map(|(host, class)| Op::Ask { host, class }),
        1 => host.prop_map(|host| Op::Ahead { host }),
        4 => (0..8_usize, prop::bool::weighted(0.8)).prop_map(|(nth, well)| Op::Dialled { nth, well }),
        3 => (0..8_usize).prop_map(Op::Return),
        3 => (0..8_usize).prop_map(Op::Ends),
        1 => (0..8_usize).prop_map(Op::Cancel),
    ];
    prop_oneof![3 => (0..POOLS, op).prop_map(Some), 2 => Just(None)]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Active,
    Idle,
    Closing,
}

struct Pool {
    core: Core<(), u32>,
    seat: Seat,
    dials: Vec<HostId>,
    connections: Vec<(HostId, u64, State)>,
    line: Vec<(HostId, u32, Ticket)>,
}

impl Pool {
    /// If it has not ended: then its pool is about to learn of it.
    fn is_now(&mut self, id: u64, state: State) {
        if let Some(known) = self.connections.iter_mut().find(|it| it.1 == id) {
            known.2 = state;
        }
    }
}

struct World {
    ceiling: Arc<Ceiling>,
    most: usize,
    limits: Limits,
    pools: Vec<Pool>,
    /// In the order in which it became due; it is done in any.
    left_to_do: Vec<ToDo>,
    now: Instant,
    waiters: u32,
}

#[derive(Clone, Copy, Debug)]
enum ToDo {
    Call(SeatId),
    /// A connection of this pool may have become idle, or a request of its begun to wait.
    MakeRoom,
    /// The socket is closed, and its place given back; its pool has yet to learn of it.
    Closed(usize, HostId, u64),
    /// The same of a dial that failed.
    NotOpened(usize, HostId),
}

impl World {
    fn new(limits: Limits, most: usize) -> Self {
        let ceiling = Arc::new(Ceiling::new(most));
        let pools = (0..POOLS).map(|_| {
            let seat = ceiling.sit();
            let core = Core::new(limits).beneath(Some(seat.clone()));
            let (dials, connections, line) = (Vec::new(), Vec::new(), Vec::new());
            Pool { core, seat, dials, connections, line }
        });
        let (pools, left_to_do) = (pools.collect(), Vec::new());
        Self { ceiling, most, limits, pools, left_to_do, now: origin(), waiters: 0 }
    }

    /// As `Shared::change`.
    fn section<R>(
        &mut self,
        pool: usize,
        decide: impl FnOnce(&mut Core<(), u32>, Instant, &mut Closing<()>, &mut Grants<(), u32>) -> R,
    ) -> R {
        let (mut closing, mut grants, mut calls) = (Closing::new(), Grants::new(), Calls::new());
        let Self { pools, now, left_to_do, .. } = self;
        let own = &mut pools[pool];
        let decided = decide(&mut own.core, *now, &mut closing, &mut grants);
        let mut turns = 0;
        while own.core.says_what_it_wants(&mut calls) {
            own.core.balance(*now, &mut closing, &mut grants);
            turns += 1;
            assert!(turns < 100, "it says the same for ever");
        }
        for (held, _) in closing {
            own.is_now(held.id, State::Closing);
        }
        for (waiter, grant) in grants {
            own.line.retain(|it| it.1 != waiter);
            match grant {
                Grant::Dial(host) => own.dials.push(host),
                Grant::Use(held) => own.is_now(held.id, State::Active),
            }
        }
        left_to_do.extend(calls.into_iter().map(ToDo::Call));
        left_to_do.push(ToDo::MakeRoom);
        decided
    }

    fn act(&mut self, pool: usize, op: Op) {
        match op {
            Op::Ask { host, class } => self.ask(pool, HOSTS[host], class),
            Op::Ahead { host } => {
                let key = key(HOSTS[host]);
                let ask = self.section(pool, |core, _, _, _| core.ask_ahead(&key, 10));
                if let Ask::Dial(host) = ask {
                    self.pools[pool].dials.push(host);
                }
            }
            Op::Dialled { nth, well } => self.dialled(pool, nth, well),
            Op::Return(nth) => {
                let Some(at) = self.nth(pool, nth, |state| state == State::Active) else { return };
                let (host, id, _) = self.pools[pool].connections[at];
                self.pools[pool].connections[at].2 = State::Idle;
                let held = Held { conn: (), host, id, retire_at: None };
                self.section(pool, |core, now, closing, grants| {
                    core.give_back(held, now, closing, grants)
                });
            }
            Op::Ends(nth) => {
                let Some(at) = self.nth(pool, nth, |_| true) else { return };
                let (host, id, _) = self.pools[pool].connections.remove(at);
                self.left_to_do.extend(self.ceiling.release().map(ToDo::Call));
                self.left_to_do.push(ToDo::Closed(pool, host, id));
            }
            Op::Cancel(nth) => {
                let line = &mut self.pools[pool].line;
                if !line.is_empty() {
                    let (host, waiter, ticket) = line.remove(nth % line.len());
                    let left = self.section(pool, |core, _, _, _| core.cancel(host, ticket));
                    assert_eq!(left, Some(waiter));
                }
            }
        }
    }

    fn nth(&self, pool: usize, nth: usize, wanted: impl Fn(State) -> bool) -> Option<usize> {
        let all = self.pools[pool].connections.iter().enumerate();
        let fit: Vec<_> = all.filter(|(_, it)| wanted(it.2)).map(|(at, _)| at).collect();
        fit.get(nth % fit.len().max(1)).copied()
    }

    fn ask(&mut self, pool: usize, host: &str, class: Priority) {
        self.waiters += 1;
        let (waiter, key) = (self.waiters, key(host));
        let asked =
            self.section(pool, |core, now, closing, _| match core.ask(&key, now, closing) {
                Ask::Wait(host) => {
                    let waits = core.wait(host, class, waiter, now, closing).unwrap();
                    Err((host, waiter, waits.ticket))
                }
                other => Ok(other),
            });
        let own = &mut self.pools[pool];
        match asked {
            Ok(Ask::Use(held)) => own.is_now(held.id, State::Active),
            Ok(Ask::Dial(host)) => own.dials.push(host),
            Ok(other) => panic!("{other:?}"),
            // It may have been served in the same section.
            Err(waits) => {
                if own.core.in_all().waiting > own.line.len() {
                    own.line.push(waits);
                }
            }
        }
    }

    fn dialled(&mut self, pool: usize, nth: usize, well: bool) {
        let dials = &mut self.pools[pool].dials;
        if dials.is_empty() {
            return;
        }
        let host = dials.remove(nth % dials.len());
        if well {
            let id = self.section(pool, |core, _, _, _| core.opened(host));
            self.pools[pool].connections.push((host, id, State::Active));
        } else {
            self.left_to_do.extend(self.ceiling.release().map(ToDo::Call));
            self.left_to_do.push(ToDo::NotOpened(pool, host));
        }
    }

    /// The n-th of what is left to do.
    fn go_on(&mut self, nth: usize) {
        if self.left_to_do.is_empty() {
            return;
        }
        match self.left_to_do.remove(nth % self.left_to_do.len()) {
            ToDo::Closed(pool, host, id) => self.section(pool, |core, now, closing, grants| {
                core.closed(host, id, CloseReason::ByPeer, now, closing, grants);
            }),
            ToDo::NotOpened(pool, host) => self.section(pool, |core, now, closing, grants| {
                core.not_opened(host, NotOpened::Failed, now, closing, grants);
            }),
            ToDo::Call(seat) => {
                let pool = self.pools.iter().position(|it| it.seat.id() == seat).unwrap();
                self.section(pool, |core, now, closing, grants| core.balance(now, closing, grants));
            }
            ToDo::MakeRoom => {
                let can = self.pools[0].seat.can_make_room();
                let is_idle = self.pools.iter().any(|it| it.core.in_all().idle > 0);
                assert_eq!(can, is_idle && self.ceiling.is_short());
                while can && self.ceiling.claim() {
                    let idle = |it: &Pool| it.core.oldest_idle_since();
                    let pools = 0..POOLS;
                    let oldest = pools
                        .filter(|it| idle(&self.pools[*it]).is_some())
                        .min_by_key(|it| idle(&self.pools[*it]));
                    if let Some(pool) = oldest {
                        self.section(pool, |core, _, closing, _| core.makes_room(closing));
                        // Those who look meanwhile see the claim.
                        self.left_to_do.pop();
                    }
                    self.ceiling.has_closed();
                    if oldest.is_none() {
                        return;
                    }
                }
            }
        }
    }

    fn open(&self) -> usize {
        self.pools.iter().map(|it| it.core.in_all().open()).sum()
    }

    /// How many could dial by their own pool's rules.
    fn held_back(&self, pool: &Pool) -> usize {
        let room = self.limits.open_overall - pool.core.in_all().open();
        let hosts = pool.core.each_host().into_iter().map(|it| it.counts);
        let could = hosts.map(|it| it.waiting.min(self.limits.open_per_host - it.open()));
        could.sum::<usize>().min(room)
    }

    fn check(&self) {
        let (most, taken) = self.ceiling.look();
        let sockets: usize =
            self.pools.iter().map(|it| it.dials.len() + it.connections.len()).sum();
        assert!(taken <= most && sockets <= taken, "{sockets} {taken} {most}");
        if !self.left_to_do.is_empty() {
            return;
        }
        assert_eq!(taken, self.open(), "nothing is on its way");
        let held_back: usize = self.pools.iter().map(|it| self.held_back(it)).sum();
        assert!(held_back == 0 || taken == self.most, "{held_back} wait beside a free place");
        let all = self.pools.iter().flat_map(|it| &it.connections);
        let count = |state| all.clone().filter(|it| it.2 == state).count();
        let enough = held_back <= count(State::Closing) || count(State::Idle) == 0;
        assert!(enough, "{held_back} wait, {} idle", count(State::Idle));
    }

    /// Every dial succeeds and every connection ends: so everybody is served.
    fn run_to_the_end(&mut self) {
        for _ in 0..2_000 {
            while !self.left_to_do.is_empty() {
                self.go_on(0);
            }
            self.check();
            if self.open() == 0 && self.pools.iter().all(|it| it.line.is_empty()) {
                break;
            }
            for pool in 0..POOLS {
                self.act(pool, Op::Dialled { nth: 0, well: true });
                self.act(pool, Op::Ends(0));
            }
        }
        assert_eq!((self.open(), self.ceiling.look().1), (0, 0));
        assert!(self.pools.iter().all(|it| it.line.is_empty() && it.core.in_all().waiting == 0));
    }
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(1_000))]

    #[test]
    fn nobody_waits_beside_a_free_place_and_nobody_for_ever(
        most in 1..6_usize,
        per_host in 1..4_usize,
        overall in 1..5_usize,
        ops in prop::collection::vec((op(), 0..4_usize), 0..80),
    ) {
        let mut world = World::new(limits(per_host.min(overall), overall), most);
        for (op, nth) in ops {
            match op {
                Some((pool, op)) => world.act(pool, op),
                None => world.go_on(nth),
            }
            world.check();
        }
        world.run_to_the_end();
    }
}

/// A pool that is gone passes on what was on its way to it, and its own places one by one.
#[test]
fn what_was_on_its_way_to_a_pool_that_is_gone_goes_on() {
    let ceiling = Arc::new(Ceiling::new(1));
    let (holder, first, second) = (ceiling.sit(), ceiling.sit(), ceiling.sit());
    let wants = |class| super::super::ceiling::Wants { places: 1, class: Some(class), leaving: 0 };
    let mut calls = Calls::new();
    assert!(holder.takes_free() && !first.takes_free());
    assert!(!second.says(wants(Priority::Low), &mut calls));
    assert!(!first.says(wants(Priority::High), &mut calls));
    ceiling.leave(holder.id());
    assert_eq!(ceiling.look(), (1, 1), "it is freed when its socket is closed");
    assert_eq!(ceiling.release(), Some(first.id()), "the higher class");
    assert!(!holder.takes() && !second.takes() && !second.takes_free());
    assert_eq!(ceiling.leave(first.id()), [second.id()]);
    assert!(second.takes());
    assert_eq!((ceiling.release(), calls.len(), ceiling.look()), (None, 0, (1, 0)));
}

/// Of the same class those that have waited longest since they were served.
#[test]
fn pools_of_one_class_take_turns() {
    let ceiling = Arc::new(Ceiling::new(1));
    let seats: Vec<_> = (0..3).map(|_| ceiling.sit()).collect();
    let wants =
        super::super::ceiling::Wants { places: 5, class: Some(Priority::Normal), leaving: 0 };
    assert!(seats[0].takes_free());
    for seat in &seats {
        assert!(!seat.says(wants, &mut Calls::new()));
    }
    let turns = (0..6).map(|_| {
        let next = ceiling.release().unwrap();
        let seat = seats.iter().position(|it| it.id() == next).unwrap();
        assert!(seats[seat].takes());
        seats[seat].says(wants, &mut Calls::new());
        seat
    });
    assert_eq!(turns.collect::<Vec<_>>(), [1, 2, 0, 1, 2, 0]);
    seats[1].yields();
    assert_eq!(ceiling.release(), Some(seats[2].id()), "not to the one that gave it up");
}
