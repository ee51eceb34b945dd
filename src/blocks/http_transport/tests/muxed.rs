//! Shared connections: case by case, and whatever happens against what must always hold.

use std::time::Duration;

use proptest::prelude::*;

use super::super::core::{
    Ask, Closing, Core, First, Grant, Grants, Held, HostId, Limits, NotOpened, Speaks,
};
use super::super::metrics::CloseReason;
use super::table::{key, limits, origin};
use crate::Priority;
use crate::ground::time::Instant;

const HOSTS: [&str; 2] = ["a", "b"];

#[derive(Clone, Copy, Debug)]
struct Connection {
    host: usize,
    id: u64,
    most: usize,
    /// Requests that hold a stream of it.
    streams: usize,
    /// Neither told to drain nor ended.
    in_pool: bool,
    /// It was taken out of the pool to be closed at once.
    leaves: bool,
}

/// The core, and everything anybody could know about it from outside.
struct World {
    core: Core<(), u32>,
    limits: Limits,
    now: Instant,
    ids: [Option<HostId>; HOSTS.len()],
    /// Dials under way; whether a request of its own waits for it.
    dials: Vec<(usize, First)>,
    connections: Vec<Connection>,
    /// Who waits, in the order in which they came.
    line: Vec<(usize, Priority, u32)>,
    waiters: u32,
    /// Hosts where a dial failed while there was no connection: all who may dial.
    all_dial: [bool; HOSTS.len()],
    /// Dials ahead of need that failed in a row, and until when none is begun.
    failures: [u32; HOSTS.len()],
    pause_until: [Option<Instant>; HOSTS.len()],
    /// A head must not wait for more than this while others of its host are served.
    served: Vec<u32>,
}

impl World {
    fn new(limits: Limits) -> Self {
        let limits = Limits { in_the_clear: Speaks::Muxed, ..limits };
        Self {
            core: Core::new(limits),
            limits,
            now: origin(),
            ids: [None; HOSTS.len()],
            dials: Vec::new(),
            connections: Vec::new(),
            line: Vec::new(),
            waiters: 0,
            all_dial: [false; HOSTS.len()],
            failures: [0; HOSTS.len()],
            pause_until: [None; HOSTS.len()],
            served: Vec::new(),
        }
    }

    fn of(&mut self, id: u64) -> &mut Connection {
        self.connections.iter_mut().find(|it| it.id == id).unwrap()
    }

    fn leaving(&mut self, closing: Closing<()>) {
        for (held, _) in closing {
            let it = self.of(held.id);
            assert!(it.in_pool, "it leaves once");
            it.in_pool = false;
            it.leaves = it.streams == 0;
        }
    }

    /// How many could dial if there were places, those left out whose place is coming.
    fn missing(&self) -> usize {
        if self.connections.len() + self.dials.len() < self.limits.open_overall {
            return 0;
        }
        let could_dial = |host: usize| {
            let room = self.limits.open_per_host - self.open_of(host);
            let room = match (self.all_dial[host], self.dials.iter().any(|it| it.0 == host)) {
                (true, _) => room,
                (false, true) => 0,
                (false, false) => room.min(1),
            };
            room.min(self.line.iter().filter(|it| it.0 == host).count())
        };
        let wanted: usize = (0..HOSTS.len()).map(could_dial).sum();
        wanted.saturating_sub(self.connections.iter().filter(|it| it.leaves).count())
    }

    /// A stream of `held` is given out.
    fn lent(&mut self, held: &Held<()>) {
        let it = self.of(held.id);
        assert!(it.in_pool, "one that drains takes no request");
        it.streams += 1;
        assert!(it.streams <= it.most, "no more than its peer allows");
    }

    fn granted(&mut self, grants: Grants<(), u32>) {
        for (waiter, grant) in grants {
            let at = self.line.iter().position(|it| it.2 == waiter).unwrap();
            let (host, class, _) = self.line.remove(at);
            let before = self.line[..at].iter().any(|it| it.0 == host && it.1 >= class);
            let above = self.line.iter().any(|it| it.0 == host && it.1 > class);
            assert!(!before && !above, "the first of the highest class");
            self.served.push(waiter);
            match grant {
                Grant::Use(held) => self.lent(&held),
                Grant::Dial(_) => self.dials.push((host, First::Dialler)),
            }
        }
    }

