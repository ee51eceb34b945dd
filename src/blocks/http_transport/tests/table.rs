//! What the core decides, case by case.

use std::time::Duration;

use super::super::config::TransportConfig;
use super::super::core::{
    Ask, Closing, Core, First, Grant, Grants, Held, HostId, Limits, Look, Share, Speaks,
};
use super::super::host::HostKey;
use super::super::metrics::CloseReason;
use crate::Priority;
use crate::ground::time::Instant;

pub(super) fn key(name: &str) -> HostKey {
    let url = format!("http://{name}/").parse().unwrap();
    HostKey::of(&url, &TransportConfig::default()).unwrap()
}

pub(super) fn limits(per_host: usize, overall: usize) -> Limits {
    Limits {
        idle_overall: 100,
        idle_per_host: 100,
        open_per_host: per_host,
        open_overall: overall,
        hosts: 8,
        waiting_per_host: 100,
        idle_timeout: Duration::from_secs(90),
        in_the_clear: Speaks::Single,
        over_tls: Speaks::Unknown,
    }
}

impl Share for () {
    fn share(&self) -> Option<Self> {
        Some(())
    }

    fn is_closed(&self) -> bool {
        false
    }
}

/// Any instant will do.
pub(super) fn origin() -> Instant {
    crate::ground::time::now()
}

struct Bench {
    core: Core<(), &'static str>,
    now: Instant,
    closing: Closing<()>,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self { core: Core::new(limits), now: origin(), closing: Vec::new() }
    }

    /// A connection to `name` that was dialled for nobody else.
    fn open(&mut self, name: &str) -> Held<()> {
        match self.core.ask(&key(name), self.now, &mut self.closing) {
            Ask::Dial(host) => self.opened(host),
            other => panic!("{other:?}"),
        }
    }

    fn opened(&mut self, host: HostId) -> Held<()> {
        let id = self.core.opened(host);
        Held { conn: (), host, id, retire_at: Some(self.now + Duration::from_secs(600)) }
    }

    fn wait(&mut self, name: &str, class: Priority, waiter: &'static str) -> HostId {
        self.join(name, class, waiter).0
    }

    /// And the number of what it is promised.
    fn join(&mut self, name: &str, class: Priority, waiter: &'static str) -> (HostId, Option<u64>) {
        match self.core.ask(&key(name), self.now, &mut self.closing) {
            Ask::Wait(host) => {
                let closing = &mut self.closing;
                let waits = self.core.wait(host, class, waiter, self.now, closing).unwrap();
                (host, waits.promise)
            }
            other => panic!("{other:?}"),
        }
    }

    fn back(&mut self, held: Held<()>) -> Option<&'static str> {
        self.hand_over(held).map(|(waiter, _)| waiter)
    }

    fn hand_over(&mut self, held: Held<()>) -> Option<(&'static str, Held<()>)> {
        let mut grants = Grants::new();
        self.core.give_back(held, self.now, &mut self.closing, &mut grants);
        assert!(grants.len() <= 1, "one connection came back");
        grants.pop().map(|(waiter, grant)| match grant {
            Grant::Use(held) => (waiter, held),
            Grant::Dial(_) => panic!("{waiter} is to dial"),
        })
    }

    fn ends(&mut self, held: &Held<()>) -> Option<&'static str> {
        let (mut grants, by_peer) = (Grants::new(), CloseReason::ByPeer);
        let (now, closing) = (self.now, &mut self.closing);
        self.core.closed(held.host, held.id, by_peer, now, closing, &mut grants);
        assert!(grants.len() <= 1, "one place was freed");
        grants.pop().map(|(waiter, grant)| {
            assert!(matches!(grant, Grant::Dial(_)));
            waiter
        })
    }

    fn reasons(&mut self) -> Vec<CloseReason> {
        std::mem::take(&mut self.closing).into_iter().map(|(_, reason)| reason).collect()
    }
}

#[test]
fn a_returned_connection_goes_to_its_hosts_head() {
    let mut it = Bench::new(limits(1, 10));
    let held = it.open("a");
    it.wait("a", Priority::Low, "low");
    it.wait("a", Priority::High, "high");
    assert_eq!(it.back(held), Some("high"));
}

