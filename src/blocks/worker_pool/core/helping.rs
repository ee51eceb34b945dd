//! Tasks that whoever awaits them begins (`help.rs`).

use std::collections::VecDeque;

use super::{Core, Job, Seeker};
use crate::Ending;
use crate::blocks::worker_pool::errands::Errands;
use crate::blocks::worker_pool::seats::{Runner, SeatNo, Seated};
use crate::blocks::worker_pool::task::TaskId;
use crate::gates::wait_queue::{Place, Take, Ticket};
use crate::ground::time::Now;

impl<T: Seeker> Core<T> {
    /// Who awaits this task would run it himself: the task, if it is next and has a seat.
    pub(in crate::blocks::worker_pool) fn take_own(
        &mut self,
        ticket: Ticket,
        now: impl Now,
        out: &mut Errands<T>,
    ) -> Option<Job<T>> {
        if !self.queue.is_next(ticket, now) {
            return None;
        }
        self.recall_for(1);
        let job = match self.queue.take(self.seats.free(), now) {
            Take::Granted(granted) => self.seat(granted, Runner::Helper, now, out),
            Take::Expired(one) => {
                self.left(one, Ending::Expired, out);
                None
            }
            Take::TooLarge(one) | Take::Shed(one) => {
                self.left(one, Ending::Evicted, out);
                None
            }
            Take::Short { .. } | Take::Empty => return None,
        };
        self.helpers += usize::from(job.is_some());
        if !self.queue.is_empty() || self.place_freed || self.closed {
            self.settle(now, out);
        }
        job
    }

    /// Whoever began this has come to the end of it. Then somebody must settle.
    pub(in crate::blocks::worker_pool) fn helped(
        &mut self,
        seat: SeatNo,
        ending: Ending,
        now: impl Now,
    ) {
        self.helpers -= 1;
        self.book(seat, ending, now);
    }

    /// Whoever began this can't go on with it: a worker is to, if there is one.
    pub(in crate::blocks::worker_pool) fn hand_over(
        &mut self,
        job: Job<T>,
        out: &mut Errands<T>,
    ) -> Result<(), Job<T>> {
        if self.deserted {
            return Err(job);
        }
        self.helpers -= 1;
        self.handed.push_back(job);
        self.rouse(out);
        Ok(())
    }

    /// Who awaits this task has a seat of this pool already, and would run it on that: the task, if
    /// it waits and is not about to start.
    pub(in crate::blocks::worker_pool) fn take_nested(
        &mut self,
        ticket: Ticket,
        now: impl Now,
        out: &mut Errands<T>,
    ) -> Option<(Place, Job<T>)> {
        let place = self.queue.place(ticket)?;
        if self.queue.is_next(ticket, now) {
            self.recall_for(place.weight.get());
            if place.weight.get() <= self.seats.free() {
                // A worker was roused for it.
                return None;
            }
        }
        let task = self.queue.cancel(ticket)?;
        let has_expired = place.deadline.is_some_and(|deadline| deadline <= now.get());
        let job = if has_expired {
            self.left(task, Ending::Expired, out);
            None
        } else {
            self.place_freed |= self.room.len() > 0;
            let (id, runner) = (TaskId(ticket.serial), Runner::Helper);
            let seat = self.seats.sit(Seated { id, weight: 0, since: None, runner });
            Some((place, Job { seat, task }))
        };
        self.settle(now, out);
        job
    }

    /// A caller of `run` who has a seat already, and finds no other: on that one.
    pub(in crate::blocks::worker_pool) fn sit_nested(&mut self) -> SeatNo {
        self.ledger.accepted += 1;
        let id = TaskId(self.queue.next_number());
        self.seats.sit(Seated { id, weight: 0, since: None, runner: Runner::Caller })
    }

    /// What was run so can't go on: back into the queue, at its old place and past the cap.
    pub(in crate::blocks::worker_pool) fn put_back(
        &mut self,
        job: Job<T>,
        place: &Place,
        now: impl Now,
        out: &mut Errands<T>,
    ) {
        if let Some(Seated { id: TaskId(number), .. }) = self.seats.rise(job.seat) {
            self.close_slots();
            self.is_mixed |= place.weight.get() > 1;
            self.queue.readmit(*place, number, job.task);
        }
        self.settle(now, out);
    }

    /// The last worker has gone: what nobody will go on with.
    pub(in crate::blocks::worker_pool) fn desert(&mut self) -> VecDeque<Job<T>> {
        self.deserted = true;
        std::mem::take(&mut self.handed)
    }

    pub(super) fn is_over(&self) -> bool {
        let helpers = self.helpers as u64 + u64::from(self.beside.leased);
        self.closed && self.queue.is_empty() && self.handed.is_empty() && helpers == 0
    }
}
