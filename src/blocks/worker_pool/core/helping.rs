//! Tasks that whoever awaits them begins (`help.rs`).

use std::collections::VecDeque;

use super::{Core, Job, Seeker};
use crate::Ending;
use crate::blocks::worker_pool::errands::Errands;
use crate::blocks::worker_pool::seats::{Runner, SeatNo};
use crate::gates::wait_queue::{Take, Ticket};
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

    /// The last worker has gone: what nobody will go on with.
    pub(in crate::blocks::worker_pool) fn desert(&mut self) -> VecDeque<Job<T>> {
        self.deserted = true;
        std::mem::take(&mut self.handed)
    }

    pub(super) fn is_over(&self) -> bool {
        self.closed && self.queue.is_empty() && self.handed.is_empty() && self.helpers == 0
    }
}
