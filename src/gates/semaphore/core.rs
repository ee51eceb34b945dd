//! The line: who is granted, who waits, who is told to go. Pure: no waker is cloned, woken or
//! dropped in here; each comes in as an owned clone and goes out by value, into [`Told`].

use std::mem;
use std::num::NonZeroU32;
use std::task::{Poll, Waker};

use super::error::AcquireError;
use super::metrics::SemaphoreSnapshot;
use super::stripes::Loan;
use super::told::Told;
use super::word::Standing;
use crate::Priority;
use crate::gates::wait_queue::{Committed, Place, Plan, Rules, Take, Ticket, WaitQueue};
use crate::ground::slab::Slab;
use crate::ground::stripe::STRIPES;
use crate::ground::time::Now;

/// The most permits that a stripe is lent: who has as many in his hands at a time is slow enough
/// to take the next beside it.
const MOST_LENT: u32 = 64;

/// What a waiter is told: so many permits are its own, or why not.
pub(super) type Verdict = Result<NonZeroU32, AcquireError>;

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Line {
    /// Who waits, by index among the waiters.
    queue: WaitQueue<u32>,
    /// Everybody who waits, or has been told and has not looked yet: as many as there are futures.
    waiters: Slab<Waiter>,
    permits: u32,
    /// The counts; the rest of it is filled in by `snapshot`.
    tally: SemaphoreSnapshot,
}

/// One future's place, from its entry to its end.
#[derive(Debug)]
enum Waiter {
    Waits(Waker),
    Told(Verdict),
}

/// Names a waiter, who alone gives it up: by `look_up` or by `leave`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    ticket: Ticket,
    waiter: u32,
}

/// What becomes of a newcomer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// It takes its permits now; nobody before it is passed over.
    Granted,
    /// It waits.
    Queued(Spot),
    /// It has to go.
    Refused(AcquireError),
}

/// Why a waiter leaves by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    Cancelled,
    Expired,
}

