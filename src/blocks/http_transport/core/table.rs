//! The host table: a slot per host, an unused one for the next when all are taken.

use std::collections::VecDeque;

use super::idle::Idle;
use super::muxed::{Ahead, Muxed, Share, Speaks};
use super::{Core, HostId, Limits};
use crate::blocks::http_transport::host::HostKey;
use crate::blocks::http_transport::metrics::{HostCounts, PoolCounts};
use crate::gates::wait_queue::{Rules, WaitQueue};

#[derive(Debug)]
pub(super) struct Host<C, W> {
    pub(super) key: HostKey,
    pub(super) generation: u32,
    pub(super) open: usize,
    /// Oldest in front; taken from the back.
    pub(super) idle: VecDeque<Idle<C>>,
    /// Oldest first.
    pub(super) muxed: Vec<Muxed<C>>,
    pub(super) speaks: Speaks,
    pub(super) queue: WaitQueue<InLine<W>>,
    /// Connections that are about to come back, oldest first. No more than are open.
    pub(super) settling: Vec<u64>,
    /// The promises to those in line, oldest first. None is made while as many are kept as settle.
    pub(super) patient: Vec<u64>,
    /// Connections that are being closed at once. No more than are open.
    pub(super) leaving: Vec<u64>,
    pub(super) ahead: Ahead,
    /// `idle` and `waiting` are kept by the lists themselves, `active` by subtraction.
    pub(super) counts: PoolCounts,
}

/// Somebody in line.
#[derive(Debug)]
pub(super) struct InLine<W> {
    pub(super) waiter: W,
    /// The number of what it was promised.
    pub(super) promise: Option<u64>,
}

impl<C: Share, W> Core<C, W> {
    pub(super) fn find(&self, host: HostId) -> Option<usize> {
        let known = self.hosts.get(host.index).is_some_and(|it| it.generation == host.generation);
        debug_assert!(known, "a host with a connection or a waiter keeps its slot");
        known.then_some(host.index)
    }

    /// The slot of a host that may have been forgotten: a connection that has ended keeps none.
    pub(super) fn known(&mut self, host: HostId) -> Option<&mut Host<C, W>> {
        self.hosts.get_mut(host.index).filter(|it| it.generation == host.generation)
    }

    pub(super) fn slot(&mut self, key: &HostKey) -> Option<usize> {
        if self.hosts.get(self.last).is_some_and(|last| last.key.is_spelt(key)) {
            return Some(self.last);
        }
        if let Some(index) = self.index.get(key) {
            self.last = *index;
            return Some(*index);
        }
        let index = if self.hosts.len() < self.limits.hosts {
            self.hosts.push(Host::new(key.clone(), 0, self.limits));
            self.hosts.len() - 1
        } else {
            let unused = self.hosts.iter().position(Host::is_unused)?;
            let old = &self.hosts[unused];
            let fresh = Host::new(key.clone(), old.generation.wrapping_add(1), self.limits);
            let old = std::mem::replace(&mut self.hosts[unused], fresh);
            self.index.remove(&old.key);
            unused
        };
        self.index.insert(key.clone(), index);
        self.last = index;
        Some(index)
    }
}

impl<C, W> Host<C, W> {
    pub(super) fn new(key: HostKey, generation: u32, limits: Limits) -> Self {
        Self {
            generation,
            open: 0,
            idle: VecDeque::new(),
            muxed: Vec::new(),
            speaks: if key.tls { limits.over_tls } else { limits.in_the_clear },
            queue: WaitQueue::new(Rules::new(limits.waiting_per_host)),
            settling: Vec::new(),
            patient: Vec::new(),
            leaving: Vec::new(),
            ahead: Ahead::default(),
            counts: PoolCounts::default(),
            key,
        }
    }

    pub(super) fn id(&self, index: usize) -> HostId {
        HostId { index, generation: self.generation }
    }

    pub(super) fn idle_now(&self) -> usize {
        self.idle.len() + self.muxed.iter().filter(|it| it.is_idle()).count()
    }

    /// The turn of its oldest idle connection.
    pub(super) fn oldest_idle(&self) -> Option<u64> {
        let shared = self.muxed.iter().filter_map(Muxed::idle_order).map(|(order, _)| order);
        shared.chain(self.idle.front().map(|idle| idle.order)).min()
    }

    pub(super) fn is_unused(&self) -> bool {
        self.open == 0 && self.queue.is_empty()
    }

    pub(super) fn snapshot(&self) -> HostCounts {
        let mut counts = self.counts;
        counts.idle = self.idle_now();
        counts.waiting = self.queue.len();
        counts.active = self.open - counts.idle - counts.dialling;
        HostCounts { host: self.key.to_string(), counts }
    }
}
