//! Running a future where it is, in its turn and on a seat of the pool.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::Poll;

use super::core::{Door, No};
use super::seats::SeatNo;
use super::shared::{Shared, Verdict, WaiterRef};
use super::task::Task;
use crate::gates::wait_queue::{Place, Ticket};
use crate::ground::handoff::Handoff;
use crate::ground::time;
use crate::{Ending, Reason, Refused};

pub(super) async fn inline<F: Future>(
    shared: &Shared,
    task: Task<F>,
) -> Result<F::Output, Refused<F>> {
    let Task { future, place, timeout: _ } = task;
    let seat = match take_seat(shared, place).await {
        Ok(seat) => seat,
        Err(no) => return Err(Refused::new(no.reason, no.retry_after, future)),
    };
    let mut future = std::pin::pin!(future);
    let polled = std::future::poll_fn(|cx| {
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

async fn take_seat(shared: &Shared, place: Place) -> Result<Seat<'_>, No> {
    let waiting = shared.with(|core, now, out| {
        let plan = match core.admit(Door::Street, &place, now, out) {
            Ok(plan) => plan,
            Err(no) => return Err(core.refuse(no)),
        };
        if let Some(no) = core.sit_inline(&place, now) {
            // Expired ones may have left for it, and somebody wait for their places.
            core.settle(now, out);
            return Ok(Turn::Now(no));
        }
        let cell = Arc::new(Handoff::new());
        let ticket = core.enqueue_inline(plan, place, WaiterRef::clone(&cell), now, out);
        Ok(Turn::Later(ticket, cell))
    });
    match waiting? {
        Turn::Now(no) => Ok(Seat { shared, no }),
        Turn::Later(ticket, cell) => {
            let waiting = Waiting { shared, ticket, cell };
            let verdict = std::future::poll_fn(|cx| waiting.cell.poll(cx));
            match time::until(place.deadline, verdict).await {
                Some(Verdict::Seat(no)) => Ok(Seat { shared, no }),
                Some(Verdict::No(no)) => Err(no),
                None => match waiting.cell.leave() {
                    // The time and the verdict came together: the verdict counts.
                    Some(Verdict::Seat(no)) => Ok(Seat { shared, no }),
                    Some(Verdict::No(no)) => Err(no),
                    None => {
                        Err(shared.with(|core, _, _| core.refuse(No::because(Reason::Expired))))
                    }
                },
            }
        }
    }
}

enum Turn {
    Now(SeatNo),
    Later(Ticket, WaiterRef),
}

/// A caller of `run` in line. Dropped, it leaves the line, or gives up the seat it had got.
struct Waiting<'a> {
    shared: &'a Shared,
    ticket: Ticket,
    cell: WaiterRef,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        match self.cell.leave() {
            Some(Verdict::Seat(no)) => self.shared.release(no, Ending::Cancelled),
            Some(Verdict::No(_)) => {}
            None => {
                self.shared.cancel(self.ticket);
            }
        }
    }
}

/// A seat of the pool, held by a caller of `run`. Dropped, it is given up as cancelled.
struct Seat<'a> {
    shared: &'a Shared,
    no: SeatNo,
}

impl Seat<'_> {
    fn end(self, ending: Ending) {
        self.shared.release(self.no, ending);
        std::mem::forget(self);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.shared.release(self.no, Ending::Cancelled);
    }
}