    fn ask(&mut self, host: usize, class: Priority) {
        let mut closing = Closing::new();
        let asked = self.core.ask(&key(HOSTS[host]), self.now, &mut closing);
        self.leaving(closing);
        match asked {
            Ask::Stream(held, more) => {
                self.lent(&held);
                self.ids[host] = Some(held.host);
                let of_host = || self.connections.iter().filter(|it| it.host == host && it.in_pool);
                let most: usize = of_host().map(|it| it.most).sum();
                let used: usize = of_host().map(|it| it.streams.min(it.most)).sum();
                let pauses = self.pause_until[host].is_some_and(|at| self.now < at);
                let scarce = most - used <= most / 8 && self.may_dial(host) && !pauses;
                assert_eq!(more.is_some(), scarce, "before streams run out, not earlier");
                if more.is_some() {
                    self.dials.push((host, First::Line));
                }
            }
            Ask::Dial(id) => {
                self.ids[host] = Some(id);
                assert!(self.may_dial(host), "one dial at a time, and inside the caps");
                self.dials.push((host, First::Dialler));
            }
            Ask::Wait(id) => {
                self.ids[host] = Some(id);
                let (mut closing, waiter) = (Closing::new(), self.waiters + 1);
                self.waiters = waiter;
                self.core.wait(id, class, waiter, self.now, &mut closing).unwrap();
                self.line.push((host, class, waiter));
                self.leaving(closing);
            }
            Ask::Use(_) | Ask::TooManyHosts => panic!("{asked:?}"),
        }
    }

    fn open_of(&self, host: usize) -> usize {
        let dials = self.dials.iter().filter(|it| it.0 == host).count();
        dials + self.connections.iter().filter(|it| it.host == host).count()
    }

    fn may_dial(&self, host: usize) -> bool {
        (self.all_dial[host] || self.dials.iter().all(|it| it.0 != host))
            && self.open_of(host) < self.limits.open_per_host
            && self.connections.len() + self.dials.len() < self.limits.open_overall
    }

    /// The n-th dial ends: with a connection of so many streams, or with none.
    fn dialled(&mut self, nth: usize, most: Option<usize>) {
        if self.dials.is_empty() {
            return;
        }
        let (host, first) = self.dials.remove(nth % self.dials.len());
        let id = self.ids[host].unwrap();
        let (mut closing, mut grants) = (Closing::new(), Grants::new());
        let Some(most) = most else {
            let has_failed = nth.is_multiple_of(2);
            let is_alone = !self.connections.iter().any(|it| it.host == host && it.in_pool);
            self.all_dial[host] |= (has_failed || first == First::Line) && is_alone;
            let why = match first {
                First::Line => NotOpened::FailedAhead,
                First::Dialler if has_failed => NotOpened::Failed,
                First::Dialler => NotOpened::GivenUp,
            };
            if first == First::Line {
                let pause = Duration::from_millis(100 << self.failures[host].min(9));
                self.failures[host] += 1;
                self.pause_until[host] = Some(self.now + pause.min(Duration::from_secs(30)));
            }
            self.core.not_opened(id, why, self.now, &mut closing, &mut grants);
            self.granted(grants);
            return self.leaving(closing);
        };
        self.all_dial[host] = false;
        (self.failures[host], self.pause_until[host]) = (0, None);
        let number = self.core.opened(id);
        let (streams, in_pool, leaves) = (0, true, false);
        self.connections.push(Connection { host, id: number, most, streams, in_pool, leaves });
        let retire_at = Some(self.now + Duration::from_secs(300));
        let held = Held { conn: (), host: id, id: number, retire_at };
        let own = self.core.opened_muxed(held, most, first, self.now, &mut closing, &mut grants);
        assert_eq!(own.is_some(), first == First::Dialler);
        if let Some(held) = own {
            self.lent(&held);
        }
        self.granted(grants);
        self.leaving(closing);
    }

    fn nth(&self, nth: usize, wanted: fn(&Connection) -> bool) -> Option<Connection> {
        let fit: Vec<_> = self.connections.iter().filter(|it| wanted(it)).collect();
        fit.get(nth % fit.len().max(1)).map(|it| **it)
    }

