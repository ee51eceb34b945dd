//! Connections that carry many requests at once: who gets a stream of which, and when the next
//! connection is dialled.

use std::time::Duration;

use super::table::Host;
use super::{Closing, Core, Grant, Grants, Held, HostId};
use crate::blocks::http_transport::metrics::CloseReason;
use crate::ground::exponential::exponential;
use crate::ground::priority::Priority;
use crate::ground::time::Instant;

/// What several requests can hold at once.
pub(in crate::blocks::http_transport) trait Share: Sized {
    /// Another end of the same connection; `None` where there can be only one.
    fn share(&self) -> Option<Self>;

    /// Whether it takes no more requests, though its task has yet to say so. Cheap: asked under the
    /// lock.
    fn is_closed(&self) -> bool;
}

/// What connections to a host are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::blocks::http_transport) enum Speaks {
    /// Each carries one request at a time (HTTP/1.1).
    Single,
    /// Each carries many (HTTP/2), so one dial at a time is enough.
    Muxed,
    /// The first one will tell; until then one dial at a time.
    Unknown,
}

/// Who gets the first stream of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::blocks::http_transport) enum First {
    /// The request that dialled it.
    Dialler,
    /// It was dialled before streams ran out, by no request.
    Line,
}

/// A shared connection that takes requests. One that is being drained is no longer here.
#[derive(Debug)]
pub(super) struct Muxed<C> {
    held: Held<C>,
    /// Carried now.
    streams: usize,
    /// What the peer and the configuration allow.
    most: usize,
    /// Since when it carries none, and which began that first over all hosts.
    idle: Option<(Instant, u64)>,
}

/// The next connection is dialled when no more than this share of a host's streams is free.
const SPARE: usize = 8;

/// The pauses between dials ahead of need that fail: nobody waits for them, and nobody would notice
/// how often they are tried.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// When the next connection may be dialled ahead of need again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ahead {
    /// In a row, since the host was last reached.
    failures: u32,
    not_before: Option<Instant>,
}

impl Ahead {
    pub(super) fn failed(&mut self, now: Instant) {
        let pause = exponential(FIRST_PAUSE, 2.0, LONGEST_PAUSE, self.failures);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + pause);
    }

    fn may_try(self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }
}

impl<C: Share, W> Core<C, W> {
    /// A stream of the oldest connection that has one, so that the others can end when there is
    /// less to do. What is too old or was idle too long leaves.
    pub(super) fn lend(
        &mut self,
        index: usize,
        now: Instant,
        closing: &mut Closing<C>,
    ) -> Option<Held<C>> {
        let mut at = 0;
        while let Some(muxed) = self.hosts[index].muxed.get(at) {
            let is_dead = muxed.held.conn.is_closed().then_some(CloseReason::ByPeer);
            if let Some(reason) = is_dead.or_else(|| self.is_over(muxed, now)) {
                self.take_out(index, at, reason, closing);
            } else if muxed.streams < muxed.most {
                let held = self.take_stream(index, at)?;
                self.reused(index);
                return Some(held);
            } else {
                at += 1;
            }
        }
        None
    }

    fn take_stream(&mut self, index: usize, at: usize) -> Option<Held<C>> {
        let muxed = &mut self.hosts[index].muxed[at];
        let Held { host, id, retire_at, .. } = muxed.held;
        let held = Held { conn: muxed.held.conn.share()?, host, id, retire_at };
        muxed.streams += 1;
        if muxed.idle.take().is_some() {
            self.idle -= 1;
        }
        self.hosts[index].counts.streams += 1;
        self.totals.streams += 1;
        Some(held)
    }

    /// Whether so few streams are free that the next connection is to be dialled now.
    pub(super) fn runs_out(&self, index: usize, now: Instant) -> bool {
        let Host { muxed, ahead, .. } = &self.hosts[index];
        let most: usize = muxed.iter().map(|it| it.most).sum();
        let free: usize = muxed.iter().map(|it| it.most.saturating_sub(it.streams)).sum();
        free <= most / SPARE && ahead.may_try(now) && self.may_dial(index) && self.has_place(index)
    }

    /// A place became a shared connection with `most` streams. Its streams are for whoever `first`
    /// says, then for its host's line.
    pub(in crate::blocks::http_transport) fn opened_muxed(
        &mut self,
        held: Held<C>,
        most: usize,
        first: First,
        now: Instant,
        closing: &mut Closing<C>,
        grants: &mut Grants<C, W>,
    ) -> Option<Held<C>> {
        let Some(index) = self.find(held.host) else {
            closing.push((held, CloseReason::Surplus));
            return None;
        };
        self.hosts[index].speaks = Speaks::Muxed;
        let id = held.id;
        self.hosts[index].muxed.push(Muxed { held, streams: 0, most, idle: None });
        let at = self.hosts[index].muxed.len() - 1;
        let own = match first {
            First::Dialler => self.take_stream(index, at),
            First::Line => None,
        };
        self.fill(index, at, now, grants);
        if self.hosts[index].muxed[at].streams == 0 && self.must_yield(index) {
            self.yields(index);
            self.take_out(index, at, CloseReason::Displaced, closing);
        } else {
            self.rest(index, id, now, closing);
        }
        self.balance(now, closing, grants);
        own
    }

    /// The peer allows another number of streams now.
    pub(in crate::blocks::http_transport) fn set_most(
        &mut self,
        host: HostId,
        id: u64,
        most: usize,
        now: Instant,
        closing: &mut Closing<C>,
        grants: &mut Grants<C, W>,
    ) {
        let Some((index, at)) = self.find_muxed(host, id) else { return };
        self.hosts[index].muxed[at].most = most;
        self.fill(index, at, now, grants);
        self.balance(now, closing, grants);
    }

