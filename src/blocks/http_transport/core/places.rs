//! Places under both caps, and whose turn it is.

use std::cmp::Reverse;

use super::muxed::{Share, Speaks};
use super::table::InLine;
use super::{Closing, Core, Grant, Grants};
use crate::gates::wait_queue::{Rules, Take};
use crate::ground::priority::Priority;
use crate::ground::time::Instant;

impl<C: Share, W> Core<C, W> {
    pub(super) fn has_place(&self, index: usize) -> bool {
        self.open < self.limits.open_overall && self.may_dial(index)
    }

    pub(super) fn dial(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        host.open += 1;
        host.counts.dialling += 1;
        self.open += 1;
        self.totals.dialling += 1;
    }

    pub(super) fn free(
        &mut self,
        index: usize,
        now: Instant,
        closing: &mut Closing<C>,
        grants: &mut Grants<C, W>,
    ) {
        self.hosts[index].open -= 1;
        self.open -= 1;
        self.balance(now, closing, grants);
    }

    /// Places for those who may dial, while there are. A dial may bring a host to its cap: then an
    /// idle connection makes room for the next one that may not use it.
    pub(super) fn serve(
        &mut self,
        now: Instant,
        closing: &mut Closing<C>,
        grants: &mut Grants<C, W>,
    ) {
        while self.open < self.limits.open_overall
            && let Some(next) = self.next_dialler(None)
            && let Some(waiter) = self.take(next, now)
        {
            self.turn = next + 1;
            self.passed = 0;
            self.dial(next);
            grants.push((waiter, Grant::Dial(self.hosts[next].id(next))));
            self.replace(next, closing);
        }
    }

    /// By the rules of the host alone: below its cap, and where connections are or may be shared,
    /// one dial at a time.
    pub(super) fn may_dial(&self, index: usize) -> bool {
        let host = &self.hosts[index];
        let alone = host.speaks == Speaks::Single || host.counts.dialling == 0;
        alone && host.open < self.limits.open_per_host
    }

    /// The highest-class head among the hosts below their cap where somebody waits to whom nothing
    /// is promised, round robin on a tie; not `but`.
    pub(super) fn next_dialler(&mut self, but: Option<usize>) -> Option<usize> {
        let mut best: Option<(Priority, Reverse<usize>, usize)> = None;
        for at in 0..self.lines.len() {
            let index = self.lines[at];
            if Some(index) == but || !self.may_dial(index) || self.hosts[index].unpromised() == 0 {
                continue;
            }
            let Some(class) = self.hosts[index].queue.head().map(|head| head.class) else {
                continue;
            };
            // How far it is from where the search starts.
            let slots = self.hosts.len();
            let distance = (index + slots - self.turn % slots) % slots;
            best = best.max(Some((class, Reverse(distance), index)));
        }
        best.map(|(.., index)| index)
    }

    /// Whether a connection of this host must end, so that another host's head may dial: at once
    /// when nobody of its own waits, else after [`Rules::STARVATION_BOUND`] hand-overs in a row
    /// past a head of no lower class.
    pub(super) fn must_yield(&mut self, index: usize) -> bool {
        if self.missing(Some(index)) == 0 {
            return false;
        }
        let Some(other) = self.next_dialler(Some(index)) else { return false };
        let theirs = self.hosts[other].queue.head().map(|head| head.class);
        match self.hosts[index].queue.head().map(|head| head.class) {
            None => true,
            Some(own) if theirs >= Some(own) => {
                self.passed += 1;
                self.passed > Rules::STARVATION_BOUND
            }
            Some(_) => false,
        }
    }

    pub(super) fn take(&mut self, index: usize, now: Instant) -> Option<W> {
        match self.hosts[index].queue.take(1, now) {
            Take::Granted(granted) => {
                let InLine { waiter, promise } = granted.value;
                self.has_left_line(index, promise);
                Some(waiter)
            }
            // Weights are 1 and nobody has a deadline.
            Take::Expired(_) | Take::TooLarge(_) | Take::Shed(_) => None,
            Take::Short { .. } | Take::Empty => None,
        }
    }

    /// One of them has left the line of slot `index`, whatever for, and whatever it was promised.
    pub(super) fn has_left_line(&mut self, index: usize, promise: Option<u64>) {
        self.waiting -= 1;
        self.hosts[index].forget(promise);
        if self.hosts[index].queue.is_empty() {
            self.lines.retain(|it| *it != index);
        }
    }
}