impl Line {
    pub(super) fn new(permits: u32, rules: Rules) -> Self {
        let mut queue = WaitQueue::new(rules);
        queue.set_max_weight(permits);
        Self { queue, waiters: Slab::new(), permits, tally: SemaphoreSnapshot::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Somebody comes. After that the line is to be served: the head may be another.
    pub(super) fn enter(
        &mut self,
        place: Place,
        standing: Standing,
        now: impl Now,
        waker: Waker,
        told: &mut Told,
    ) -> Entered {
        if let Err(refused) = self.check(place, standing, now) {
            told.spent(waker);
            return Entered::Refused(refused);
        }
        if place.weight.get() <= standing.grantable() && self.goes_first(place.class) {
            self.queue.passed_over(place.class);
            told.spent(waker);
            return Entered::Granted;
        }
        let mut expired = Vec::new();
        let plan = self.queue.plan(place.class, place.tenant, now, &mut expired);
        for waiter in expired {
            self.tally.expired += 1;
            self.tell(waiter, Err(AcquireError::Expired), told);
        }
        if plan == Plan::Refuse {
            self.tally.refused += 1;
            told.spent(waker);
            return Entered::Refused(AcquireError::Full);
        }
        let waiter = self.waiters.insert(Waiter::Waits(waker)).index;
        let Committed { ticket, evicted, .. } = self.queue.commit(plan, place, waiter, now);
        self.tally.waited += 1;
        if let Some(evicted) = evicted {
            self.tally.evicted += 1;
            self.tell(evicted, Err(AcquireError::Evicted), told);
        }
        Entered::Queued(Spot { ticket, waiter })
    }

    /// Who is out of the queue learns why.
    fn tell(&mut self, waiter: u32, verdict: Verdict, told: &mut Told) {
        match mem::replace(self.waiters.get_mut(waiter), Waiter::Told(verdict)) {
            Waiter::Waits(waker) => told.add(waker),
            Waiter::Told(_) => debug_assert!(false, "nobody leaves the queue twice"),
        }
    }

    /// What this waiter was told: then it is gone. While it waits, `fresh` takes the place of its
    /// waker, and the old one comes out, if that would wake another; `None` if there is no `fresh`.
    pub(super) fn look_up(
        &mut self,
        spot: Spot,
        waker: &Waker,
        fresh: &mut Option<Waker>,
    ) -> Option<Poll<Verdict>> {
        match self.waiters.get_mut(spot.waiter) {
            Waiter::Told(verdict) => {
                let verdict = *verdict;
                self.waiters.remove(spot.waiter);
                Some(Poll::Ready(verdict))
            }
            Waiter::Waits(old) if old.will_wake(waker) => Some(Poll::Pending),
            Waiter::Waits(old) => {
                *fresh = Some(mem::replace(old, fresh.take()?));
                Some(Poll::Pending)
            }
        }
    }

    fn check(&self, place: Place, standing: Standing, now: impl Now) -> Result<(), AcquireError> {
        if standing.closed {
            return Err(AcquireError::Closed);
        }
        if place.weight.get() > self.permits {
            return Err(AcquireError::TooLarge);
        }
        match place.deadline {
            Some(deadline) if deadline <= now.get() => Err(AcquireError::Expired),
            _ => Ok(()),
        }
    }

    /// Whether a newcomer of this class would stand at the head of the line at once: then it
    /// needs no place in it, and nobody is evicted for it.
    fn goes_first(&mut self, class: Priority) -> bool {
        self.queue.head().is_none_or(|head| head.class < class && !head.by_turn)
    }

    /// Whether one who would not wait may take so many: nobody waits, and they are free.
    pub(super) fn is_free(&self, permits: NonZeroU32, standing: Standing) -> bool {
        self.is_empty() && !standing.closed && permits.get() <= standing.grantable()
    }

    /// What may be lent to a stripe: while nobody waits and half of the permits are free, a part
    /// so small that all stripes together hold about the other half.
    pub(super) fn loan(&self, standing: Standing) -> Option<Loan> {
        let spare = standing.grantable();
        if !self.is_empty() || standing.closed || self.permits < 2 || spare < self.permits / 2 {
            return None;
        }
        let most = (self.permits / (2 * STRIPES as u32)).clamp(1, MOST_LENT);
        let permits = NonZeroU32::new(most.min(spare))?;
        Some(Loan { permits, most })
    }

    /// Tells the next one something: the permits it was granted, if it was. `None` when the head
    /// does not fit or nobody waits.
    pub(super) fn next(&mut self, grantable: u32, now: impl Now, told: &mut Told) -> Option<u32> {
        let (waiter, verdict) = match self.queue.take(grantable, now) {
            Take::Granted(granted) => {
                self.tally.granted += 1;
                (granted.value, Ok(granted.weight))
            }
            Take::Expired(waiter) => {
                self.tally.expired += 1;
                (waiter, Err(AcquireError::Expired))
            }
            Take::TooLarge(waiter) => {
                self.tally.too_large += 1;
                (waiter, Err(AcquireError::TooLarge))
            }
            Take::Shed(waiter) => {
                self.tally.evicted += 1;
                (waiter, Err(AcquireError::Evicted))
            }
            Take::Short { .. } | Take::Empty => return None,
        };
        self.tell(waiter, verdict, told);
        Some(verdict.map_or(0, NonZeroU32::get))
    }

    /// A waiter goes by itself. What it was told, if it was: then somebody must see to the
    /// permits. Its waker is for after the unlock.
    pub(super) fn leave(&mut self, spot: Spot, leaving: Leaving) -> Result<Verdict, Waker> {
        match self.waiters.remove(spot.waiter) {
            Waiter::Told(verdict) => Ok(verdict),
            Waiter::Waits(waker) => {
                let waited = self.queue.cancel(spot.ticket);
                debug_assert_eq!(waited, Some(spot.waiter), "who is not told waits");
                match leaving {
                    Leaving::Cancelled => self.tally.cancelled += 1,
                    Leaving::Expired => self.tally.expired += 1,
                }
                Err(waker)
            }
        }
    }

    /// So many permits from now on; how many more than before.
    pub(super) fn resize(&mut self, permits: u32) -> i64 {
        let by = i64::from(permits) - i64::from(self.permits);
        self.permits = permits;
        self.queue.set_max_weight(permits);
        by
    }

    /// Closed: the next one is told so. `None` when nobody waits any more.
    pub(super) fn expel(&mut self, told: &mut Told) -> Option<u32> {
        let head = self.queue.head()?.ticket;
        let waiter = self.queue.cancel(head)?;
        self.tally.closed += 1;
        self.tell(waiter, Err(AcquireError::Closed), told);
        Some(0)
    }

    pub(super) fn snapshot(&self, standing: Standing) -> SemaphoreSnapshot {
        let in_use = i64::from(self.permits) - standing.free;
        SemaphoreSnapshot {
            permits: self.permits as usize,
            available: standing.grantable() as usize,
            in_use: usize::try_from(in_use).unwrap_or_default(),
            waiting_by_class: Priority::ALL.map(|class| self.queue.depth(class)),
            ..self.tally
        }
    }
}
