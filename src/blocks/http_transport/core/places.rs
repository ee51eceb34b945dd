//! Places under both caps, and whose turn it is.

use std::cmp::Reverse;

use super::muxed::{Share, Speaks};
use super::table::InLine;
use super::{Calls, Closing, Core, Grant, Grants, Seat, Wants};
use crate::blocks::http_transport::metrics::CloseReason;
use crate::gates::wait_queue::{Rules, Take};
use crate::ground::priority::Priority;
use crate::ground::time::Instant;

impl<C: Share, W> Core<C, W> {
    pub(super) fn has_place(&self, index: usize) -> bool {
        self.open < self.limits.open_overall && self.may_dial(index)
    }

    /// Takes a place for a dial of slot `index` by nobody in line, if there is one.
    pub(super) fn try_dial(&mut self, index: usize) -> bool {
        let may = self.has_place(index) && self.takes_one(Seat::takes_free);
        if may {
            self.dial(index);
        }
        may
    }

    /// A place beneath the ceiling. Whoever is given it here frees it there as well.
    fn takes_one(&mut self, takes: fn(&Seat) -> bool) -> bool {
        let Some(seat) = &self.seat else { return true };
        let took = takes(seat);
        if took {
            self.said = None;
        }
        took
    }

    fn dial(&mut self, index: usize) {
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
            && self.takes_one(Seat::takes)
        {
            let Some(waiter) = self.take(next, now) else {
                // Never, since it has a head.
                self.seat.iter().for_each(Seat::puts_back);
                return;
            };
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
        let theirs = self.held_back(index);
        match self.hosts[index].queue.head().map(|head| head.class) {
            None => theirs.is_some(),
            Some(own) => {
                let theirs = theirs.max(self.held_back_above(index));
                self.must_yield_after_a_while(theirs, own)
            }
        }
    }

    /// A connection of slot `index` ends for another host: that one is next, or another pool.
    pub(super) fn yields(&mut self, index: usize) {
        self.passed = 0;
        self.turn = index + 1;
        self.seat.iter().for_each(Seat::yields);
    }

    /// After [`Rules::STARVATION_BOUND`] times in a row.
    pub(super) fn must_yield_after_a_while(
        &mut self,
        theirs: Option<Priority>,
        own: Priority,
    ) -> bool {
        if theirs < Some(own) {
            return false;
        }
        self.passed += 1;
        self.passed > Rules::STARVATION_BOUND
    }

    /// The class of another host's head that could dial but for the overall cap.
    pub(super) fn held_back(&mut self, index: usize) -> Option<Priority> {
        if self.missing(Some(index)) == 0 { None } else { self.class_of_next(Some(index)) }
    }

    /// The class of another host's head, or of another pool's, that could dial but for the ceiling.
    /// (Idle connections are closed for it after this, by [`ceiling`](super::super::ceiling).)
    pub(super) fn held_back_above(&mut self, index: usize) -> Option<Priority> {
        let seat = self.seat.as_ref().filter(|seat| seat.is_short())?;
        let elsewhere = seat.held_back_elsewhere();
        let has_room = self.open < self.limits.open_overall;
        let here = if has_room { self.class_of_next(Some(index)) } else { None };
        elsewhere.max(here)
    }

    fn class_of_next(&mut self, but: Option<usize>) -> Option<Priority> {
        let next = self.next_dialler(but)?;
        self.hosts[next].queue.head().map(|head| head.class)
    }

    /// What this pool wants of the ceiling. O(lines), while anybody waits.
    fn wants(&mut self) -> Wants {
        let room = self.limits.open_overall - self.open;
        let places = if room == 0 { 0 } else { self.could_dial_in_all(None).min(room) };
        let class = if places > 0 { self.class_of_next(None) } else { None };
        Wants { places, class, leaving: self.leaving }
    }

    /// After each change. `true`: there are places for some who wait; [`balance`](Self::balance), and
    /// say it again. `calls`: who else is to look again, after the unlock.
    #[inline]
    pub(in crate::blocks::http_transport) fn says_what_it_wants(
        &mut self,
        calls: &mut Calls,
    ) -> bool {
        self.seat.is_some() && self.says(calls)
    }

    fn says(&mut self, calls: &mut Calls) -> bool {
        if let Some(seat) = self.seat.as_ref().filter(|_| self.idle != self.counted_idle) {
            seat.has_idle(self.idle, self.counted_idle);
            self.counted_idle = self.idle;
        }
        let wants = self.wants();
        if self.said == Some(wants) {
            return false;
        }
        self.said = Some(wants);
        self.seat.as_ref().is_some_and(|seat| seat.says(wants, calls))
    }

    /// An idle connection, the oldest, makes room for another pool's request.
    pub(in crate::blocks::http_transport) fn makes_room(&mut self, closing: &mut Closing<C>) {
        if let Some(held) = self.pop_oldest() {
            self.leave(held, CloseReason::Displaced, closing);
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
