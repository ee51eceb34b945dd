//! Connections between two states, and what a waiter may expect of them.
//!
//! One that *settles* has carried an answer to its end and is about to come back: its task has only
//! to notice. It is *promised* to a waiter that came while it settled, and nobody dials for that one:
//! so only who can lose its patience is promised anything.
//! One that *leaves* was taken out of the pool to be closed at once: its place will be free, so that
//! no other connection is closed for whoever gets it.

use super::muxed::{Share, Speaks};
use super::table::Host;
use super::{Closing, Core, Grants, Held, HostId};
use crate::blocks::http_transport::metrics::CloseReason;
use crate::ground::time::Instant;

impl<C: Share, W> Core<C, W> {
    /// Connection `id` is about to come back.
    pub(in crate::blocks::http_transport) fn settles(&mut self, host: HostId, id: u64) {
        if let Some(known) = self.known(host) {
            known.settling.push(id);
        }
    }

    /// It takes longer than that, if it comes back at all: nobody counts on it any more.
    pub(in crate::blocks::http_transport) fn lingers(
        &mut self,
        host: HostId,
        id: u64,
        now: Instant,
        closing: &mut Closing<C>,
        grants: &mut Grants<C, W>,
    ) {
        if let Some(known) = self.known(host) {
            known.has_settled(id);
            self.replace(host.index, closing);
            self.balance(now, closing, grants);
        }
    }

    /// Who was promised a connection under this number has waited for too long: of those that settle,
    /// the oldest are not counted on any more.
    pub(in crate::blocks::http_transport) fn lose_patience(
        &mut self,
        host: HostId,
        promise: u64,
        now: Instant,
        closing: &mut Closing<C>,
        grants: &mut Grants<C, W>,
    ) {
        let Some(known) = self.known(host) else { return };
        // Not there: it has been served in between.
        if !known.forget(Some(promise)) {
            return;
        }
        let too_many = known.settling.len().saturating_sub(known.patient.len());
        known.settling.drain(..too_many);
        self.replace(host.index, closing);
        self.balance(now, closing, grants);
    }

    /// `held` is to be closed, and carries nothing.
    pub(super) fn leave(&mut self, held: Held<C>, reason: CloseReason, closing: &mut Closing<C>) {
        if let Some(index) = self.find(held.host) {
            self.hosts[index].leaving.push(held.id);
            self.leaving += 1;
        }
        closing.push((held, reason));
    }

    /// Connection `id` has ended, whatever it was.
    pub(super) fn has_left(&mut self, index: usize, id: u64) {
        let host = &mut self.hosts[index];
        host.has_settled(id);
        if let Some(at) = host.leaving.iter().position(|it| *it == id) {
            host.leaving.swap_remove(at);
            self.leaving -= 1;
        }
    }

    /// Places to those who may dial, and where there are too few, idle connections of others make
    /// room. After every event by which somebody may dial who could not before.
    pub(in crate::blocks::http_transport) fn balance(
        &mut self,
        now: Instant,
        closing: &mut Closing<C>,
        grants: &mut Grants<C, W>,
    ) {
        self.serve(now, closing, grants);
        self.displace(closing);
    }

    /// At its host's cap, an idle connection makes room for who may not use it (its own of the same
    /// host was dead), unless one is being closed already.
    pub(super) fn replace(&mut self, index: usize, closing: &mut Closing<C>) {
        let host = &self.hosts[index];
        if host.open < self.limits.open_per_host {
            return;
        }
        for _ in host.leaving.len()..host.unpromised() {
            let Some(held) = self.pop_oldest_of(index) else { return };
            self.leave(held, CloseReason::Replaced, closing);
        }
    }

    /// Closes the oldest idle connections: as many as could dial but for the overall cap, those
    /// left out whose place is coming.
    pub(super) fn displace(&mut self, closing: &mut Closing<C>) {
        for _ in 0..self.missing(None) {
            let Some(held) = self.pop_oldest() else { return };
            self.leave(held, CloseReason::Displaced, closing);
        }
    }

    /// How many could dial if there were places, beyond those places that are coming. Those of
    /// slot `but` are not counted. O(lines), and only at the overall cap.
    pub(super) fn missing(&self, but: Option<usize>) -> usize {
        if self.waiting == 0 || self.open < self.limits.open_overall {
            return 0;
        }
        self.could_dial_in_all(but).saturating_sub(self.leaving)
    }

    /// How many could dial if there were places.
    pub(super) fn could_dial_in_all(&self, but: Option<usize>) -> usize {
        let others = self.lines.iter().filter(|index| Some(**index) != but);
        others.map(|index| self.could_dial(&self.hosts[*index])).sum()
    }

    /// How many of a host's line could dial, by its own rules.
    fn could_dial(&self, host: &Host<C, W>) -> usize {
        let room = self.limits.open_per_host.saturating_sub(host.open);
        let room = match host.speaks {
            Speaks::Single => room,
            Speaks::Muxed | Speaks::Unknown if host.counts.dialling == 0 => room.min(1),
            Speaks::Muxed | Speaks::Unknown => 0,
        };
        room.min(host.unpromised())
    }
}

impl<C, W> Host<C, W> {
    /// Those in line to whom no connection is promised.
    pub(super) fn unpromised(&self) -> usize {
        self.queue.len() - self.promised()
    }

    /// Those who came while a connection settled, as far as so many still do.
    fn promised(&self) -> usize {
        self.settling.len().min(self.patient.len())
    }

    /// Whether more connections are about to come back than are promised, and all who wait have a
    /// promise.
    pub(super) fn may_count_on_another(&self) -> bool {
        self.settling.len() > self.patient.len() && self.unpromised() == 0
    }

    /// Who was promised something under this number has left the line, or lost its patience.
    /// `false`: nothing was.
    pub(super) fn forget(&mut self, promise: Option<u64>) -> bool {
        let at = promise.and_then(|promise| self.patient.iter().position(|it| *it == promise));
        at.map(|at| self.patient.remove(at)).is_some()
    }

    /// Connection `id` is back, or nobody counts on it.
    pub(super) fn has_settled(&mut self, id: u64) {
        if let Some(at) = self.settling.iter().position(|it| *it == id) {
            self.settling.remove(at);
        }
    }
}
