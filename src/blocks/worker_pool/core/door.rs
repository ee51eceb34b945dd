//! Who may come in: at once, or through the waiting room.

use std::task::Waker;
use std::time::{Duration, Instant};

use super::{Core, Seeker};
use crate::blocks::worker_pool::errands::Errands;
use crate::gates::wait_queue::{Place, Plan, Ticket, Turn};
use crate::ground::time::Now;
use crate::{Ending, Priority, Reason};

/// Told to come back no sooner than this: below it, coming back costs more than waiting.
const SOONEST: Duration = Duration::from_millis(1);

/// Where somebody comes from who wants in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::blocks::worker_pool) enum Door {
    /// From outside: those who wait in the room go first.
    Street,
    /// From the head of the room.
    Room,
}

/// A refusal, without what was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::blocks::worker_pool) struct No {
    pub(in crate::blocks::worker_pool) reason: Reason,
    pub(in crate::blocks::worker_pool) retry_after: Option<Duration>,
}

impl No {
    pub(in crate::blocks::worker_pool) fn because(reason: Reason) -> Self {
        Self { reason, retry_after: None }
    }
}

/// What somebody who waits to be accepted may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::blocks::worker_pool) enum Step {
    /// Come in, by this plan, before the unlock.
    In(Plan),
    Wait,
    Out(No),
}

impl<T: Seeker> Core<T> {
    /// Whether it may come in now. Changes nothing, but that expired waiters may leave.
    #[inline]
    pub(in crate::blocks::worker_pool) fn admit(
        &mut self,
        door: Door,
        place: &Place,
        now: impl Now,
        out: &mut Errands<T>,
    ) -> Result<Plan, No> {
        if self.closed {
            return Err(No::because(Reason::Closed));
        }
        if place.weight.get() > self.seats.limit() {
            return Err(No::because(Reason::TooLarge));
        }
        if let Some(deadline) = place.deadline {
            if deadline <= now.get() && door == Door::Room {
                return Err(No::because(Reason::Expired));
            }
            if !self.is_feasible(place, deadline, now) {
                return Err(No::because(Reason::DeadlineInfeasible));
            }
        }
        let goes_first = door == Door::Room || !self.room.stands_before(place.class);
        let plan = if goes_first { self.plan(place, now, out) } else { Plan::Refuse };
        match plan {
            Plan::Refuse => {
                if self.place_freed {
                    self.settle(now, out);
                }
                let retry_after = self.retry_after(place.class);
                Err(No { reason: Reason::QueueFull, retry_after })
            }
            plan => Ok(plan),
        }
    }

    #[inline]
    fn plan(&mut self, place: &Place, now: impl Now, out: &mut Errands<T>) -> Plan {
        let mut expired = Vec::new();
        let plan = self.queue.plan(place.class, place.tenant, now, &mut expired);
        for queued in expired {
            self.left(queued, Ending::Expired, out);
        }
        plan
    }

    /// By the mean service time and what stands ahead. With a seat free and nobody waiting it is
    /// tried whatever the estimate says: only so can the estimate come down again.
    fn is_feasible(&self, place: &Place, deadline: Instant, now: impl Now) -> bool {
        let now = now.get();
        let Some(mean) = self.service.get() else { return now < deadline };
        if self.queue.is_empty() && self.seats.free() > 0 {
            return now < deadline;
        }
        let ahead = self.queue.ahead(place.class, place.tenant);
        let wait = mean.mul_f64(ahead as f64 / f64::from(self.seats.limit()));
        now.checked_add(wait.saturating_add(mean)).is_some_and(|end| end <= deadline)
    }

    /// Until the places above this class's limit are worked off, by the mean service time.
    fn retry_after(&self, class: Priority) -> Option<Duration> {
        let mean = self.service.get()?;
        let over = (self.queue.len() + 1).saturating_sub(self.queue.limit(class)).max(1);
        Some(mean.mul_f64(over as f64 / f64::from(self.seats.limit())).max(SOONEST))
    }

    /// Writes a refusal down.
    pub(in crate::blocks::worker_pool) fn refuse(&mut self, no: No) -> No {
        self.refused.count(no.reason, 1);
        no
    }
}

/// The waiting room.
impl<T: Seeker> Core<T> {
    /// One look at the door by somebody who would rather wait than be refused. `ticket` is his
    /// place in the room, while he has one.
    pub(in crate::blocks::worker_pool) fn step(
        &mut self,
        ticket: &mut Option<Ticket>,
        place: &Place,
        waker: Waker,
        now: impl Now,
        out: &mut Errands<T>,
    ) -> Step {
        let step = match *ticket {
            None => self.knock(ticket, place, waker, now, out),
            Some(mine) => self.look_up(mine, place, waker, now, out),
        };
        match step {
            Step::Wait => return step,
            Step::In(_) => {
                // Whoever stands behind the one that is let in may try next.
                if let Some(mine) = ticket.take() {
                    out.more().spent.extend(self.room.accepted(mine, now));
                    out.more().wakers.extend(self.room.next());
                }
            }
            Step::Out(no) => {
                self.refuse(no);
                if let Some(mine) = ticket.take() {
                    self.leave(mine, out);
                }
            }
        }
        step
    }

    /// The first try, from outside.
    fn knock(
        &mut self,
        ticket: &mut Option<Ticket>,
        place: &Place,
        waker: Waker,
        now: impl Now,
        out: &mut Errands<T>,
    ) -> Step {
        match self.admit(Door::Street, place, now, out) {
            Ok(plan) => {
                out.more().spent.push(waker);
                Step::In(plan)
            }
            Err(no) if no.reason != Reason::QueueFull => {
                out.more().spent.push(waker);
                Step::Out(no)
            }
            Err(no) => match self.room.enter(*place, waker, now) {
                Err(unused) => {
                    out.more().spent.extend(unused);
                    Step::Out(no)
                }
                Ok(entered) => {
                    *ticket = Some(entered.ticket);
                    out.more().wakers.extend(entered.wakes.into_iter().flatten());
                    Step::Wait
                }
            },
        }
    }

    /// A try from inside the room.
    fn look_up(
        &mut self,
        mine: Ticket,
        place: &Place,
        waker: Waker,
        now: impl Now,
        out: &mut Errands<T>,
    ) -> Step {
        let (turn, old) = self.room.turn(mine, waker);
        out.more().spent.extend(old);
        match turn {
            Turn::Lost if self.closed => Step::Out(No::because(Reason::Closed)),
            Turn::Lost => Step::Out(No::because(Reason::Evicted)),
            Turn::Wait => Step::Wait,
            Turn::Yours => match self.admit(Door::Room, place, now, out) {
                Ok(plan) => Step::In(plan),
                Err(no) if no.reason == Reason::QueueFull => Step::Wait,
                Err(no) => Step::Out(no),
            },
        }
    }

    /// Out of the room, not let in.
    pub(in crate::blocks::worker_pool) fn leave(&mut self, mine: Ticket, out: &mut Errands<T>) {
        let more = out.more();
        more.spent.extend(self.room.leave(mine));
        more.wakers.extend(self.room.next());
    }
}
