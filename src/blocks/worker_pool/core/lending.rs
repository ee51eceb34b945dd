//! Seats for callers of `run`: through the lock, or leased to be taken beside it (`lease.rs`).

use super::{Core, Seeker};
use crate::blocks::worker_pool::lease::Collected;
use crate::blocks::worker_pool::seats::{Runner, SeatNo, Seated};
use crate::blocks::worker_pool::task::TaskId;
use crate::gates::wait_queue::Place;
use crate::ground::time::Now;

impl<T: Seeker> Core<T> {
    /// A seat at once for a caller of `run`, when nobody waits and it fits.
    pub(in crate::blocks::worker_pool) fn sit_inline(
        &mut self,
        place: &Place,
        now: impl Now,
    ) -> Option<SeatNo> {
        let weight = place.weight.get();
        if !self.queue.is_empty() {
            return None;
        }
        self.recall_for(weight);
        if weight > self.seats.room() {
            return None;
        }
        self.ledger.accepted += 1;
        let id = TaskId(self.queue.next_number());
        // While seats are leased only one in so many comes here: that one is timed.
        let is_timed = self.timing.includes(id.0) || self.leased > 0 && self.timing.is_on();
        let since = is_timed.then(|| now.get());
        let seat = self.seats.sit(Seated { id, weight, since, runner: Runner::Caller });
        self.count_start();
        Some(seat)
    }

    /// While nobody waits and half of the seats are free: leases one to callers on this stripe.
    pub(in crate::blocks::worker_pool) fn lease(&mut self, stripe: usize) {
        let nobody_waits = self.queue.is_empty() && self.room.len() == 0 && !self.closed;
        let untimed = self.timing.untimed(self.queue.number());
        if !nobody_waits || untimed == 0 {
            return;
        }
        let (claims, has_seat) = self.leases.open(stripe, untimed);
        self.claims += claims;
        if !has_seat && self.seats.free() >= self.seats.limit() / 2 && self.seats.free() > 0 {
            self.seats.lend(1);
            self.leased += 1;
            self.leases.lend(stripe);
        }
    }

    /// Before anybody is told that there is no seat of this weight: takes back what is leased.
    #[inline]
    pub(super) fn recall_for(&mut self, weight: u32) {
        if self.leased > 0 && weight > self.seats.free() {
            self.recall();
        }
    }

    /// Takes back all that is leased and not in somebody's hands. Then somebody must settle.
    pub(in crate::blocks::worker_pool) fn recall(&mut self) {
        let Collected { seats, claims } = self.leases.recall();
        self.leased -= seats;
        self.claims += claims;
        self.seats.take_back(seats);
    }

    /// Callers inside `run`.
    pub(in crate::blocks::worker_pool) fn in_run(&self) -> u32 {
        let seated = self.seats.iter().filter(|seated| seated.runner == Runner::Caller).count();
        // Never more than there are seats.
        seated as u32 + self.leased - self.leases.look().0.seats
    }
}
