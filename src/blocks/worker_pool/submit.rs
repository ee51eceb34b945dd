//! Being accepted: at once, or through the waiting room.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::core::{Door, No, Step};
use super::handle::TaskHandle;
use super::node::Node;
use super::shared::{PoolCore, PoolErrands, Shared, TaskRef};
use super::task::{Task, TaskId};
use crate::gates::wait_queue::{Plan, Ticket};
use crate::ground::time;
use crate::{Reason, Refused};

type Accepted<F> = (Arc<Node<F>>, (Ticket, TaskId));

/// Accepts the task or gives it back, never waiting.
pub(super) fn now_or_never<F>(
    shared: &Arc<Shared>,
    task: Task<F>,
) -> Result<TaskHandle<F::Output>, Refused<F>>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let accepted = shared.with(|core, now, out| {
        match core.admit(Door::Street, &task.place, now, out) {
            // The future moves to the heap under the lock, once it is certain that it stays: a
            // refusal allocates nothing and gives it back by value.
            Ok(plan) => Ok(accept(core, plan, task, now, out)),
            Err(no) => Err((core.refuse(no), task)),
        }
    });
    match accepted {
        Ok((node, place)) => Ok(TaskHandle::new(node, Arc::clone(shared), place)),
        Err((no, task)) => Err(Refused::new(no.reason, no.retry_after, task.future)),
    }
}

fn accept<F>(
    core: &mut PoolCore,
    plan: Plan,
    task: Task<F>,
    now: Instant,
    out: &mut PoolErrands,
) -> Accepted<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let Task { future, place, timeout } = task;
    let node = Arc::new(Node::new(future, timeout, place.deadline));
    let queued: TaskRef = Arc::<Node<F>>::clone(&node);
    (node, core.enqueue(plan, place, queued, now, out))
}

/// Accepts the task once there is room, or gives it back.
pub(super) async fn in_turn<F>(
    shared: &Arc<Shared>,
    task: Task<F>,
) -> Result<TaskHandle<F::Output>, Refused<F>>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let deadline = task.place.deadline;
    let mut waiting = Waiting { shared, task: Some(task), ticket: None };
    let accepted =
        time::until(deadline, std::future::poll_fn(|cx| waiting.poll(cx))).await.unwrap_or_else(
            || Err(shared.with(|core, _, _| core.refuse(No::because(Reason::Expired)))),
        );
    match (accepted, waiting.task.take()) {
        (Ok((node, place)), _) => Ok(TaskHandle::new(node, Arc::clone(shared), place)),
        (Err(no), Some(task)) => Err(Refused::new(no.reason, no.retry_after, task.future)),
        (Err(_), None) => unreachable!("a task leaves only by being accepted"),
    }
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
