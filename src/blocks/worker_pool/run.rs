//! Running a future where it is, in its turn and on a seat of the pool.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::core::{Door, No};
use super::error::TaskError;
use super::nested::Inside;
use super::node::{self, Join};
use super::seats::SeatNo;
use super::shared::Shared;
use super::task::Task;
use crate::gates::wait_queue::{Place, Ticket};
use crate::ground::time::Instant;
use crate::ground::{stripe, time};
use crate::{Ending, Reason, Refused};

pub(super) async fn inline<F: Future>(
    shared: &Arc<Shared>,
    task: Task<F>,
) -> Result<F::Output, Refused<F>> {
    let Task { future, place, options } = task;
    if let Some(options) = options {
        drop(options);
    }
    let is_plain = place.weight.get() == 1 && place.deadline.is_none();
    let stripe = stripe::mine();
    let seat = if is_plain && shared.leases().claim(stripe) {
        Seat { shared, place: Taken::Leased { stripe, since: shared.begin_beside(stripe) } }
    } else {
        match take_seat(shared, place).await {
            Ok(no) => Seat { shared, place: Taken::Seat(no) },
            Err(no) => return Err(Refused::new(no.reason, no.retry_after, future)),
        }
    };
    let mut future = std::pin::pin!(future);
    let polled = poll_fn(|cx| {
        let _inside = Inside::of(shared);
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(payload)),
        }
    });
    match polled.await {
        Ok(output) => {
            seat.end(Ending::Completed);
            Ok(output)
        }
        Err(payload) => {
            seat.end(Ending::Failed);
            resume_unwind(payload)
        }
    }
}

async fn take_seat(shared: &Arc<Shared>, place: Place) -> Result<SeatNo, No> {
    let turn = shared.with(|core, now, out| {
        let plan = match core.admit(Door::Street, &place, now, out) {
            Ok(plan) => plan,
            Err(no) => return Err(core.refuse(no)),
        };
        if let Some(no) = core.sit_inline(&place, now) {
            // Expired ones may have left for it, and somebody wait for their places.
            core.settle(now, out);
            core.lease(stripe::mine());
            return Ok(Turn::Now(no));
        }
        if Inside::is_in(shared) {
            // The seat that would have to come free may be the one this is polled on.
            let no = core.sit_nested(plan, now, out);
            core.settle(now, out);
            return Ok(Turn::Now(no));
        }
        let (work, join) = node::caller();
        let ticket = core.enqueue(plan, &place, work, now, out);
        Ok(Turn::Later(ticket, join))
    });
    match turn? {
        Turn::Now(no) => Ok(no),
        Turn::Later(ticket, join) => {
            let came = shared.meters().times_next().then(time::now);
            let turn = in_line(Waiting { shared, ticket, join: Some(join) }, place).await;
            if let (Some(came), Ok(_)) = (came, &turn) {
                shared.meters().waits.record(time::now().saturating_duration_since(came));
            }
            turn
        }
    }
}

/// Waits for the turn, until the deadline.
async fn in_line(mut waiting: Waiting<'_>, place: Place) -> Result<SeatNo, No> {
    let (shared, ticket) = (waiting.shared, waiting.ticket);
    let verdict = time::until(place.deadline, poll_fn(|cx| waiting.poll(cx))).await;
    let verdict = match verdict {
        Some(verdict) => verdict,
        None => {
            // Out of line now, unless somebody took it out in this moment: then that counts, and
            // is about to be told.
            shared.with(|core, now, out| core.overdue(ticket, now, out));
            poll_fn(|cx| waiting.poll(cx)).await
        }
    };
    verdict.map_err(|why| shared.with(|core, now, _| core.no(reason(&why), place.class, now)))
}

enum Turn {
    Now(SeatNo),
    Later(Ticket, Join<SeatNo>),
}

/// Why a caller left the queue without a seat.
fn reason(why: &TaskError) -> Reason {
    match why {
        TaskError::Evicted => Reason::Evicted,
        TaskError::Expired => Reason::Expired,
        _ => Reason::Closed,
    }
}

/// A caller of `run` in line. Dropped, it leaves the line, or gives up the seat it had got.
struct Waiting<'a> {
    shared: &'a Arc<Shared>,
    ticket: Ticket,
    join: Option<Join<SeatNo>>,
}

impl Waiting<'_> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<SeatNo, TaskError>> {
        let Some(join) = &mut self.join else { return Poll::Pending };
        let verdict = ready!(join.poll(cx));
        self.join = None;
        Poll::Ready(verdict)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(join) = self.join.take() else { return };
        match join.leave() {
            Some(Ok(no)) => self.shared.release(no, Ending::Cancelled),
            Some(Err(_)) => {}
            None => self.shared.cancel(self.ticket),
        }
    }
}

/// A seat of the pool, held by a caller of `run`. Dropped, it is given up as cancelled.
struct Seat<'a> {
    shared: &'a Arc<Shared>,
    place: Taken,
}

#[derive(Clone, Copy)]
enum Taken {
    /// Through the lock.
    Seat(SeatNo),
    /// Beside it.
    Leased { stripe: usize, since: Option<Instant> },
}

impl Seat<'_> {
    fn end(self, ending: Ending) {
        self.give_up(ending);
        std::mem::forget(self);
    }

    #[inline]
    fn give_up(&self, ending: Ending) {
        match self.place {
            Taken::Seat(no) => self.shared.release(no, ending),
            Taken::Leased { stripe, since } => self.shared.end_beside(stripe, since, ending),
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.give_up(Ending::Cancelled);
    }
}
