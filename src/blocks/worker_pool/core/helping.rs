//! Tasks that whoever awaits them begins (`help.rs`).

use std::collections::VecDeque;

use super::{Core, Job, Seeker};
use crate::Ending;
use crate::blocks::worker_pool::errands::Errands;
use crate::blocks::worker_pool::seats::{Runner, SeatNo, Seated};
use crate::blocks::worker_pool::task::TaskId;
use crate::gates::wait_queue::{Place, Plan, Take, Ticket};
use crate::ground::time::Now;

impl<T: Seeker> Core<T> {
    /// Whether no seat is free, nor kept apart for somebody.
    #[inline]
    pub(in crate::blocks::worker_pool) fn is_seatless(&self) -> bool {
        self.seats.free() == 0
    }

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
        let job = self.take_head(now, out);
        self.helpers += usize::from(job.is_some());
        if !self.queue.is_empty() || self.place_freed || self.closed {
            self.settle(now, out);
        }
        job
    }

    /// The head, if it has a seat and is a task; nothing if it left otherwise.
    #[inline]
    fn take_head(&mut self, now: impl Now, out: &mut Errands<T>) -> Option<Job<T>> {
        match self.queue.take(self.seats.room(), now) {
            Take::Granted(granted) => return self.seat(granted, Runner::Helper, now, out),
            Take::Expired(one) => self.left(one, Ending::Expired, out),
            Take::TooLarge(one) | Take::Shed(one) => self.left(one, Ending::Evicted, out),
            Take::Short { .. } | Take::Empty => {}
        }
        None
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

    /// Whoever ran this nested can't go on with it, and it can't be stopped: a worker is to. From
    /// here on it has a seat of its own, though none may be free: nobody else starts until fewer run.
    pub(in crate::blocks::worker_pool) fn go_on(
        &mut self,
        job: Job<T>,
        place: &Place,
        now: impl Now,
        out: &mut Errands<T>,
    ) -> Result<(), Job<T>> {
        if self.deserted {
            return Err(job);
        }
        if let Some(was) = self.seats.rise(job.seat) {
            self.left_nest();
            self.recall();
            let seat = self.seats.keep(Seated { weight: place.weight.get(), ..was });
            self.handed.push_back(Job { seat, task: job.task });
            self.rouse(out);
        }
        self.settle(now, out);
        Ok(())
    }

    /// Who awaits this task has a seat of this pool already, and would run it on that: the task, if
    /// it waits. If it could start anyway, a worker gets it, and the seat at once: whoever came in
    /// between might else take that, and wait for who waits for this.
    pub(in crate::blocks::worker_pool) fn take_nested(
        &mut self,
        ticket: Ticket,
        now: impl Now,
        out: &mut Errands<T>,
    ) -> Option<(Place, Job<T>)> {
        let place = self.queue.place(ticket)?;
        let mut nested = None;
        if place.deadline.is_some_and(|deadline| deadline <= now.get()) {
            let task = self.queue.cancel(ticket)?;
            self.left(task, Ending::Expired, out);
        } else if self.queue.is_next(ticket, now) && place.weight.get() <= self.seats.room() {
            let job = self.take_head(now, out);
            self.handed.extend(job);
            self.rouse(out);
        } else {
            let task = self.queue.cancel(ticket)?;
            let seat = self.nest(TaskId(ticket.serial), Runner::Helper, now);
            nested = Some((place, Job { seat, task }));
        }
        self.settle(now, out);
        nested
    }

    /// A caller of `run` who has a seat already, and finds no other: on that one, with the place in
    /// the queue that was planned for him. Then somebody must settle.
    pub(in crate::blocks::worker_pool) fn sit_nested(
        &mut self,
        plan: Plan,
        now: impl Now,
        out: &mut Errands<T>,
    ) -> SeatNo {
        self.ledger.accepted += 1;
        let (number, evicted) = self.queue.reserve(plan);
        if let Some(victim) = evicted {
            self.left(victim, Ending::Evicted, out);
        }
        self.nest(TaskId(number), Runner::Caller, now)
    }

    /// Keeps its place in the queue: so what runs nested is as bounded as what waits.
    fn nest(&mut self, id: TaskId, runner: Runner, now: impl Now) -> SeatNo {
        self.nested += 1;
        self.queue.set_held(self.nested);
        self.sit(id, 0, runner, now)
    }

    #[cold]
    pub(super) fn left_nest(&mut self) {
        self.nested -= 1;
        self.queue.set_held(self.nested);
        self.place_freed |= self.room.len() > 0;
    }

    /// What was run so can't go on: back into the queue, at its old place. The ticket it has there.
    pub(in crate::blocks::worker_pool) fn put_back(
        &mut self,
        job: Job<T>,
        place: &Place,
        now: impl Now,
        out: &mut Errands<T>,
    ) -> Option<Ticket> {
        let Seated { id: TaskId(number), .. } = self.seats.rise(job.seat)?;
        self.left_nest();
        self.close_slots();
        self.recall();
        self.is_mixed |= place.weight.get() > 1;
        let ticket = self.queue.readmit(*place, number, job.task);
        let is_another = |known: &Ticket| known.serial != number;
        self.put_back.retain(|known| is_another(known) && self.queue.place(*known).is_some());
        self.put_back.push(ticket);
        self.settle(now, out);
        Some(ticket)
    }

    #[cfg(all(test, not(headworks_loom)))]
    pub(in crate::blocks::worker_pool) fn handed(&self) -> usize {
        self.handed.len()
    }

    /// How many of those that wait had begun before they were put back.
    pub(super) fn begun_in_queue(&self) -> usize {
        self.put_back.iter().filter(|&&ticket| self.queue.place(ticket).is_some()).count()
    }

    /// The last worker has gone: what nobody will go on with.
    pub(in crate::blocks::worker_pool) fn desert(&mut self) -> VecDeque<Job<T>> {
        self.deserted = true;
        std::mem::take(&mut self.handed)
    }

    pub(super) fn is_over(&self) -> bool {
        let waiting = self.queue.len() + self.handed.len();
        // Who may still hand something over.
        let others = self.helpers + self.nested + self.beside.leased as usize;
        self.closed && waiting + others == 0
    }
}
