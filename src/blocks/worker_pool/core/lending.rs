//! Seats and slots that are lent out, to be used beside the lock (`lease.rs`).

use std::time::Duration;

use super::{Core, Job, Seeker, TaskSlot};
use crate::Priority;
use crate::blocks::worker_pool::errands::Errands;
use crate::blocks::worker_pool::lease::{Collected, Tally};
use crate::blocks::worker_pool::seats::{Runner, SeatNo, Seated};
use crate::blocks::worker_pool::task::TaskId;
use crate::gates::wait_queue::{Place, Ticket};
use crate::ground::list::NIL;
use crate::ground::time::{Instant, Now};

/// What the core knows of it.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Seats in the leases' words, in the hands of those who claimed them, and of tasks in slots.
    pub(super) leased: u32,
    /// Some word is, so that a seat may be taken, or given back there.
    is_open: bool,
    /// Claims that were collected.
    pub(super) claims: u64,
    /// Claims of tasks that were moved: they are counted in the queue, or have a seat, by now.
    pub(super) moved: u64,
    /// One bit for each stripe whose slot is open.
    open: u32,
    /// Those that were moved into the queue since slots were last opened: not more than slots.
    queued: Vec<Ticket>,
    /// So many of those that were timed are in the mean by now, and took so long together.
    timed: u64,
    took_ns: u64,
}

impl Beside {
    /// Slots that are open.
    #[inline]
    pub(super) fn slots(&self) -> usize {
        self.open.count_ones() as usize
    }
}

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
        Some(self.sit(id, weight, Runner::Caller, now))
    }

    /// While nobody waits and half of the seats are free: leases one to whoever is on this stripe,
    /// and opens the slot there.
    pub(in crate::blocks::worker_pool) fn lease(&mut self, stripe: usize) {
        let nobody_waits = self.queue.is_empty() && self.room.len() == 0 && !self.closed;
        if !nobody_waits || self.is_adaptive() {
            return;
        }
        self.learn();
        self.beside.is_open = true;
        let (claims, has_seat) = self.leases.open(stripe);
        self.beside.claims += claims;
        if !has_seat && self.seats.free() >= self.seats.limit() / 2 && self.seats.free() > 0 {
            self.seats.lend(1);
            self.beside.leased += 1;
            self.leases.lend(stripe);
        }
        self.open_slot(stripe);
    }

    /// As many slots as the lowest class may have places, so that each of their tasks would have
    /// been admitted to the queue as well.
    fn open_slot(&mut self, stripe: usize) {
        let Beside { open, queued, .. } = &mut self.beside;
        let bit = 1 << stripe;
        if *open & bit == 0 && (open.count_ones() as usize) < self.queue.limit(Priority::Low) {
            self.leases.slot(stripe).open();
            *open |= bit;
            queued.clear();
        }
    }

    /// Before anybody is admitted: what lies in the slots joins the queue, and nothing is put there
    /// until they are opened again.
    #[inline]
    pub(in crate::blocks::worker_pool) fn close_slots(&mut self) {
        if self.beside.open != 0 {
            self.close_each();
        }
    }

    #[cold]
    fn close_each(&mut self) {
        self.learn();
        while self.beside.open != 0 {
            let stripe = self.beside.open.trailing_zeros() as usize;
            self.beside.open &= self.beside.open - 1;
            if let Some(task) = self.leases.slot(stripe).close() {
                self.move_to_queue(task);
            }
        }
        if !self.queue.is_empty() {
            self.recall();
        }
    }

    /// A worker looks for work: what lies in the slots joins the queue, and then they are closed.
    #[inline]
    pub(super) fn look_into_slots(&mut self) {
        if self.beside.open != 0 {
            self.look_into_each();
        }
    }

    #[cold]
    fn look_into_each(&mut self) {
        self.learn();
        let mut open = self.beside.open;
        let mut found = Vec::new();
        while open != 0 {
            found.extend(self.leases.slot(open.trailing_zeros() as usize).look());
            open &= open - 1;
        }
        if !found.is_empty() {
            found.into_iter().for_each(|task| self.move_to_queue(task));
            self.close_slots();
        }
    }

    /// What was timed beside the lock goes into the mean.
    fn learn(&mut self) {
        let Tally { timed, took_ns, .. } = self.leases.look();
        let Beside { timed: known, took_ns: known_ns, .. } = &mut self.beside;
        let samples = timed - std::mem::replace(known, timed);
        let ns = took_ns.wrapping_sub(std::mem::replace(known_ns, took_ns));
        if let Some(mean_ns) = ns.checked_div(samples) {
            self.service.samples(Duration::from_nanos(mean_ns), samples);
            self.mean_moved();
        }
    }

    /// With the seat it has, which becomes free: it is the next one's that is taken.
    fn move_to_queue(&mut self, task: T) {
        self.unlease();
        let TaskId(number) = task.number(|| self.queue.next_number());
        let ticket = self.queue.resume(Place::new(task.class()), number, task);
        self.beside.queued.push(ticket);
    }

    /// One task that was beside the lock is the core's from here on, and so is its seat.
    fn unlease(&mut self) {
        self.beside.moved += 1;
        self.beside.leased -= 1;
        self.seats.take_back(1);
    }

    /// Where a task of this number waits, that was put into a slot once. One that does not wait has
    /// a ticket that names no place.
    pub(in crate::blocks::worker_pool) fn ticket_of(&self, TaskId(number): TaskId) -> Ticket {
        let queued = self.beside.queued.iter().find(|ticket| ticket.serial == number);
        queued.copied().unwrap_or(Ticket { index: NIL, serial: number })
    }

    /// The number of what gets one only because somebody asks.
    pub(in crate::blocks::worker_pool) fn next_number(&mut self) -> u64 {
        self.queue.next_number()
    }

    /// A task was put into a slot into which nobody was going to look.
    pub(in crate::blocks::worker_pool) fn tell(&mut self, out: &mut Errands<T>) {
        self.rouse(out);
    }

    /// Whoever began this then, out of a slot, can't go on with it: a worker is to, if there is one.
    pub(in crate::blocks::worker_pool) fn adopt(
        &mut self,
        task: T,
        since: Option<Instant>,
        out: &mut Errands<T>,
    ) -> Result<(), T> {
        if self.deserted {
            return Err(task);
        }
        self.unlease();
        let id = task.number(|| self.queue.next_number());
        let seat = self.seats.keep(Seated { id, weight: 1, since, runner: Runner::Helper });
        self.handed.push_back(Job { seat, task });
        self.rouse(out);
        Ok(())
    }

    /// Before anybody is told that there is no seat of this weight: takes back what is leased.
    #[inline]
    fn recall_for(&mut self, weight: u32) {
        if weight > self.seats.free() {
            self.recall();
        }
    }

    /// Takes back all that is leased and not in use.
    #[inline]
    pub(super) fn recall(&mut self) {
        if self.beside.is_open {
            self.collect();
        }
    }

    /// The same, also of what has come back since. Then somebody must settle.
    #[cold]
    pub(in crate::blocks::worker_pool) fn collect(&mut self) {
        self.beside.is_open = false;
        let Collected { seats, claims } = self.leases.recall();
        self.beside.leased -= seats;
        self.beside.claims += claims;
        self.seats.take_back(seats);
    }

    /// Callers inside `run`, or that run a task whose handle they poll.
    pub(in crate::blocks::worker_pool) fn in_run(&self) -> u32 {
        let seated = self.seats.iter().filter(|seated| seated.is_run_by_caller()).count();
        // Never more than there are seats.
        seated as u32 + self.beside.leased - self.leases.look().seats
    }
}
