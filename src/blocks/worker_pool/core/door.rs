//! Who may come in: at once, or through the waiting room.

use std::task::Waker;
use std::time::Duration;

use super::{Core, Seeker};
use crate::blocks::worker_pool::errands::Errands;
use crate::gates::wait_queue::{Place, Plan, Ticket, Turn};
use crate::ground::time::{Instant, Now};
use crate::{Ending, Enforcement, Priority, Reason};

/// Told to come back no sooner than this: below it, coming back costs more than waiting.
const SOONEST: Duration = Duration::from_millis(1);
const SOONEST_NS: u64 = SOONEST.as_nanos() as u64;
/// And no later than this: by then, what was measured is no guide any more.
const LATEST: Duration = Duration::from_secs(60);
const LATEST_NS: u64 = LATEST.as_nanos() as u64;

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
        self.close_slots();
        if place.weight.get() > self.seats.max() {
            return Err(No::because(Reason::TooLarge));
        }
        let mut spared = None;
        if let Some(deadline) = place.deadline {
            if deadline <= now.get() {
                return Err(match door {
                    Door::Room => self.no(Reason::Expired, place.class, now),
                    Door::Street => No::because(Reason::DeadlineInfeasible),
                });
            }
            if let Some(no) = self.infeasible(place, deadline, now) {
                if self.enforcement.refuses(&mut self.rng) {
                    return Err(no);
                }
                spared = Some(no.reason);
            }
        }
        let goes_first = door == Door::Room || !self.room.stands_before(place.class);
        let plan = if goes_first { self.plan(place, now, out) } else { Plan::Refuse };
        match plan {
            Plan::Refuse => {
                if self.place_freed {
                    self.settle(now, out);
                }
                Err(self.no(Reason::QueueFull, place.class, now))
            }
            plan => {
                if let Some(reason) = spared {
                    self.would_refuse.count(reason, 1);
                }
                Ok(plan)
            }
        }
    }

    #[inline]
    fn plan(&mut self, place: &Place, now: impl Now, out: &mut Errands<T>) -> Plan {
        let mut expired = Vec::new();
        let plan = self.queue.plan(place.class, place.tenant, now, &mut expired);
        for queued in expired {
            self.left(queued, Ending::Expired, out);
        }
        if plan == Plan::Queue || self.enforcement == Enforcement::Full {
            return plan;
        }
        self.spare(plan)
    }

    /// The thresholds ask for a refusal or a victim, and are not enforced in full. The capacity is.
    #[cold]
    fn spare(&mut self, plan: Plan) -> Plan {
        let is_full = self.queue.len() + self.nested >= self.capacity;
        if is_full || self.enforcement.refuses(&mut self.rng) {
            return plan;
        }
        let spared = if plan == Plan::Refuse { Reason::QueueFull } else { Reason::Evicted };
        self.would_refuse.count(spared, 1);
        Plan::Queue
    }

    /// Whether its deadline can't be met, by the mean service time, what stands ahead, and how fast
    /// that has moved. As of the places, a class may plan on its threshold's share of the time: so
    /// what is not quite as estimated is still met, and of a lower class none is let in just after
    /// one of a higher was not. With a seat free and nobody waiting it is tried whatever the
    /// estimate says: only so can the estimate come down again.
    fn infeasible(&self, place: &Place, deadline: Instant, now: impl Now) -> Option<No> {
        let now = now.get();
        let no = |retry_after| Some(No { reason: Reason::DeadlineInfeasible, retry_after });
        let mean = self.service.get()?;
        if self.queue.is_empty() && self.seats.free() + self.leases.look().seats > 0 {
            return None;
        }
        let Some(spare) = deadline.saturating_duration_since(now).checked_sub(mean) else {
            // Too little for the task alone.
            return no(None);
        };
        match self.wait(place, mean, now).checked_sub(self.queue.share(place.class, spare)) {
            None | Some(Duration::ZERO) => None,
            // With as much time from then on it can be met.
            Some(late) => no(Some(late.clamp(SOONEST, LATEST))),
        }
    }

    /// How long a newcomer waits for its seat: as long as those ahead take, and no shorter than its
    /// class or a higher one has lately taken to move that far, for others come and go ahead.
    fn wait(&self, place: &Place, mean: Duration, now: Instant) -> Duration {
        let Place { class, tenant, .. } = *place;
        let own = self.queue.ahead_in_class(class, tenant);
        let above = Priority::ALL[class.index() + 1..].iter();
        let above = above.map(|&above| (above, self.queue.depth(above)));
        let ahead = own + above.clone().map(|(_, depth)| depth).sum::<usize>();
        let least = mean.mul_f64(ahead as f64 / f64::from(self.seats.limit()));
        let all = above.chain([(class, own)]);
        all.map(|(class, ahead)| self.pace.wait(class, ahead, now)).fold(least, Duration::max)
    }

    /// A refusal, with the time after which coming back makes sense: when the places above this
    /// class's limit, and those that others wait for, are worked off by the measured drain; later,
    /// by as many places at most as were refused lately or there are, for those will come too.
    pub(in crate::blocks::worker_pool) fn no(
        &mut self,
        reason: Reason,
        class: Priority,
        now: impl Now,
    ) -> No {
        if self.closed || !matches!(reason, Reason::QueueFull | Reason::Evicted | Reason::Expired) {
            return No::because(reason);
        }
        let above = (self.queue.len() + 1).saturating_sub(self.queue.limit(class)).max(1);
        let places = (above + self.room.len()) as u64;
        let seats = f64::from(self.seats.limit().max(1));
        let service = &self.service;
        let guess = || service.any_ns().map_or(0, |ns| (ns / seats) as u64);
        let gap = self.drain.gap_ns(guess, now);
        let places = places + self.drain.spread(self.capacity);
        let wait = gap.saturating_mul(places).clamp(SOONEST_NS, LATEST_NS);
        let retry_after = (gap > 0).then(|| Duration::from_nanos(wait));
        No { reason, retry_after }
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
            Turn::Lost => Step::Out(self.no(Reason::Evicted, place.class, now)),
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
