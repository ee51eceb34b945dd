//! Who gets which connection: the host table, the idle lists and the places, decided without I/O.
//!
//! Generic over what a connection (`C`) and a waiter (`W`) are, so that tests use numbers. Nothing
//! is dropped or woken here: what leaves is returned.

mod between;
mod idle;
mod muxed;
mod places;
mod table;

use std::collections::HashMap;
use std::time::Duration;

use self::muxed::Ahead;
pub(super) use self::muxed::{First, Share, Speaks};
use self::table::{Host, InLine};
use super::ceiling::{Calls, Seat, Wants};
use super::host::HostKey;
use super::metrics::{CloseReason, HostCounts, PoolCounts};
use crate::gates::wait_queue::{Place, Ticket};
use crate::ground::primitives::Hashing;
use crate::ground::priority::Priority;
use crate::ground::time::Instant;

/// The numbers of the configuration that decide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) idle_overall: usize,
    pub(super) idle_per_host: usize,
    pub(super) open_per_host: usize,
    pub(super) open_overall: usize,
    pub(super) hosts: usize,
    pub(super) waiting_per_host: usize,
    pub(super) idle_timeout: Duration,
    /// What hosts are thought to speak before the first connection tells.
    pub(super) in_the_clear: Speaks,
    pub(super) over_tls: Speaks,
}

/// A slot of the host table. The generation tells a host from the one that had its slot before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct HostId {
    index: usize,
    generation: u32,
}

/// A connection that is on loan, or idle.
#[derive(Debug)]
pub(super) struct Held<C> {
    pub(super) conn: C,
    pub(super) host: HostId,
    pub(super) id: u64,
    pub(super) retire_at: Option<Instant>,
}

/// The first answer to a request.
#[derive(Debug)]
pub(super) enum Ask<C> {
    /// This one, as it is.
    Use(Held<C>),
    /// A stream of a shared connection; and where there is a place, somebody is to dial the next
    /// one, since streams run out.
    Stream(Held<C>, Option<HostId>),
    /// A place: dial.
    Dial(HostId),
    /// No place: call [`Core::wait`] under the same lock.
    Wait(HostId),
    /// No slot for this host.
    TooManyHosts,
}

/// What somebody in line gets.
#[derive(Debug)]
pub(super) enum Grant<C> {
    /// A stream of this connection.
    Use(Held<C>),
    Dial(HostId),
}

/// Those who are served by one event, in order.
pub(super) type Grants<C, W> = Vec<(W, Grant<C>)>;

/// A waiter's entry into the line.
#[derive(Debug)]
pub(super) struct Waiting<W> {
    pub(super) ticket: Ticket,
    pub(super) evicted: Option<W>,
    /// The number under which it was promised a connection that is about to come back.
    pub(super) promise: Option<u64>,
}

/// How a dial ended that brought no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotOpened {
    /// Whoever dialled has left.
    GivenUp,
    Failed,
    /// It was begun ahead of need.
    FailedAhead,
}

/// What a connection's own task learns when its time came.
#[derive(Debug)]
pub(super) enum Look<C> {
    /// It stays: look again then.
    Again(Instant),
    /// It is out of the pool now: it ends, with the last request it carries.
    Retire(Held<C>, CloseReason),
}

/// Connections taken out of the pool, to be closed after the unlock.
pub(super) type Closing<C> = Vec<(Held<C>, CloseReason)>;

#[derive(Debug)]
pub(super) struct Core<C, W> {
    limits: Limits,
    /// Looked up, never walked.
    index: HashMap<HostKey, usize, Hashing>,
    /// The slot that was looked for last: mostly it is looked for again.
    last: usize,
    hosts: Vec<Host<C, W>>,
    /// The slots in whose line somebody waits, each once, in no order.
    lines: Vec<usize>,
    open: usize,
    idle: usize,
    waiting: usize,
    /// Taken out of the pool to be closed at once; their places are still taken.
    leaving: usize,
    /// Beneath a ceiling over several pools.
    seat: Option<Seat>,
    /// What was said there last, unless that has changed.
    said: Option<Wants>,
    /// How many idle connections were counted there.
    counted_idle: usize,
    /// The slot where the search for the next waiter starts.
    turn: usize,
    /// Hand-overs in a row while another host's head could not dial for the overall cap.
    passed: u32,
    /// Connections, idle spells and promises begun so far.
    serial: u64,
    totals: PoolCounts,
}

