//! The core against a model that is too slow and too simple to be wrong.

use std::time::Duration;

use proptest::prelude::*;

use super::super::core::{Ask, Closing, Core, Grant, Grants, Held, HostId, Limits, NotOpened};
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
        /// Its last connection was dead.
        fresh: bool,
    },
    /// The n-th dial succeeds, or fails.
    Dialled {
        nth: usize,
        well: bool,
    },
    /// The n-th connection on loan comes back.
    Return(usize),
    /// The n-th connection on loan is about to come back.
    Settles(usize),
    /// The n-th that was is not.
    Lingers(usize),
    /// The n-th that waits does not count on one any more.
    LosesPatience(usize),
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
        4 => (0..HOSTS.len(), class, prop::bool::weighted(0.1))
            .prop_map(|(host, class, fresh)| Op::Ask { host, class, fresh }),
        3 => (0..8_usize, prop::bool::weighted(0.8)).prop_map(|(nth, well)| Op::Dialled { nth, well }),
        4 => (0..8_usize).prop_map(Op::Return),
        3 => (0..8_usize).prop_map(Op::Settles),
        1 => (0..8_usize).prop_map(Op::Lingers),
        1 => (0..8_usize).prop_map(Op::LosesPatience),
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
    promise: Option<u64>,
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
    /// Host and number, in the order in which they began to settle.
    settling: Vec<(usize, u64)>,
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
            settling: Vec::new(),
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

    fn settling_of(&self, host: usize) -> usize {
        self.settling.iter().filter(|(of, _)| *of == host).count()
    }

    /// Those who wait with a promise.
    fn patient(&self, host: usize) -> usize {
        self.line.iter().filter(|it| it.host == host && it.promise.is_some()).count()
    }

    /// Those to whom no connection is promised.
    fn unpromised(&self, host: usize) -> usize {
        let waiting = self.line.iter().filter(|it| it.host == host).count();
        waiting - self.patient(host).min(self.settling_of(host))
    }

    fn may_be_promised_another(&self, host: usize) -> bool {
        self.settling_of(host) > self.patient(host) && self.unpromised(host) == 0
    }

    fn leaving(&self, wanted: impl Fn(&Connection) -> bool) -> usize {
        self.connections.iter().filter(|it| it.state == State::Closing && wanted(it)).count()
    }

    /// How many places are needed beyond those that are coming.
    fn missing(&self, but: Option<usize>) -> usize {
        if self.connections.len() < self.limits.open_overall {
            return 0;
        }
        let could_dial =
            |host: usize| self.unpromised(host).min(self.limits.open_per_host - self.open_of(host));
        let wanted: usize = (0..HOSTS.len()).filter(|it| Some(*it) != but).map(could_dial).sum();
        wanted.saturating_sub(self.leaving(|_| true))
    }

    /// Who should get a freed place.
    fn next_dialler(&self) -> Option<Waiter> {
        let slots = self.slots();
        let mut best: Option<Waiter> = None;
        for step in 0..slots.len() {
            let host = slots[(self.turn + step) % slots.len()];
            if self.open_of(host) >= self.limits.open_per_host || self.unpromised(host) == 0 {
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

    fn close(&mut self, id: u64) {
        self.connections.iter_mut().find(|it| it.id == id).unwrap().state = State::Closing;
    }

    fn oldest_idle(&self, of: Option<usize>) -> Option<u64> {
        let idle = self.idle().filter(|(_, it)| of.is_none_or(|host| it.host == host));
        idle.min_by_key(|(order, _)| *order).map(|(_, it)| it.id)
    }

    /// At its own cap: who must not use an idle connection needs its place.
    fn replaced(&mut self, host: usize) -> Vec<(u64, CloseReason)> {
        let mut closed = Vec::new();
        while self.open_of(host) >= self.limits.open_per_host
            && self.unpromised(host) > self.leaving(|it| it.host == host)
            && let Some(id) = self.oldest_idle(Some(host))
        {
            self.close(id);
            closed.push((id, CloseReason::Replaced));
        }
        closed
    }

    /// The core closed first these, then what stood in the way of somebody; and who may dial now,
    /// dials.
    fn expect(
        &mut self,
        closing: &Closing<()>,
        mut expected: Vec<(u64, CloseReason)>,
        grants: &[(u32, Grant<()>)],
    ) {
        let mut diallers = Vec::new();
        while self.connections.len() < self.limits.open_overall
            && let Some(waiter) = self.next_dialler()
        {
            self.line.retain(|it| it.number != waiter.number);
            self.turn = self.slot(waiter.host) + 1;
            self.dialling(waiter.host);
            expected.extend(self.replaced(waiter.host));
            diallers.push(waiter.number);
        }
        while self.missing(None) > 0
            && let Some(id) = self.oldest_idle(None)
        {
            self.close(id);
            expected.push((id, CloseReason::Displaced));
        }
        let closing: Vec<_> = closing.iter().map(|(held, reason)| (held.id, *reason)).collect();
        assert_eq!(closing, expected);
        let dial = |(waiter, grant): &(u32, Grant<()>)| {
            assert!(matches!(grant, Grant::Dial(_)));
            *waiter
        };
        assert_eq!(grants.iter().map(dial).collect::<Vec<_>>(), diallers);
    }

    fn too_long_idle(&self, it: &Connection) -> Option<CloseReason> {
        let State::Idle { since, .. } = it.state else { return None };
        if it.retire_at <= self.now {
            Some(CloseReason::MaxAge)
        } else {
            (self.now - since >= self.limits.idle_timeout).then_some(CloseReason::IdleTimeout)
        }
    }

    fn ask(&mut self, host: usize, class: Priority, fresh: bool) {
        let mut own: Vec<_> = self.idle().filter(|(_, it)| it.host == host && !fresh).collect();
        own.sort_by_key(|(order, _)| std::cmp::Reverse(*order));
        let usable = own.iter().position(|(_, it)| self.too_long_idle(it).is_none());
        let dead = &own[..usable.unwrap_or(own.len())];
        let dead: Vec<_> =
            dead.iter().map(|(_, it)| (it.id, self.too_long_idle(it).unwrap())).collect();
        let usable = usable.map(|at| own[at].1.id);
        let is_promised = !fresh && self.may_be_promised_another(host);
        let has_place = self.connections.len() < self.limits.open_overall
            && self.open_of(host) < self.limits.open_per_host;

        let (mut closing, name) = (Closing::new(), key(HOSTS[host]));
        let asked = match fresh {
            true => self.core.ask_fresh(&name),
            false => self.core.ask(&name, self.now, &mut closing),
        };
        dead.iter().for_each(|(id, _)| self.close(*id));
        let closing: Vec<_> = closing.iter().map(|(held, reason)| (held.id, *reason)).collect();
        assert_eq!(closing, dead);
        match asked {
            Ask::Use(held) => {
                assert_eq!(Some(held.id), usable, "the newest that is fit");
                self.connections.iter_mut().find(|it| it.id == held.id).unwrap().state =
                    State::Active;
            }
            Ask::Dial(id) => {
                let nobody_barges = self.unpromised(host) == 0;
                assert!(usable.is_none() && !is_promised && has_place && nobody_barges);
                self.ids[host] = Some(id);
                self.dialling(host);
            }
            Ask::Wait(id) => {
                assert!(usable.is_none() && (is_promised || !has_place));
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
        let mut closing = Closing::new();
        self.waiters += 1;
        let is_promised = self.may_be_promised_another(host);
        let waited = self.core.wait(id, class, self.waiters, self.now, &mut closing).unwrap();
        assert_eq!(waited.evicted, None, "the line is long enough");
        let (ticket, promise) = (waited.ticket, waited.promise);
        self.line.push(Waiter { host, class, number: self.waiters, ticket, promise });
        assert_eq!(promise.is_some(), is_promised);
        let replaced = self.replaced(host);
        self.expect(&closing, replaced, &[]);
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
            let (mut closing, mut grants) = (Closing::new(), Grants::new());
            let (id, why) = (self.ids[host].unwrap(), NotOpened::Failed);
            self.core.not_opened(id, why, self.now, &mut closing, &mut grants);
            self.expect(&closing, Vec::new(), &grants);
        }
    }

    fn nth(&self, nth: usize, wanted: impl Fn(&Connection) -> bool) -> Option<Connection> {
        let fit: Vec<_> = self.connections.iter().filter(|it| wanted(it)).collect();
        fit.get(nth % fit.len().max(1)).map(|it| **it)
    }

    fn is_settling(&self, id: u64) -> bool {
        self.settling.iter().any(|it| it.1 == id)
    }

    fn settles(&mut self, nth: usize) {
        let idle_hands = |it: &Connection| it.state == State::Active && !self.is_settling(it.id);
        let Some(it) = self.nth(nth, idle_hands) else { return };
        self.settling.push((it.host, it.id));
        self.core.settles(self.ids[it.host].unwrap(), it.id);
    }

    fn lingers(&mut self, nth: usize) {
        if self.settling.is_empty() {
            return;
        }
        let (host, id) = self.settling.remove(nth % self.settling.len());
        let (mut closing, mut grants) = (Closing::new(), Grants::new());
        self.core.lingers(self.ids[host].unwrap(), id, self.now, &mut closing, &mut grants);
        let replaced = self.replaced(host);
        self.expect(&closing, replaced, &grants);
    }

    fn loses_patience(&mut self, nth: usize) {
        let mut patient: Vec<_> = self.line.iter_mut().filter(|it| it.promise.is_some()).collect();
        let nth = nth % patient.len().max(1);
        let Some(waiter) = patient.get_mut(nth) else { return };
        let (host, promise) = (waiter.host, waiter.promise.take().unwrap());
        // Whoever of them is not the one that lost its patience goes on counting on one.
        while self.settling_of(host) > self.patient(host) {
            let oldest = self.settling.iter().position(|it| it.0 == host).unwrap();
            self.settling.remove(oldest);
        }
        let (mut closing, mut grants) = (Closing::new(), Grants::new());
        let id = self.ids[host].unwrap();
        self.core.lose_patience(id, promise, self.now, &mut closing, &mut grants);
        let replaced = self.replaced(host);
        self.expect(&closing, replaced, &grants);
    }

    fn give_back(&mut self, nth: usize) {
        let Some(it) = self.nth(nth, |it| it.state == State::Active) else { return };
        self.settling.retain(|settling| settling.1 != it.id);
        let own = self.head_of(it.host);
        let blocks = self.missing(Some(it.host)) > 0;
        let host = self.ids[it.host].unwrap();
        let held = Held { conn: (), host, id: it.id, retire_at: Some(it.retire_at) };
        let (mut closing, mut grants) = (Closing::new(), Grants::new());
        self.core.give_back(held, self.now, &mut closing, &mut grants);
        let mut expected = Vec::new();
        if it.retire_at <= self.now {
            expected.push((it.id, CloseReason::MaxAge));
        } else if let Some(own) = own {
            let (waiter, grant) = grants.remove(0);
            assert!(matches!(grant, Grant::Use(held) if held.id == it.id));
            assert_eq!(waiter, own.number);
            self.line.retain(|it| it.number != own.number);
        } else if blocks {
            expected.push((it.id, CloseReason::Displaced));
            self.turn = self.slot(it.host) + 1;
        } else {
            let of_host = self.idle().filter(|(_, idle)| idle.host == it.host);
            let surplus = if of_host.count() >= self.limits.idle_per_host {
                self.oldest_idle(Some(it.host))
            } else if self.idle().count() >= self.limits.idle_overall {
                self.oldest_idle(None)
            } else {
                None
            };
            expected.extend(surplus.map(|id| (id, CloseReason::Surplus)));
            self.order += 1;
            let state = State::Idle { since: self.now, order: self.order };
            self.connections.iter_mut().find(|found| found.id == it.id).unwrap().state = state;
        }
        expected.iter().for_each(|(id, _)| self.close(*id));
        self.expect(&closing, expected, &grants);
    }

    fn ends(&mut self, nth: usize) {
        let Some(it) = self.nth(nth, |it| it.state != State::Dialling) else { return };
        self.connections.retain(|other| other.id != it.id);
        self.settling.retain(|settling| settling.1 != it.id);
        self.closed += 1;
        let host = self.ids[it.host].unwrap();
        let (mut closing, mut grants) = (Closing::new(), Grants::new());
        let (why, now) = (CloseReason::ByPeer, self.now);
        let idle = self.core.closed(host, it.id, why, now, &mut closing, &mut grants);
        assert_eq!(idle.is_some(), matches!(it.state, State::Idle { .. }));
        self.expect(&closing, Vec::new(), &grants);
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
            if self.unpromised(host) > 0 {
                assert!(
                    open == self.limits.open_per_host || all.open() == self.limits.open_overall
                );
            }
            let of_host = |it: &Connection| it.host == host;
            if open == self.limits.open_per_host && self.idle().any(|(_, it)| of_host(it)) {
                assert!(self.unpromised(host) <= self.leaving(of_host));
            }
        }
        assert!(self.missing(None) == 0 || self.idle().next().is_none(), "an idle one blocks");
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
                Op::Ask { host, class, fresh } => world.ask(host, class, fresh),
                Op::Dialled { nth, well } => world.dialled(nth, well),
                Op::Return(nth) => world.give_back(nth),
                Op::Settles(nth) => world.settles(nth),
                Op::Lingers(nth) => world.lingers(nth),
                Op::LosesPatience(nth) => world.loses_patience(nth),
                Op::Ends(nth) => world.ends(nth),
                Op::Cancel(nth) => world.cancel(nth),
                Op::Pass { seconds } => world.now += Duration::from_secs(seconds),
            }
            world.check();
            grants += waiting.saturating_sub(world.line.len());
            if grants >= 32 {
                break;
            }
        }
    }
}
