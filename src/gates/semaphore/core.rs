//! The line: who is granted, who waits, who is told to go. Pure; what waits is a value `T`.

use std::num::NonZeroU32;

use super::error::AcquireError;
use super::metrics::SemaphoreSnapshot;
use super::stripes::Loan;
use super::word::Standing;
use crate::Priority;
use crate::gates::wait_queue::{Committed, Drain, Place, Plan, Rules, Take, Ticket, WaitQueue};
use crate::ground::stripe::STRIPES;
use crate::ground::time::Now;

/// The most permits that a stripe is lent: who has as many in his hands at a time is slow enough
/// to take the next beside it.
const MOST_LENT: u32 = 64;

/// What a waiter is told: so many permits are its own, or why not.
pub(super) type Verdict = Result<NonZeroU32, AcquireError>;

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Line<T> {
    queue: WaitQueue<T>,
    permits: u32,
    /// The counts; the rest of it is filled in by `snapshot`.
    tally: SemaphoreSnapshot,
}

/// What becomes of a newcomer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered<T> {
    /// It takes its permits now; nobody before it is passed over.
    Granted,
    /// It waits.
    Queued { ticket: Ticket, value: T },
    /// It has to go.
    Refused(AcquireError),
}

/// Why a waiter leaves by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    Cancelled,
    Expired,
}

impl<T: Clone> Line<T> {
    pub(super) fn new(permits: u32, rules: Rules) -> Self {
        let mut queue = WaitQueue::new(rules);
        queue.set_max_weight(permits);
        Self { queue, permits, tally: SemaphoreSnapshot::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Somebody comes. Those who have to go for it are put into `gone`, each with what to tell
    /// it. After that the line is to be served: the head may be another.
    pub(super) fn enter(
        &mut self,
        place: Place,
        standing: Standing,
        now: impl Now,
        make: impl FnOnce() -> T,
        gone: &mut Vec<(T, AcquireError)>,
    ) -> Entered<T> {
        if let Err(refused) = self.check(place, standing, now) {
            return Entered::Refused(refused);
        }
        if place.weight.get() <= standing.grantable() && self.goes_first(place.class) {
            self.queue.passed_over(place.class);
            return Entered::Granted;
        }
        let mut expired = Vec::new();
        let plan = self.queue.plan(place.class, place.tenant, now, &mut expired);
        self.tally.expired += expired.len() as u64;
        gone.extend(expired.into_iter().map(|value| (value, AcquireError::Expired)));
        if plan == Plan::Refuse {
            self.tally.refused += 1;
            return Entered::Refused(AcquireError::Full);
        }
        let value = make();
        let committed = self.queue.commit(plan, place, value.clone(), now);
        let Committed { ticket, evicted, .. } = committed;
        self.tally.waited += 1;
        self.tally.evicted += u64::from(evicted.is_some());
        gone.extend(evicted.map(|value| (value, AcquireError::Evicted)));
        Entered::Queued { ticket, value }
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
    /// so small that all stripes together hold no more than the other half.
    pub(super) fn loan(&self, standing: Standing) -> Option<Loan> {
        let spare = standing.grantable();
        if !self.is_empty() || standing.closed || self.permits < 2 || spare < self.permits / 2 {
            return None;
        }
        let most = (self.permits / (2 * STRIPES as u32)).clamp(1, MOST_LENT);
        let permits = NonZeroU32::new(most.min(spare))?;
        Some(Loan { permits, most })
    }

    /// The next one to be told something; the permits of a grant are to be taken from the word
    /// first. `None` when the head does not fit or nobody waits.
    pub(super) fn next(&mut self, grantable: u32, now: impl Now) -> Option<(T, Verdict)> {
        match self.queue.take(grantable, now) {
            Take::Granted(granted) => {
                self.tally.granted += 1;
                Some((granted.value, Ok(granted.weight)))
            }
            Take::Expired(value) => {
                self.tally.expired += 1;
                Some((value, Err(AcquireError::Expired)))
            }
            Take::TooLarge(value) => {
                self.tally.too_large += 1;
                Some((value, Err(AcquireError::TooLarge)))
            }
            Take::Short { .. } | Take::Empty => None,
        }
    }

    /// A waiter goes by itself; nothing if somebody took it out of line before.
    pub(super) fn leave(&mut self, ticket: Ticket, leaving: Leaving) -> Option<T> {
        let value = self.queue.cancel(ticket)?;
        match leaving {
            Leaving::Cancelled => self.tally.cancelled += 1,
            Leaving::Expired => self.tally.expired += 1,
        }
        Some(value)
    }

    /// So many permits from now on; how many more than before.
    pub(super) fn resize(&mut self, permits: u32) -> i64 {
        let by = i64::from(permits) - i64::from(self.permits);
        self.permits = permits;
        self.queue.set_max_weight(permits);
        by
    }

    /// Everybody out.
    pub(super) fn close(&mut self) -> Drain<T> {
        self.tally.closed += self.queue.len() as u64;
        self.queue.close()
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