impl<C: Share, W> Core<C, W> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            index: HashMap::default(),
            last: 0,
            hosts: Vec::new(),
            lines: Vec::new(),
            open: 0,
            idle: 0,
            waiting: 0,
            leaving: 0,
            seat: None,
            said: None,
            counted_idle: 0,
            turn: 0,
            passed: 0,
            serial: 0,
            totals: PoolCounts::default(),
        }
    }

    /// The same beneath a ceiling. From then on [`says_what_it_wants`](Self::says_what_it_wants) after
    /// each change, under the same lock.
    pub(super) fn beneath(self, seat: Option<Seat>) -> Self {
        Self { seat, ..self }
    }

    /// A request to `key`. The newest idle connection, else a place, else the line.
    pub(super) fn ask(&mut self, key: &HostKey, now: Instant, closing: &mut Closing<C>) -> Ask<C> {
        let Some(index) = self.slot(key) else { return Ask::TooManyHosts };
        while let Some(idle) = self.hosts[index].idle.pop_back() {
            self.idle -= 1;
            let is_dead = idle.held.conn.is_closed().then_some(CloseReason::ByPeer);
            match is_dead.or_else(|| idle.expired(self.limits.idle_timeout, now)) {
                Some(reason) => self.leave(idle.held, reason, closing),
                None => {
                    self.reused(index);
                    return Ask::Use(idle.held);
                }
            }
        }
        if let Some(held) = self.lend(index, now, closing) {
            let more = self.runs_out(index, now) && self.try_dial(index);
            let more = more.then(|| self.hosts[index].id(index));
            return Ask::Stream(held, more);
        }
        if self.hosts[index].may_count_on_another() {
            return Ask::Wait(self.hosts[index].id(index));
        }
        self.ask_place(index)
    }

    /// A request to `key` whose pooled connection turned out to be dead: never an idle one.
    pub(super) fn ask_fresh(&mut self, key: &HostKey) -> Ask<C> {
        self.slot(key).map_or(Ask::TooManyHosts, |index| self.ask_place(index))
    }

    /// A place to dial ahead of need, while the host has fewer than `most` connections. Else, or
    /// while a cap stands against it or the connection could not stay idle, [`Ask::Wait`].
    pub(super) fn ask_ahead(&mut self, key: &HostKey, most: usize) -> Ask<C> {
        let Some(index) = self.slot(key) else { return Ask::TooManyHosts };
        let host = &self.hosts[index];
        let idle_soon = |idle: usize, dialling: usize, most: usize| idle + dialling < most;
        let may = host.open < most
            && host.queue.is_empty()
            && idle_soon(host.idle_now(), host.counts.dialling, self.limits.idle_per_host)
            && idle_soon(self.idle, self.totals.dialling, self.limits.idle_overall);
        let id = host.id(index);
        if may && self.try_dial(index) { Ask::Dial(id) } else { Ask::Wait(id) }
    }

    fn ask_place(&mut self, index: usize) -> Ask<C> {
        let host = &self.hosts[index];
        let id = host.id(index);
        // Nobody barges: who could be served already has been (invariant 3).
        let may = host.unpromised() == 0;
        if may && self.try_dial(index) { Ask::Dial(id) } else { Ask::Wait(id) }
    }

    /// Joins the line of `host`; `Err`: no room in it. An idle connection that holds the place this
    /// waiter needs is closed for it, unless one is being closed already.
    pub(super) fn wait(
        &mut self,
        host: HostId,
        class: Priority,
        waiter: W,
        now: Instant,
        closing: &mut Closing<C>,
    ) -> Result<Waiting<W>, W> {
        let Some(index) = self.find(host) else { return Err(waiter) };
        // No waiter has a deadline, so none expires.
        let mut expired = Vec::new();
        let slot = &mut self.hosts[index];
        let is_first = slot.queue.is_empty();
        let promise = slot.may_count_on_another().then_some(self.serial + 1);
        let committed = slot
            .queue
            .offer(Place::new(class), InLine { waiter, promise }, now, &mut expired)
            .map_err(|refused| refused.waiter)?;
        if let Some(promise) = promise {
            self.serial = promise;
            slot.patient.push(promise);
        }
        debug_assert!(expired.is_empty());
        if is_first {
            self.lines.push(index);
        }
        self.waiting += 1;
        let evicted = committed.evicted.map(|InLine { waiter, promise }| {
            self.has_left_line(index, promise);
            waiter
        });
        self.replace(index, closing);
        self.displace(closing);
        Ok(Waiting { ticket: committed.ticket, evicted, promise })
    }

    /// Leaves the line. `None`: already left.
    pub(super) fn cancel(&mut self, host: HostId, ticket: Ticket) -> Option<W> {
        let index = self.find(host)?;
        let InLine { waiter, promise } = self.hosts[index].queue.cancel(ticket)?;
        self.has_left_line(index, promise);
        Some(waiter)
    }

    /// All that wait, out of their lines.
    pub(super) fn dismiss(&mut self) -> Vec<W> {
        self.waiting = 0;
        self.lines.clear();
        let each = self.hosts.iter_mut().flat_map(|host| {
            host.patient.clear();
            host.queue.close()
        });
        each.map(|left| left.waiter).collect()
    }

    /// A place became a connection: its number.
    pub(super) fn opened(&mut self, host: HostId) -> u64 {
        self.serial += 1;
        if let Some(index) = self.find(host) {
            let host = &mut self.hosts[index];
            host.counts.dialling -= 1;
            host.counts.opened += 1;
            host.ahead = Ahead::default();
            self.totals.dialling -= 1;
            self.totals.opened += 1;
        }
        self.serial
    }

    /// The connection that was opened carries one request at a time: so others may dial as well.
    pub(super) fn is_single(
        &mut self,
        host: HostId,
        now: Instant,
        closing: &mut Closing<C>,
        grants: &mut Grants<C, W>,
    ) {
        let Some(index) = self.find(host) else { return };
        if self.hosts[index].speaks != Speaks::Single {
            self.hosts[index].speaks = Speaks::Single;
            self.balance(now, closing, grants);
        }
    }

    /// A connection that may carry another request comes back: to its host's head, else to the
    /// idle list, unless it is too old or its place is needed more elsewhere.
    pub(super) fn give_back(
        &mut self,
        held: Held<C>,
        now: Instant,
        closing: &mut Closing<C>,
        grants: &mut Grants<C, W>,
    ) {
        let Some(index) = self.find(held.host) else {
            closing.push((held, CloseReason::Surplus));
            return;
        };
        self.hosts[index].has_settled(held.id);
        if held.is_too_old(now) {
            self.leave(held, CloseReason::MaxAge, closing);
        } else if self.must_yield(index) {
            self.yields(index);
            self.leave(held, CloseReason::Displaced, closing);
        } else if let Some(waiter) = self.take(index, now) {
            grants.push((waiter, Grant::Use(held)));
        } else {
            self.keep(index, held, now, closing);
        }
        self.balance(now, closing, grants);
    }

    /// A waiter has taken what it was granted: only then it is used again, for it may have left.
    pub(super) fn taken(&mut self, host: HostId) {
        self.totals.reused += 1;
        if let Some(known) = self.known(host) {
            known.counts.reused += 1;
        }
    }

    /// A dial brought nothing: its place is free. Who dials instead?
    pub(super) fn not_opened(
        &mut self,
        host: HostId,
        why: NotOpened,
        now: Instant,
        closing: &mut Closing<C>,
        grants: &mut Grants<C, W>,
    ) {
        let Some(index) = self.find(host) else { return };
        let known = &mut self.hosts[index];
        known.counts.dialling -= 1;
        self.totals.dialling -= 1;
        if why == NotOpened::FailedAhead {
            known.counts.failed_ahead += 1;
            self.totals.failed_ahead += 1;
            known.ahead.failed(now);
        }
        if why != NotOpened::GivenUp && known.muxed.is_empty() {
            // Nobody is to wait for a host that may be down: each finds out for itself.
            known.speaks = Speaks::Single;
        }
        self.free(index, now, closing, grants);
    }

    /// A connection has ended: its place is free, and if it was idle it comes out of the list.
    pub(super) fn closed(
        &mut self,
        host: HostId,
        id: u64,
        reason: CloseReason,
        now: Instant,
        closing: &mut Closing<C>,
        grants: &mut Grants<C, W>,
    ) -> Option<Held<C>> {
        let index = self.find(host)?;
        let held = self.pop_idle(index, id).or_else(|| self.remove_muxed(index, id));
        self.has_left(index, id);
        self.hosts[index].counts.closed.count(reason);
        self.totals.closed.count(reason);
        self.free(index, now, closing, grants);
        held
    }

    /// The time of connection `id` may have come.
    pub(super) fn look(&mut self, host: HostId, id: u64, now: Instant) -> Look<C> {
        let later = now + self.limits.idle_timeout;
        let Some(index) = self.find(host) else { return Look::Again(later) };
        if let Some(look) = self.look_muxed(index, id, now) {
            return match look {
                Ok(at) => Look::Again(at),
                Err(reason) => match self.remove_muxed(index, id) {
                    Some(held) => Look::Retire(held, reason),
                    None => Look::Again(later),
                },
            };
        }
        let Some(at) = self.hosts[index].idle.iter().position(|idle| idle.held.id == id) else {
            return Look::Again(later);
        };
        let idle = &self.hosts[index].idle[at];
        match idle.expired(self.limits.idle_timeout, now) {
            None => Look::Again(idle.expires_at(self.limits.idle_timeout)),
            Some(reason) => match self.pop_idle(index, id) {
                Some(held) => Look::Retire(held, reason),
                None => Look::Again(later),
            },
        }
    }

    pub(super) fn in_all(&self) -> PoolCounts {
        let mut counts = self.totals;
        counts.idle = self.idle;
        counts.waiting = self.waiting;
        counts.active = self.open - self.idle - counts.dialling;
        counts
    }

    pub(super) fn each_host(&self) -> Vec<HostCounts> {
        self.hosts.iter().map(Host::snapshot).collect()
    }
}

impl<C> Held<C> {
    fn is_too_old(&self, now: Instant) -> bool {
        self.retire_at.is_some_and(|at| at <= now)
    }
}