#[test]
fn a_freed_place_goes_to_the_highest_class_below_its_hosts_cap() {
    let mut it = Bench::new(limits(2, 3));
    let held = [it.open("a"), it.open("a"), it.open("b")];
    it.wait("a", Priority::Urgent, "a: at its cap");
    it.wait("b", Priority::Normal, "b");
    it.wait("c", Priority::High, "c");
    assert_eq!(it.ends(&held[2]), Some("c"), "not a, whose cap is reached");
    assert_eq!(it.ends(&held[0]), Some("a: at its cap"), "now it is below");
}

#[test]
fn equal_heads_take_turns() {
    let mut it = Bench::new(limits(3, 3));
    let held = [it.open("a"), it.open("a"), it.open("a")];
    for (name, waiter) in [("b", "b1"), ("b", "b2"), ("c", "c1"), ("d", "d1")] {
        it.wait(name, Priority::Normal, waiter);
    }
    let served: Vec<_> = held.iter().map(|held| it.ends(held).unwrap()).collect();
    assert_eq!(served, ["b1", "c1", "d1"]);
}

#[test]
fn an_idle_connection_of_another_host_makes_room() {
    let mut it = Bench::new(limits(2, 2));
    let (first, second) = (it.open("a"), it.open("b"));
    let oldest = first.id;
    it.back(first);
    it.back(second);
    it.wait("c", Priority::Low, "c");
    let (held, reason) = it.closing.pop().unwrap();
    assert_eq!((held.id, reason), (oldest, CloseReason::Displaced));
    assert!(it.closing.is_empty());
    assert_eq!(it.ends(&held), Some("c"), "once its socket is closed");
}

#[test]
fn a_returned_connection_that_blocks_another_hosts_dial_is_closed() {
    let mut it = Bench::new(limits(2, 2));
    let held = [it.open("a"), it.open("a")];
    it.wait("b", Priority::Low, "b");
    let [first, second] = held;
    let id = first.id;
    assert_eq!(it.back(first), None);
    let (held, reason) = it.closing.pop().unwrap();
    assert_eq!((held.id, reason), (id, CloseReason::Displaced));
    assert_eq!(it.ends(&held), Some("b"));
    assert_eq!(it.back(second), None);
    assert_eq!(it.core.in_all().idle, 1);
}

#[test]
fn a_host_hands_its_connection_on_32_times_before_it_yields_one() {
    let mut it = Bench::new(limits(1, 1));
    let mut held = it.open("a");
    it.wait("b", Priority::Normal, "b");
    for _ in 0..32 {
        it.wait("a", Priority::Normal, "a");
        let (waiter, again) = it.hand_over(held).expect("handed over");
        assert_eq!(waiter, "a");
        held = again;
    }
    it.wait("a", Priority::Normal, "a");
    assert_eq!(it.back(held), None);
    let (held, reason) = it.closing.pop().unwrap();
    assert_eq!(reason, CloseReason::Displaced);
    assert_eq!(it.ends(&held), Some("b"));
}

#[test]
fn a_lower_class_elsewhere_never_makes_a_host_yield() {
    let mut it = Bench::new(limits(1, 1));
    let mut held = it.open("a");
    it.wait("b", Priority::Low, "b");
    for _ in 0..100 {
        it.wait("a", Priority::Normal, "a");
        held = it.hand_over(held).expect("handed over").1;
    }
    assert_eq!(it.back(held), None, "and b is served once nobody of a waits");
    assert_eq!(it.reasons(), [CloseReason::Displaced]);
}

