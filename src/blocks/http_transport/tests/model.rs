//! The core against a model that is too slow and too simple to be wrong.

use std::time::Duration;

use proptest::prelude::*;

use super::super::core::{Ask, Closing, Core, Grant, Grants, Held, HostId, Limits};
use super::super::metrics::CloseReason;
use super::table::{key, limits, origin};
use crate::Priority;
use crate::gates::wait_queue::Ticket;
use crate::ground::time::Instant;

const HOSTS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Op {
    Ask {
        host: usize,
        class: Priority,
    },
    /// The n-th dial succeeds, or fails.
    Dialled {
        nth: usize,
        well: bool,
    },
    /// The n-th connection on loan comes back.
    Return(usize),
    /// The n-th connection ends, wherever it is.
    Ends(usize),
    Cancel(usize),
    Pass {
        seconds: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let class = prop::sample::select(Priority::ALL.to_vec());
    prop_oneof![
        4 => (0..HOSTS.len(), class).prop_map(|(host, class)| Op::Ask { host, class }),
        3 => (0..8_usize, prop::bool::weighted(0.8)).prop_map(|(nth, well)| Op::Dialled { nth, well }),
        4 => (0..8_usize).prop_map(Op::Return),
        2 => (0..8_usize).prop_map(Op::Ends),
        1 => (0..8_usize).prop_map(Op::Cancel),
        1 => (1..100_u64).prop_map(|seconds| Op::Pass { seconds }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Dialling,
    /// On loan.
    Active,
    Idle {
        since: Instant,
        order: u64,
    },
    /// Taken out of the pool; its socket is not closed yet.
    Closing,
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    host: usize,
    id: u64,
    state: State,
    retire_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    host: usize,
    class: Priority,
    number: u32,
    ticket: Ticket,
}

/// The core, and everything anybody could know about it from outside.
struct World {
    core: Core<(), u32>,
    limits: Limits,
    now: Instant,
    ids: [Option<HostId>; HOSTS.len()],
    connections: Vec<Connection>,
    /// In the order in which they came.
    line: Vec<Waiter>,
    waiters: u32,
    order: u64,
    turn: usize,
    opened: u64,
    closed: u64,
}

impl World {
    fn new(limits: Limits) -> Self {
        Self {
            core: Core::new(limits),
            limits,
            now: origin(),
            ids: [None; HOSTS.len()],
            connections: Vec::new(),
            line: Vec::new(),
            waiters: 0,
            order: 0,
            turn: 0,
            opened: 0,
            closed: 0,
        }
    }

    fn open_of(&self, host: usize) -> usize {
        self.connections.iter().filter(|it| it.host == host).count()
    }

    /// Hosts are in the core's table in the order in which they were first asked for.
    fn slot(&self, host: usize) -> usize {
        self.slots().iter().position(|slot| *slot == host).unwrap()
    }

    fn slots(&self) -> Vec<usize> {
        let names: Vec<_> = self.core.each_host().into_iter().map(|host| host.host).collect();
        let number = |name: &String| HOSTS.iter().position(|it| format!("http://{it}") == *name);
        names.iter().map(|name| number(name).unwrap()).collect()
    }

    fn head_of(&self, host: usize) -> Option<Waiter> {
        let own = self.line.iter().filter(|it| it.host == host);
        // The first of the highest class.
        own.copied().reduce(|best, it| if it.class > best.class { it } else { best })
    }

    /// Who should get a freed place.
    fn next_dialler(&self, but: Option<usize>) -> Option<Waiter> {
        let slots = self.slots();
        let mut best: Option<Waiter> = None;
        for step in 0..slots.len() {
            let host = slots[(self.turn + step) % slots.len()];
            if Some(host) == but || self.open_of(host) >= self.limits.open_per_host {
                continue;
            }
            if let Some(head) = self.head_of(host)
                && best.is_none_or(|it| head.class > it.class)
            {
                best = Some(head);
            }
        }
        best
    }

    fn idle(&self) -> impl Iterator<Item = (u64, &Connection)> {
        self.connections.iter().filter_map(|it| match it.state {
            State::Idle { order, .. } => Some((order, it)),
            _ => None,
        })
    }

    /// The connections that the core took out of the pool are these.
    fn expect_closing(&mut self, closing: Closing<()>, expected: &[(u64, CloseReason)]) {
        let closing: Vec<_> = closing.iter().map(|(held, reason)| (held.id, *reason)).collect();
        assert_eq!(closing, expected);
        for (id, _) in expected {
            self.connections.iter_mut().find(|it| it.id == *id).unwrap().state = State::Closing;
        }
    }

    fn too_long_idle(&self, it: &Connection) -> Option<CloseReason> {
        let State::Idle { since, .. } = it.state else { return None };
        if it.retire_at <= self.now {
            Some(CloseReason::MaxAge)
        } else {
            (self.now - since >= self.limits.idle_timeout).then_some(CloseReason::IdleTimeout)
        }
    }

    fn ask(&mut self, host: usize, class: Priority) {
        let mut own: Vec<_> = self.idle().filter(|(_, it)| it.host == host).collect();
        own.sort_by_key(|(order, _)| std::cmp::Reverse(*order));
        let usable = own.iter().position(|(_, it)| self.too_long_idle(it).is_none());
        let dead = &own[..usable.unwrap_or(own.len())];
        let dead: Vec<_> =
            dead.iter().map(|(_, it)| (it.id, self.too_long_idle(it).unwrap())).collect();
        let usable = usable.map(|at| own[at].1.id);
        let has_place = self.connections.len() < self.limits.open_overall
            && self.open_of(host) < self.limits.open_per_host;

        let mut closing = Closing::new();
        let asked = self.core.ask(&key(HOSTS[host]), self.now, &mut closing);
        self.expect_closing(closing, &dead);
        match asked {
            Ask::Use(held) => {
                assert_eq!(Some(held.id), usable, "the newest that is fit");
                self.connections.iter_mut().find(|it| it.id == held.id).unwrap().state =
                    State::Active;
            }
            Ask::Dial(id) => {
                assert!(usable.is_none() && has_place && self.head_of(host).is_none());
                self.ids[host] = Some(id);
                self.dialling(host);
            }
            Ask::Wait(id) => {
                assert!(usable.is_none() && !has_place);
                self.ids[host] = Some(id);
                self.wait(host, id, class);
            }
            Ask::Stream(..) | Ask::TooManyHosts => panic!("{asked:?}"),
        }
    }

    fn dialling(&mut self, host: usize) {
        let (state, retire_at) = (State::Dialling, self.now + Duration::from_secs(300));
        self.connections.push(Connection { host, id: 0, state, retire_at });
    }

    fn wait(&mut self, host: usize, id: HostId, class: Priority) {
        let oldest = if self.open_of(host) >= self.limits.open_per_host {
            None
        } else {
            self.idle().min_by_key(|(order, _)| *order).map(|(_, it)| it.id)
        };
        let mut closing = Closing::new();
        self.waiters += 1;
        let waited = self.core.wait(id, class, self.waiters, self.now, &mut closing).unwrap();
        assert_eq!(waited.evicted, None, "the line is long enough");
        self.line.push(Waiter { host, class, number: self.waiters, ticket: waited.ticket });
        let expected: Vec<_> = oldest.map(|id| (id, CloseReason::Displaced)).into_iter().collect();
        self.expect_closing(closing, &expected);
    }

    fn dialled(&mut self, nth: usize, well: bool) {
        let dials = self.connections.iter().enumerate();
        let dials: Vec<_> = dials.filter(|(_, it)| it.state == State::Dialling).collect();
        let Some((at, it)) = dials.get(nth % dials.len().max(1)) else { return };
        let (at, host) = (*at, it.host);
        if well {
            let id = self.core.opened(self.ids[host].unwrap());
            self.opened += 1;
            self.connections[at].id = id;
            self.connections[at].state = State::Active;
        } else {
            self.connections.remove(at);
            let mut grants = Grants::new();
            self.core.not_opened(self.ids[host].unwrap(), true, self.now, &mut grants);
            self.expect_dialler(&grants);
        }
    }

    /// A place became free: it went to whom it should.
    fn expect_dialler(&mut self, grants: &[(u32, Grant<()>)]) {
        let expected = self.next_dialler(None);
        assert!(grants.iter().all(|(_, grant)| matches!(grant, Grant::Dial(_))));
        let granted: Vec<_> = grants.iter().map(|(waiter, _)| *waiter).collect();
        assert_eq!(granted, Vec::from_iter(expected.map(|it| it.number)));
        let Some(waiter) = expected else { return };
        self.line.retain(|it| it.number != waiter.number);
        self.turn = self.slot(waiter.host) + 1;
        self.dialling(waiter.host);
    }

    fn give_back(&mut self, nth: usize) {
        let active: Vec<_> =
            self.connections.iter().filter(|it| it.state == State::Active).copied().collect();
        let Some(it) = active.get(nth % active.len().max(1)) else { return };
        let (own, full) =
            (self.head_of(it.host), self.connections.len() >= self.limits.open_overall);
        let blocked = full && self.next_dialler(Some(it.host)).is_some();
        let host = self.ids[it.host].unwrap();
        let held = Held { conn: (), host, id: it.id, retire_at: Some(it.retire_at) };
        let mut closing = Closing::new();
        let next = self.core.give_back(held, self.now, &mut closing);
        let mut expected = Vec::new();
        if it.retire_at <= self.now {
            expected.push((it.id, CloseReason::MaxAge));
        } else if let Some(own) = own {
            assert_eq!(next.as_ref().map(|(waiter, _)| *waiter), Some(own.number));
            self.line.retain(|it| it.number != own.number);
            return self.expect_closing(closing, &[]);
        } else if blocked {
            expected.push((it.id, CloseReason::Displaced));
            self.turn = self.slot(it.host) + 1;
        } else {
            let of_host = self.idle().filter(|(_, idle)| idle.host == it.host);
            let surplus = if of_host.count() >= self.limits.idle_per_host {
                self.idle().filter(|(_, idle)| idle.host == it.host).min_by_key(|(order, _)| *order)
            } else if self.idle().count() >= self.limits.idle_overall {
                self.idle().min_by_key(|(order, _)| *order)
            } else {
                None
            };
            expected.extend(surplus.map(|(_, idle)| (idle.id, CloseReason::Surplus)));
            self.order += 1;
            let state = State::Idle { since: self.now, order: self.order };
            self.connections.iter_mut().find(|found| found.id == it.id).unwrap().state = state;
        }
        assert!(next.is_none());
        self.expect_closing(closing, &expected);
    }

    fn ends(&mut self, nth: usize) {
        let live = self.connections.iter().filter(|it| it.state != State::Dialling);
        let live: Vec<_> = live.copied().collect();
        let Some(it) = live.get(nth % live.len().max(1)) else { return };
        self.connections.retain(|other| other.id != it.id);
        self.closed += 1;
        let host = self.ids[it.host].unwrap();
        let mut grants = Grants::new();
        let idle = self.core.closed(host, it.id, CloseReason::ByPeer, self.now, &mut grants);
        assert_eq!(idle.is_some(), matches!(it.state, State::Idle { .. }));
        self.expect_dialler(&grants);
    }

    fn cancel(&mut self, nth: usize) {
        if self.line.is_empty() {
            return;
        }
        let waiter = self.line.remove(nth % self.line.len());
        let host = self.ids[waiter.host].unwrap();
        assert_eq!(self.core.cancel(host, waiter.ticket), Some(waiter.number));
        assert_eq!(self.core.cancel(host, waiter.ticket), None, "once");
    }

    /// Invariants 2 and 3, and that the core's counts are what was seen.
    fn check(&self) {
        let all = self.core.in_all();
        let count = |wanted: fn(&State) -> bool| {
            self.connections.iter().filter(|it| wanted(&it.state)).count()
        };
        assert_eq!(all.dialling, count(|it| *it == State::Dialling));
        assert_eq!(all.idle, count(|it| matches!(it, State::Idle { .. })));
        assert_eq!(all.active, count(|it| matches!(it, State::Active | State::Closing)));
        assert_eq!((all.opened, all.closed.total()), (self.opened, self.closed));
        assert_eq!(all.waiting, self.line.len());
        assert!(all.open() <= self.limits.open_overall);
        for host in 0..HOSTS.len() {
            let open = self.open_of(host);
            assert!(open <= self.limits.open_per_host);
            if self.head_of(host).is_some() {
                assert!(
                    open == self.limits.open_per_host || all.open() == self.limits.open_overall
                );
                assert!(self.idle().all(|(_, it)| it.host != host));
            }
        }
    }
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(2_000))]

    /// Short enough that no starvation turn comes up: those have tests of their own.
    #[test]
    fn the_core_does_what_the_model_says(
        per_host in 1..4_usize,
        overall in 1..6_usize,
        idle in (1..4_usize, 1..4_usize),
        ops in prop::collection::vec(op(), 0..90),
    ) {
        let limits = Limits {
            idle_per_host: idle.0,
            idle_overall: idle.1,
            ..limits(per_host.min(overall), overall)
        };
        let mut world = World::new(limits);
        let mut grants = 0;
        for op in ops {
            let waiting = world.line.len();
            match op {
                Op::Ask { host, class } => world.ask(host, class),
                Op::Dialled { nth, well } => world.dialled(nth, well),
                Op::Return(nth) => world.give_back(nth),
                Op::Ends(nth) => world.ends(nth),
                Op::Cancel(nth) => world.cancel(nth),
                Op::Pass { seconds } => world.now += Duration::from_secs(seconds),
            }
            world.check();
            grants += usize::from(world.line.len() < waiting);
            if grants >= 32 {
                break;
            }
        }
    }
}