    fn stream_ends(&mut self, nth: usize) {
        let Some(it) = self.nth(nth, |it| it.streams > 0) else { return };
        self.of(it.id).streams -= 1;
        let (mut closing, mut grants) = (Closing::new(), Grants::new());
        let host = self.ids[it.host].unwrap();
        self.core.stream_ended(host, it.id, self.now, &mut closing, &mut grants);
        self.granted(grants);
        self.leaving(closing);
    }

    fn drain(&mut self, nth: usize) {
        let Some(it) = self.nth(nth, |_| true) else { return };
        self.of(it.id).in_pool = false;
        let (mut closing, mut grants) = (Closing::new(), Grants::new());
        let host = self.ids[it.host].unwrap();
        let out = self.core.drain(host, it.id, self.now, &mut closing, &mut grants);
        assert_eq!(out.is_some(), it.in_pool, "out once");
        self.granted(grants);
        self.leaving(closing);
    }

    /// With what it carries, if need be: its streams end afterwards.
    fn ends(&mut self, nth: usize) {
        let Some(it) = self.nth(nth, |_| true) else { return };
        let host = self.ids[it.host].unwrap();
        self.connections.retain(|other| other.id != it.id);
        let (mut closing, mut grants) = (Closing::new(), Grants::new());
        let (broken, now) = (CloseReason::Broken, self.now);
        let out = self.core.closed(host, it.id, broken, now, &mut closing, &mut grants);
        assert_eq!(out.is_some(), it.in_pool);
        self.granted(grants);
        self.leaving(closing);
        for _ in 0..it.streams {
            let (mut closing, mut grants) = (Closing::new(), Grants::new());
            self.core.stream_ended(host, it.id, self.now, &mut closing, &mut grants);
            assert!(closing.is_empty() && grants.is_empty(), "nothing comes of what has ended");
        }
    }

    fn set_most(&mut self, nth: usize, most: usize) {
        let Some(it) = self.nth(nth, |it| it.in_pool) else { return };
        self.of(it.id).most = most;
        let (mut closing, mut grants) = (Closing::new(), Grants::new());
        let (host, now) = (self.ids[it.host].unwrap(), self.now);
        self.core.set_most(host, it.id, most, now, &mut closing, &mut grants);
        self.granted(grants);
        self.leaving(closing);
    }