#[test]
fn the_newest_is_used_and_the_surplus_is_the_oldest() {
    let mut it = Bench::new(Limits { idle_per_host: 2, idle_overall: 3, ..limits(9, 9) });
    let held = ["a", "a", "a", "b", "b"].map(|name| it.open(name));
    let ids: Vec<_> = held.iter().map(|held| held.id).collect();
    for held in held {
        it.back(held);
    }
    let closed: Vec<_> = it.closing.iter().map(|(held, _)| held.id).collect();
    assert_eq!(closed, [ids[0], ids[1]], "the host's own first, then the oldest of all");
    assert!(it.reasons().iter().all(|reason| *reason == CloseReason::Surplus));
    match it.core.ask(&key("b"), it.now, &mut it.closing) {
        Ask::Use(held) => assert_eq!(held.id, ids[4]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_idle_connection_is_kept_where_none_is_allowed() {
    let mut it = Bench::new(Limits { idle_per_host: 0, ..limits(9, 9) });
    let held = it.open("a");
    assert_eq!(it.back(held), None);
    assert_eq!(it.reasons(), [CloseReason::Surplus]);
}

#[test]
fn what_is_too_old_or_was_idle_too_long_is_not_used() {
    let mut it = Bench::new(limits(9, 9));
    let (early, late) = (it.open("a"), it.open("a"));
    let id = early.id;
    it.back(early);
    it.now += Duration::from_secs(90);
    let Ask::Dial(_) = it.core.ask(&key("a"), it.now, &mut it.closing) else { panic!() };
    let (held, reason) = it.closing.pop().unwrap();
    assert_eq!((held.id, reason), (id, CloseReason::IdleTimeout));
    it.now += Duration::from_secs(600);
    assert_eq!(it.back(late), None);
    assert_eq!(it.reasons(), [CloseReason::MaxAge]);
}

#[test]
fn a_connections_task_learns_when_to_look_again() {
    let mut it = Bench::new(limits(9, 9));
    let held = it.open("a");
    let (host, id, began) = (held.host, held.id, it.now);
    let seconds = |n| Duration::from_secs(n);
    // In use: nothing to say before it could have been idle for long enough.
    assert!(matches!(it.core.look(host, id, began), Look::Again(at) if at == began + seconds(90)));
    it.now += seconds(50);
    it.back(held);
    let look = it.core.look(host, id, began + seconds(90));
    assert!(matches!(look, Look::Again(at) if at == began + seconds(140)), "{look:?}");
    let look = it.core.look(host, id, began + seconds(140));
    assert!(matches!(look, Look::Retire(_, CloseReason::IdleTimeout)), "{look:?}");
    assert_eq!(it.core.in_all().idle, 0);
}

#[test]
fn an_older_now_than_the_last_changes_nothing() {
    let mut it = Bench::new(limits(9, 9));
    let held = it.open("a");
    it.back(held);
    it.now -= Duration::from_secs(5);
    assert!(matches!(it.core.ask(&key("a"), it.now, &mut it.closing), Ask::Use(_)));
}

#[test]
fn a_retry_gets_a_new_connection_never_an_idle_one() {
    let mut it = Bench::new(limits(2, 2));
    let held = it.open("a");
    it.back(held);
    let Ask::Dial(host) = it.core.ask_fresh(&key("a")) else { panic!() };
    it.opened(host);
    // At the cap: the idle one is closed for it.
    let Ask::Wait(host) = it.core.ask_fresh(&key("a")) else { panic!() };
    it.core.wait(host, Priority::Normal, "again", it.now, &mut it.closing).unwrap();
    let (held, reason) = it.closing.pop().unwrap();
    assert_eq!(reason, CloseReason::Replaced);
    assert_eq!(it.ends(&held), Some("again"));
}

#[test]
fn a_full_line_refuses_and_a_higher_class_displaces() {
    let mut it = Bench::new(Limits { waiting_per_host: 1, ..limits(1, 1) });
    let _held = it.open("a");
    let host = it.wait("a", Priority::Low, "low");
    let mut wait = |class, waiter| it.core.wait(host, class, waiter, it.now, &mut it.closing);
    assert_eq!(wait(Priority::Low, "second").unwrap_err(), "second");
    assert_eq!(wait(Priority::Urgent, "urgent").unwrap().evicted, Some("low"));
    assert_eq!(it.core.in_all().waiting, 1);
}

#[test]
fn the_host_table_is_bounded_and_an_unused_host_makes_room() {
    let mut it = Bench::new(Limits { hosts: 2, ..limits(9, 9) });
    let (a, b) = (it.open("a"), it.open("b"));
    assert!(matches!(it.core.ask(&key("c"), it.now, &mut it.closing), Ask::TooManyHosts));
    it.back(a);
    assert!(matches!(it.core.ask(&key("c"), it.now, &mut it.closing), Ask::TooManyHosts));
    it.ends(&b);
    let c = it.open("c");
    assert_ne!(c.host, b.host, "the slot is the same, the host is not");
    let known: Vec<_> = it.core.each_host().into_iter().map(|host| host.host).collect();
    assert_eq!(known, ["http://a", "http://c"]);
    assert_eq!(it.core.in_all().opened, 3, "what a forgotten host did still counts");
}

#[test]
fn a_request_waits_for_a_connection_that_settles_and_a_herd_still_dials() {
    let mut it = Bench::new(limits(9, 9));
    let held = it.open("a");
    it.core.settles(held.host, held.id);
    it.wait("a", Priority::Normal, "first");
    let second = it.open("a");
    assert_ne!(second.id, held.id, "nothing is left to wait for: it dials");
    assert_eq!(it.back(held), Some("first"));
}

/// Who waits at the cap is promised nothing, and so has no patience to lose: a place that is freed
/// meanwhile is for it, whatever else is about to come back.
#[test]
fn who_came_before_a_connection_settled_is_promised_nothing() {
    let mut it = Bench::new(limits(2, 9));
    let (first, second) = (it.open("a"), it.open("a"));
    let (_, promise) = it.join("a", Priority::Normal, "early");
    assert_eq!(promise, None);
    it.core.settles(first.host, first.id);
    assert_eq!(it.ends(&second), Some("early"));
}

/// What a waiter is granted and does not take is no reuse; and nothing is ever taken back of the
/// counts.
#[test]
fn a_connection_is_used_again_when_it_is_taken() {
    let mut it = Bench::new(limits(1, 9));
    let held = it.open("a");
    let host = it.wait("a", Priority::Normal, "leaves");
    it.wait("a", Priority::Normal, "stays");
    let (_, held) = it.hand_over(held).unwrap();
    assert_eq!(it.core.in_all().reused, 0);
    let (waiter, held) = it.hand_over(held).unwrap();
    assert_eq!((waiter, it.core.in_all().reused), ("stays", 0));
    it.core.taken(host);
    assert_eq!(it.core.in_all().reused, 1);
    it.back(held);
    assert!(matches!(it.core.ask(&key("a"), it.now, &mut it.closing), Ask::Use(_)));
    assert_eq!(it.core.in_all().reused, 2);
}

#[test]
fn who_waited_for_a_connection_that_does_not_come_dials() {
    for way in 0..4 {
        let mut it = Bench::new(limits(9, 9));
        let held = it.open("a");
        let (host, id, now) = (held.host, held.id, it.now);
        it.core.settles(host, id);
        let promise = it.join("a", Priority::Normal, "first").1.unwrap();
        let (closing, mut grants) = (&mut it.closing, Grants::new());
        match way {
            0 => it.core.lingers(host, id, now, closing, &mut grants),
            1 => it.core.lose_patience(host, promise, now, closing, &mut grants),
            2 => {
                it.core.closed(host, id, CloseReason::ByPeer, now, closing, &mut grants);
            }
            _ => {
                let old = now + Duration::from_secs(600);
                it.core.give_back(held, old, closing, &mut grants);
            }
        }
        assert!(matches!(grants[..], [("first", Grant::Dial(_))]), "{way}: {grants:?}");
        assert_eq!(it.core.in_all().waiting, 0);
    }
}

/// Its task may end before the request that it carried says that it settles.
#[test]
fn a_connection_that_ended_before_it_was_to_settle_is_forgotten() {
    let mut it = Bench::new(limits(9, 9));
    let held = it.open("a");
    it.ends(&held);
    it.core.settles(held.host, held.id);
    it.core.lingers(held.host, held.id, it.now, &mut it.closing, &mut Grants::new());
    it.open("a");
}

/// One idle connection of another host is closed for the one dial there can be, not one for each
/// that waits behind it.
#[test]
fn a_herd_displaces_no_more_than_could_dial() {
    let mut it = Bench::new(limits(2, 4));
    let idle = [it.open("b"), it.open("b")];
    let _active = it.open("c");
    for held in idle {
        it.back(held);
    }
    let _first = it.open("a");
    for waiter in ["1", "2", "3", "4"] {
        it.wait("a", Priority::Normal, waiter);
    }
    assert_eq!(it.reasons(), [CloseReason::Displaced], "one more of a's two");
}

#[test]
fn those_behind_a_shared_dial_displace_nothing() {
    let mut it = Bench::new(Limits { in_the_clear: Speaks::Muxed, ..limits(9, 2) });
    let Ask::Dial(b) = it.core.ask(&key("b"), it.now, &mut it.closing) else { panic!() };
    let idle = it.opened(b);
    let (now, mut grants) = (it.now, Grants::new());
    let own = it.core.opened_muxed(idle, 9, First::Line, now, &mut it.closing, &mut grants);
    assert!(own.is_none() && it.core.in_all().idle == 1);
    let Ask::Dial(a) = it.core.ask(&key("a"), it.now, &mut it.closing) else { panic!() };
    for waiter in ["1", "2", "3", "4"] {
        it.wait("a", Priority::Normal, waiter);
    }
    assert!(it.reasons().is_empty());
    // Its dial brings fewer streams than there are waiters: now one more could dial.
    let held = it.opened(a);
    let (closing, first) = (&mut it.closing, First::Dialler);
    it.core.opened_muxed(held, 2, first, now, closing, &mut grants).unwrap();
    assert_eq!(grants.len(), 1);
    assert_eq!(it.reasons(), [CloseReason::Displaced]);
}

#[test]
fn those_behind_a_dial_that_turns_out_to_share_nothing_displace_what_is_idle() {
    let mut it = Bench::new(Limits { in_the_clear: Speaks::Unknown, ..limits(9, 3) });
    let idle = [it.open("b"), it.open("b")];
    for held in idle {
        it.back(held);
    }
    let Ask::Dial(a) = it.core.ask(&key("a"), it.now, &mut it.closing) else { panic!() };
    for waiter in ["1", "2", "3"] {
        it.wait("a", Priority::Normal, waiter);
    }
    assert!(it.reasons().is_empty());
    it.core.opened(a);
    it.core.is_single(a, it.now, &mut it.closing, &mut Grants::new());
    assert_eq!(it.reasons(), [CloseReason::Displaced; 2]);
}

#[test]
fn a_place_ahead_of_need_is_there_while_no_cap_and_no_waiter_stands_against_it() {
    let ahead = |it: &mut Bench, name: &str, most: usize| match it.core.ask_ahead(&key(name), most)
    {
        Ask::Dial(host) => Some(host),
        Ask::Wait(_) => None,
        other => panic!("{other:?}"),
    };
    let mut it = Bench::new(Limits { idle_per_host: 2, idle_overall: 3, ..limits(4, 10) });
    for _ in 0..2 {
        let host = ahead(&mut it, "a", 9).unwrap();
        let held = it.opened(host);
        it.back(held);
    }
    assert!(ahead(&mut it, "a", 9).is_none(), "a third would not stay idle");
    assert!(ahead(&mut it, "b", 0).is_none(), "none was asked for");
    let dialling = ahead(&mut it, "b", 9).unwrap();
    assert!(ahead(&mut it, "c", 9).is_none(), "idle or soon idle: three of three");
    let held = it.opened(dialling);
    assert!(ahead(&mut it, "b", 1).is_none(), "so many are open");
    it.back(held);

    let mut it = Bench::new(limits(1, 10));
    let held = it.open("a");
    it.wait("a", Priority::Low, "first");
    assert!(ahead(&mut it, "a", 9).is_none(), "not ahead of who waits");
    assert_eq!(it.back(held), Some("first"));

    let mut it = Bench::new(limits(4, 1));
    let _held = it.open("a");
    assert!(ahead(&mut it, "b", 9).is_none(), "the overall cap");
    let mut it = Bench::new(Limits { in_the_clear: Speaks::Muxed, ..limits(4, 10) });
    assert!(ahead(&mut it, "a", 9).is_some());
    assert!(ahead(&mut it, "a", 9).is_none(), "shared connections one after the other");
    let mut it = Bench::new(Limits { hosts: 1, ..limits(4, 10) });
    let _held = it.open("a");
    assert!(matches!(it.core.ask_ahead(&key("b"), 9), Ask::TooManyHosts));
}

#[test]
fn a_retired_pool_keeps_nothing_and_still_serves() {
    let mut it = Bench::new(limits(2, 10));
    let (idle, used) = (it.open("a"), it.open("a"));
    it.back(idle);
    it.core.retire(&mut it.closing);
    assert_eq!((it.reasons(), it.core.in_all().idle), (vec![CloseReason::Retired], 0));
    it.wait("a", Priority::Normal, "accepted before");
    assert_eq!(it.back(used), Some("accepted before"));
    let mut it = Bench::new(limits(2, 10));
    let used = it.open("a");
    it.core.retire(&mut it.closing);
    assert_eq!(it.back(used), None);
    assert_eq!((it.reasons(), it.core.in_all().idle), (vec![CloseReason::Surplus], 0));
}

#[test]
fn all_that_wait_are_dismissed_and_nobody_is_served_after() {
    let mut it = Bench::new(limits(1, 10));
    let (a, b) = (it.open("a"), it.open("b"));
    it.wait("a", Priority::Low, "low");
    it.wait("a", Priority::High, "high");
    it.wait("b", Priority::Low, "b");
    let mut gone = it.core.dismiss();
    gone.sort_unstable();
    assert_eq!((gone, it.core.in_all().waiting), (vec!["b", "high", "low"], 0));
    assert_eq!((it.ends(&a), it.ends(&b)), (None, None));
    assert_eq!(it.core.in_all().open(), 0);
}