    /// A request over a shared connection has ended.
    pub(in crate::blocks::http_transport) fn stream_ended(
        &mut self,
        host: HostId,
        id: u64,
        now: Instant,
        closing: &mut Closing<C>,
        grants: &mut Grants<C, W>,
    ) {
        self.totals.streams -= 1;
        if let Some(known) = self.known(host) {
            known.counts.streams -= 1;
        }
        // Not there: it is being drained, or has ended before what it carried.
        let Some((index, at)) = self.find_muxed(host, id) else { return };
        self.hosts[index].muxed[at].streams -= 1;
        let busy = self.hosts[index].muxed[at].streams > 0;
        let yields = if busy { self.must_yield_busy(index) } else { self.must_yield(index) };
        if yields {
            self.yields(index);
            self.take_out(index, at, CloseReason::Displaced, closing);
        } else {
            self.fill(index, at, now, grants);
            self.rest(index, id, now, closing);
        }
        self.balance(now, closing, grants);
    }

    /// A shared connection takes no more requests; its place is free when it has ended.
    pub(in crate::blocks::http_transport) fn drain(
        &mut self,
        host: HostId,
        id: u64,
        now: Instant,
        closing: &mut Closing<C>,
        grants: &mut Grants<C, W>,
    ) -> Option<Held<C>> {
        let (index, at) = self.find_muxed(host, id)?;
        let held = self.remove(index, at);
        self.balance(now, closing, grants);
        Some(held)
    }

    /// Streams for the head of the host's line, while there are.
    fn fill(&mut self, index: usize, at: usize, now: Instant, grants: &mut Grants<C, W>) {
        loop {
            let muxed = &self.hosts[index].muxed[at];
            if muxed.streams >= muxed.most {
                return;
            }
            let Some(waiter) = self.take(index, now) else { return };
            let Some(held) = self.take_stream(index, at) else { return };
            grants.push((waiter, Grant::Use(held)));
        }
    }

    /// A connection that carries nothing is idle from now on, or surplus.
    fn rest(&mut self, index: usize, id: u64, now: Instant, closing: &mut Closing<C>) {
        let Some(at) = self.hosts[index].muxed.iter().position(|it| it.held.id == id) else {
            return;
        };
        if self.hosts[index].muxed[at].streams > 0 {
            return;
        }
        if self.limits.idle_per_host == 0 || self.limits.idle_overall == 0 {
            self.take_out(index, at, CloseReason::Surplus, closing);
            return;
        }
        self.make_room(index, closing);
        self.serial += 1;
        let order = self.serial;
        // Its index may be another by now.
        if let Some(muxed) = self.hosts[index].muxed.iter_mut().find(|it| it.held.id == id) {
            muxed.idle = Some((now, order));
            self.idle += 1;
        }
    }

    pub(super) fn remove_muxed(&mut self, index: usize, id: u64) -> Option<Held<C>> {
        let at = self.hosts[index].muxed.iter().position(|it| it.held.id == id)?;
        Some(self.remove(index, at))
    }

    /// It ends: at once if it carries nothing, else with what it carries.
    fn take_out(&mut self, index: usize, at: usize, reason: CloseReason, closing: &mut Closing<C>) {
        let busy = self.hosts[index].muxed[at].streams > 0;
        let held = self.remove(index, at);
        if busy {
            closing.push((held, reason));
        } else {
            self.leave(held, reason, closing);
        }
    }

    fn remove(&mut self, index: usize, at: usize) -> Held<C> {
        let muxed = self.hosts[index].muxed.remove(at);
        if muxed.idle.is_some() {
            self.idle -= 1;
        }
        muxed.held
    }

    fn find_muxed(&self, host: HostId, id: u64) -> Option<(usize, usize)> {
        let known = self.hosts.get(host.index).filter(|it| it.generation == host.generation)?;
        let at = known.muxed.iter().position(|it| it.held.id == id)?;
        Some((host.index, at))
    }

    fn is_over(&self, muxed: &Muxed<C>, now: Instant) -> Option<CloseReason> {
        if muxed.held.is_too_old(now) {
            return Some(CloseReason::MaxAge);
        }
        let (since, _) = muxed.idle?;
        let idle = now.saturating_duration_since(since) >= self.limits.idle_timeout;
        idle.then_some(CloseReason::IdleTimeout)
    }

    /// When a shared connection is to be looked at again, or why it has to go now.
    pub(super) fn look_muxed(
        &self,
        index: usize,
        id: u64,
        now: Instant,
    ) -> Option<Result<Instant, CloseReason>> {
        let muxed = self.hosts[index].muxed.iter().find(|it| it.held.id == id)?;
        if let Some(reason) = self.is_over(muxed, now) {
            return Some(Err(reason));
        }
        let idle_until = muxed.idle.map_or(now, |(since, _)| since) + self.limits.idle_timeout;
        Some(Ok(muxed.held.retire_at.map_or(idle_until, |at| at.min(idle_until))))
    }

    /// As [`must_yield`](Self::must_yield), for a connection that still carries requests: never at
    /// once, since they have to end first.
    fn must_yield_busy(&mut self, index: usize) -> bool {
        let theirs = self.held_back(index).max(self.held_back_above(index));
        let own = self.hosts[index].queue.head().map_or(Priority::Low, |head| head.class);
        self.must_yield_after_a_while(theirs, own)
    }
}

impl<C> Muxed<C> {
    pub(super) fn is_idle(&self) -> bool {
        self.idle.is_some()
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.idle.map(|(since, _)| since)
    }

    /// Its number and since which turn it is idle.
    pub(super) fn idle_order(&self) -> Option<(u64, u64)> {
        self.idle.map(|(_, order)| (order, self.held.id))
    }
}