    fn check(&self) {
        let all = self.core.in_all();
        let streams: usize = self.connections.iter().map(|it| it.streams).sum();
        assert_eq!(all.streams, streams);
        assert_eq!(all.dialling, self.dials.len());
        assert_eq!(all.open(), self.dials.len() + self.connections.len());
        let idle = self.connections.iter().filter(|it| it.in_pool && it.streams == 0).count();
        assert_eq!(all.idle, idle);
        assert!(all.idle <= self.limits.idle_overall);
        assert_eq!(all.waiting, self.line.len());
        assert!(all.open() <= self.limits.open_overall);
        assert!(self.missing() == 0 || all.idle == 0, "an idle one blocks");
        for host in 0..HOSTS.len() {
            let open = self.open_of(host);
            assert!(open <= self.limits.open_per_host);
            if self.line.iter().any(|it| it.0 == host) {
                assert!(!self.may_dial(host), "nobody waits where somebody could dial");
                let free = |it: &&Connection| it.host == host && it.in_pool && it.streams < it.most;
                assert!(self.connections.iter().find(free).is_none(), "nor where a stream is free");
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Ask { host: usize, class: Priority },
    Dialled { nth: usize, most: Option<usize> },
    StreamEnds(usize),
    Drain(usize),
    Ends(usize),
    SetMost { nth: usize, most: usize },
    Pass { millis: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    let class = prop::sample::select(Priority::ALL.to_vec());
    let most = prop::option::weighted(0.8, 1..12_usize);
    prop_oneof![
        6 => (0..HOSTS.len(), class).prop_map(|(host, class)| Op::Ask { host, class }),
        3 => (0..8_usize, most).prop_map(|(nth, most)| Op::Dialled { nth, most }),
        5 => (0..8_usize).prop_map(Op::StreamEnds),
        1 => (0..8_usize).prop_map(Op::Drain),
        1 => (0..8_usize).prop_map(Op::Ends),
        1 => (0..8_usize, 1..12_usize).prop_map(|(nth, most)| Op::SetMost { nth, most }),
        2 => (0..12_u32).prop_map(|n| Op::Pass { millis: 50 << n }),
    ]
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(2_000))]

    #[test]
    fn shared_connections_keep_their_promises(
        per_host in 1..4_usize,
        overall in 1..6_usize,
        idle in (1..4_usize, 1..4_usize),
        ops in prop::collection::vec(op(), 0..120),
    ) {
        let limits = Limits {
            idle_per_host: idle.0,
            idle_overall: idle.1,
            ..limits(per_host.min(overall), overall)
        };
        let mut world = World::new(limits);
        for op in ops {
            match op {
                Op::Ask { host, class } => world.ask(host, class),
                Op::Dialled { nth, most } => world.dialled(nth, most),
                Op::StreamEnds(nth) => world.stream_ends(nth),
                Op::Drain(nth) => world.drain(nth),
                Op::Ends(nth) => world.ends(nth),
                Op::SetMost { nth, most } => world.set_most(nth, most),
                Op::Pass { millis } => world.now += Duration::from_millis(millis),
            }
            world.check();
            // A starvation turn of the line may pass a higher class by.
            if world.served.len() >= 32 {
                break;
            }
        }
    }
}

fn one_dial(world: &mut World, most: usize) {
    world.ask(0, Priority::Normal);
    world.dialled(0, Some(most));
}

#[test]
fn a_cold_herd_dials_once_and_is_served_by_streams() {
    let mut world = World::new(limits(10, 10));
    for _ in 0..50 {
        world.ask(0, Priority::Normal);
    }
    assert_eq!((world.dials.len(), world.line.len()), (1, 49));
    world.dialled(0, Some(100));
    assert_eq!((world.dials.len(), world.line.len()), (0, 0));
    let counts = world.core.in_all();
    assert_eq!((counts.opened, counts.streams), (1, 50));
    world.check();
}

/// At most three dials.
fn five_behind_the_dial_of_an_unknown_host() -> (Core<(), u32>, HostId) {
    let mut core = Core::<(), u32>::new(Limits { in_the_clear: Speaks::Unknown, ..limits(3, 9) });
    let (now, mut closing) = (origin(), Closing::new());
    let Ask::Dial(host) = core.ask(&key("a"), now, &mut closing) else { panic!() };
    for waiter in 0..5 {
        let Ask::Wait(_) = core.ask(&key("a"), now, &mut closing) else { panic!() };
        core.wait(host, Priority::Normal, waiter, now, &mut closing).unwrap();
    }
    (core, host)
}

#[test]
fn a_host_that_turns_out_to_share_nothing_is_dialled_by_all_who_may() {
    let (mut core, host) = five_behind_the_dial_of_an_unknown_host();
    let (now, mut grants) = (origin(), Grants::new());
    core.opened(host);
    core.is_single(host, now, &mut Closing::new(), &mut grants);
    let granted: Vec<_> = grants.iter().map(|(waiter, _)| *waiter).collect();
    assert_eq!(granted, [0, 1], "up to the cap of three");
    assert!(grants.iter().all(|(_, grant)| matches!(grant, Grant::Dial(_))));
    let Ask::Wait(_) = core.ask(&key("a"), now, &mut Closing::new()) else { panic!() };
}

/// Or those behind it would wait for one dial after the other.
#[test]
fn after_a_failed_dial_to_an_unknown_host_everybody_may_dial() {
    let (mut core, host) = five_behind_the_dial_of_an_unknown_host();
    let (now, mut grants) = (origin(), Grants::new());
    core.not_opened(host, NotOpened::Failed, now, &mut Closing::new(), &mut grants);
    let granted: Vec<_> = grants.iter().map(|(waiter, _)| *waiter).collect();
    assert_eq!(granted, [0, 1, 2]);
}

/// Whoever gives up takes the dial of all with him: the next one begins another, not all of them.
#[test]
fn a_dial_that_is_given_up_is_taken_over_by_one() {
    let mut world = World::new(limits(10, 10));
    for _ in 0..50 {
        world.ask(0, Priority::Normal);
    }
    world.dialled(1, None);
    assert_eq!((world.dials.len(), world.line.len()), (1, 48));
    world.dialled(0, None);
    assert_eq!((world.dials.len(), world.line.len()), (10, 38), "a failed one frees all");
    world.check();
}

/// The connection that was dialled ahead of need has the last place, and carries nothing.
#[test]
fn what_was_dialled_ahead_and_is_not_needed_makes_place_for_another_host() {
    let mut world = World::new(limits(2, 2));
    one_dial(&mut world, 8);
    for _ in 0..7 {
        world.ask(0, Priority::Normal);
    }
    assert_eq!(world.dials, [(0, First::Line)]);
    world.ask(1, Priority::Normal);
    assert_eq!(world.line.len(), 1);
    world.dialled(0, Some(8));
    assert!(world.connections.iter().any(|it| !it.in_pool), "it is closed at once");
    world.check();
}

#[test]
fn the_next_connection_is_dialled_while_an_eighth_is_still_free() {
    let mut world = World::new(limits(10, 10));
    one_dial(&mut world, 16);
    for used in 2..=14 {
        world.ask(0, Priority::Normal);
        assert_eq!(world.dials.len(), usize::from(used == 14), "{used} of 16");
    }
    world.ask(0, Priority::Normal);
    world.ask(0, Priority::Normal);
    assert_eq!((world.dials.len(), world.line.len()), (1, 0), "the rest is there meanwhile");
    world.ask(0, Priority::Normal);
    assert_eq!(world.line.len(), 1);
    world.dialled(0, Some(16));
    assert_eq!(world.line.len(), 0);
}

#[test]
fn a_connection_that_is_drained_takes_nobody_and_holds_its_place_until_it_ends() {
    let mut world = World::new(limits(1, 1));
    one_dial(&mut world, 4);
    world.drain(0);
    world.ask(0, Priority::Normal);
    assert_eq!((world.line.len(), world.dials.len()), (1, 0), "its place is still taken");
    world.stream_ends(0);
    assert_eq!(world.dials.len(), 0);
    world.ends(0);
    assert_eq!((world.line.len(), world.dials.len()), (0, 1));
}

#[test]
fn a_busy_shared_connection_yields_to_another_host_in_bounded_time() {
    let mut world = World::new(limits(1, 1));
    one_dial(&mut world, 4);
    world.ask(1, Priority::Normal);
    assert_eq!(world.line.len(), 1, "no place for the other host");
    let mut turns = 0;
    while world.connections[0].in_pool {
        world.ask(0, Priority::Normal);
        world.stream_ends(0);
        turns += 1;
        assert!(turns <= 33);
    }
    assert_eq!(turns, 33, "not at once either");
    world.ends(0);
    assert_eq!((world.line.len(), world.dials.len()), (0, 1));
}

#[test]
fn idle_and_old_shared_connections_end() {
    for (seconds, reason) in [(90, CloseReason::IdleTimeout), (300, CloseReason::MaxAge)] {
        let mut world = World::new(limits(3, 3));
        one_dial(&mut world, 4);
        world.stream_ends(0);
        world.now += Duration::from_secs(seconds);
        let mut closing = Closing::new();
        let asked = world.core.ask(&key("a"), world.now, &mut closing);
        assert!(matches!(asked, Ask::Dial(_)), "{asked:?}");
        assert_eq!(closing.pop().map(|(_, reason)| reason), Some(reason));
    }
}

/// Nobody waits for it and nobody is told, so it must not be tried with every request.
#[test]
fn dials_ahead_that_fail_pause_for_longer_and_longer() {
    let mut world = World::new(limits(10, 10));
    one_dial(&mut world, 1_000);
    (2..=874).for_each(|_| world.ask(0, Priority::Normal));
    assert_eq!(world.dials.len(), 0);
    let mut begun = 0;
    for _ in 0..60_000 {
        world.ask(0, Priority::Normal);
        begun += world.dials.len();
        while !world.dials.is_empty() {
            world.dialled(0, None);
        }
        world.stream_ends(0);
        world.now += Duration::from_millis(1);
    }
    // 100 ms, twice as much each time, 30 s at most: nine in the first 25.5 s, then at 51.1.
    assert_eq!(begun, 10, "in a minute");
    assert_eq!(world.core.in_all().failed_ahead, 10);
    world.now += Duration::from_secs(30);
    world.ask(0, Priority::Normal);
    world.dialled(0, Some(1));
    world.ask(0, Priority::Normal);
    assert_eq!(world.dials, [(0, First::Line)], "the host was reached: no pause is left");
}
