//! The idle lists: newest used first, oldest closed first.

use std::time::Duration;

use super::muxed::Muxed;
use super::{Closing, Core, Held, Share};
use crate::blocks::http_transport::metrics::CloseReason;
use crate::ground::time::Instant;

#[derive(Debug)]
pub(super) struct Idle<C> {
    pub(super) held: Held<C>,
    pub(super) since: Instant,
    /// Which became idle first, over all hosts.
    pub(super) order: u64,
}

impl<C: Share, W> Core<C, W> {
    pub(super) fn keep(
        &mut self,
        index: usize,
        held: Held<C>,
        now: Instant,
        closing: &mut Closing<C>,
    ) {
        if self.limits.idle_per_host == 0 || self.limits.idle_overall == 0 {
            self.leave(held, CloseReason::Surplus, closing);
            return;
        }
        self.make_room(index, closing);
        self.serial += 1;
        let idle = Idle { held, since: now, order: self.serial };
        self.hosts[index].idle.push_back(idle);
        self.idle += 1;
    }

    /// For one more idle connection. The newest stay: they most likely still work.
    pub(super) fn make_room(&mut self, index: usize, closing: &mut Closing<C>) {
        let surplus = if self.hosts[index].idle_now() >= self.limits.idle_per_host {
            self.pop_oldest_of(index)
        } else if self.idle >= self.limits.idle_overall {
            self.pop_oldest()
        } else {
            None
        };
        if let Some(held) = surplus {
            self.leave(held, CloseReason::Surplus, closing);
        }
    }

    pub(super) fn pop_oldest_of(&mut self, index: usize) -> Option<Held<C>> {
        let host = &mut self.hosts[index];
        let shared = host.muxed.iter().filter_map(Muxed::idle_order).min();
        let own = host.idle.front().map(|idle| idle.order);
        match shared {
            Some((order, id)) if own.is_none_or(|own| order < own) => self.remove_muxed(index, id),
            _ => {
                let idle = host.idle.pop_front()?;
                self.idle -= 1;
                Some(idle.held)
            }
        }
    }

    /// O(hosts), and only at the idle or the overall cap.
    pub(super) fn pop_oldest(&mut self) -> Option<Held<C>> {
        let fronts = self.hosts.iter().enumerate();
        let oldest = fronts.filter_map(|(at, host)| Some((host.oldest_idle()?, at))).min();
        oldest.and_then(|(_, index)| self.pop_oldest_of(index))
    }

    /// Since when the oldest of all is idle. O(hosts).
    pub(in crate::blocks::http_transport) fn oldest_idle_since(&self) -> Option<Instant> {
        let single = self.hosts.iter().filter_map(|host| host.idle.front().map(|it| it.since));
        let shared = self.hosts.iter().flat_map(|host| &host.muxed).filter_map(Muxed::idle_since);
        single.chain(shared).min()
    }

    /// Nothing is kept any more: all that is idle leaves, and what comes back is surplus.
    pub(in crate::blocks::http_transport) fn retire(&mut self, closing: &mut Closing<C>) {
        self.limits.idle_overall = 0;
        while let Some(held) = self.pop_oldest() {
            self.leave(held, CloseReason::Retired, closing);
        }
    }

    pub(super) fn pop_idle(&mut self, index: usize, id: u64) -> Option<Held<C>> {
        let list = &mut self.hosts[index].idle;
        let at = list.iter().position(|idle| idle.held.id == id)?;
        let idle = list.remove(at)?;
        self.idle -= 1;
        Some(idle.held)
    }

    pub(super) fn reused(&mut self, index: usize) {
        self.hosts[index].counts.reused += 1;
        self.totals.reused += 1;
    }
}

impl<C> Idle<C> {
    pub(super) fn expired(&self, idle_timeout: Duration, now: Instant) -> Option<CloseReason> {
        if self.held.is_too_old(now) {
            Some(CloseReason::MaxAge)
        } else if now.saturating_duration_since(self.since) >= idle_timeout {
            Some(CloseReason::IdleTimeout)
        } else {
            None
        }
    }

    pub(super) fn expires_at(&self, idle_timeout: Duration) -> Instant {
        let idle_until = self.since + idle_timeout;
        self.held.retire_at.map_or(idle_until, |at| at.min(idle_until))
    }
}
