//! Being accepted: at once, or through the waiting room.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::beside::{Front, Spot};
use super::core::{Door, No, Step};
use super::handle::TaskHandle;
use super::node::{self, Join, Work};
use super::shared::{PoolCore, PoolErrands, Shared};
use super::task::{Options, Task};
use crate::gates::wait_queue::{Place, Plan, Ticket};
use crate::ground::time::{self, Glance};
use crate::{Reason, Refused};

type Accepted<F> = (Join<<F as Future>::Output>, Ticket);

/// Accepts the task or gives it back, never waiting.
pub(super) fn now_or_never<F>(
    front: &Arc<Front>,
    task: Task<F>,
) -> Result<TaskHandle<F::Output>, Refused<F>>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    if front.shared.is_crowded() {
        return if_admitted(front, task);
    }
    at_once(front, task, PoolCore::refuse).map_err(|(no, task)| refused(no, task))
}

/// Where a refusal is not likely: the future moves to the heap before the lock, and back if it is
/// refused. `count` writes that down.
fn at_once<F>(
    front: &Arc<Front>,
    task: Task<F>,
    count: fn(&mut PoolCore, No) -> No,
) -> Result<TaskHandle<F::Output>, (No, Task<F>)>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let timeout = task.timeout;
    let ((work, place), join) = make(task);
    let put = if place.is_plain() { front.put(work) } else { Err(work) };
    let pushed = put.or_else(|work| front.shared.push(work, &place, count).map(Spot::of));
    match pushed {
        Ok(spot) => Ok(TaskHandle::new(join, front, spot)),
        Err((no, work)) => {
            let future = node::take_back(work, join);
            Err((no, Task { future, place, timeout }))
        }
    }
}

fn refused<F>(no: No, task: Task<F>) -> Refused<F> {
    Refused::new(no.reason, no.retry_after, task.future)
}

/// The same where a refusal is likely: the future moves to the heap under the lock, once it is
/// certain that it stays, so that a refusal allocates nothing.
fn if_admitted<F>(front: &Arc<Front>, task: Task<F>) -> Result<TaskHandle<F::Output>, Refused<F>>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let accepted =
        front.shared.with(|core, now, out| match core.admit(Door::Street, &task.place, now, out) {
            Ok(plan) => Ok(accept(core, plan, task, now, out)),
            Err(no) => Err((core.refuse(no), task)),
        });
    match accepted {
        Ok((join, ticket)) => Ok(TaskHandle::new(join, front, Spot::of(ticket))),
        Err((no, task)) => Err(refused(no, task)),
    }
}

fn accept<F>(
    core: &mut PoolCore,
    plan: Plan,
    task: Task<F>,
    now: &Glance,
    out: &mut PoolErrands,
) -> Accepted<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let ((work, place), join) = make(task);
    (join, core.enqueue(plan, &place, work, now, out))
}

/// Both sides of a task, the pool's with the place it asks for.
pub(super) fn make<F>(task: Task<F>) -> ((Work, Place), Join<F::Output>)
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let options = Options::of(&task);
    let Task { future, place, .. } = task;
    let (work, join) = node::task(future, place.class, options);
    ((work, place), join)
}

/// Accepts the task once there is room, or gives it back.
pub(super) async fn in_turn<F>(
    front: &Arc<Front>,
    task: Task<F>,
) -> Result<TaskHandle<F::Output>, Refused<F>>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let shared = &front.shared;
    let task = match shared.is_crowded() {
        true => task,
        false => match at_once(front, task, refuse_unless_full) {
            Ok(handle) => return Ok(handle),
            Err((No { reason: Reason::QueueFull, .. }, task)) => task,
            Err((no, task)) => return Err(refused(no, task)),
        },
    };
    let deadline = task.place.deadline;
    let mut waiting = Waiting { shared, task: Some(task), ticket: None };
    let accepted =
        time::until(deadline, std::future::poll_fn(|cx| waiting.poll(cx))).await.unwrap_or_else(
            || Err(shared.with(|core, _, _| core.refuse(No::because(Reason::Expired)))),
        );
    match (accepted, waiting.task.take()) {
        (Ok((join, ticket)), _) => Ok(TaskHandle::new(join, front, Spot::of(ticket))),
        (Err(no), Some(task)) => Err(refused(no, task)),
        (Err(_), None) => unreachable!("a task leaves only by being accepted"),
    }
}

/// Who finds the queue full goes on to the room, and is not refused yet.
fn refuse_unless_full(core: &mut PoolCore, no: No) -> No {
    if no.reason == Reason::QueueFull { no } else { core.refuse(no) }
}

/// A caller of `submit`. Dropped before it is accepted, it leaves the room.
struct Waiting<'a, F> {
    shared: &'a Arc<Shared>,
    task: Option<Task<F>>,
    ticket: Option<Ticket>,
}

impl<F> Waiting<'_, F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Accepted<F>, No>> {
        let Self { shared, task, ticket } = self;
        // Gone only once it was accepted; then nobody polls again.
        let Some(place) = task.as_ref().map(|task| task.place) else { return Poll::Pending };
        // Somebody else's code, as every waker's: not under the lock.
        let waker = cx.waker().clone();
        shared.with(|core, now, out| {
            match (core.step(ticket, &place, waker, now, out), task.take()) {
                (Step::In(plan), Some(task)) => Poll::Ready(Ok(accept(core, plan, task, now, out))),
                (Step::Out(no), kept) => {
                    *task = kept;
                    Poll::Ready(Err(no))
                }
                (_, kept) => {
                    *task = kept;
                    Poll::Pending
                }
            }
        })
    }
}

impl<F> Drop for Waiting<'_, F> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.with(|core, _, out| core.leave(ticket, out));
        }
    }
}
