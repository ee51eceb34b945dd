//! Being accepted: at once, or through the waiting room.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::core::{Door, No};
use super::handle::TaskHandle;
use super::node::Node;
use super::shared::{PoolCore, PoolErrands, Shared, TaskRef};
use super::task::{Task, TaskId};
use crate::gates::wait_queue::{Plan, Ticket, Turn};
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
        let (poll, spent) = shared.with(|core, now, out| match *ticket {
            None => (Self::knock(core, task, ticket, cx, now, out), [None, None]),
            Some(place) => Self::look(core, task, ticket, place, cx, now, out),
        });
        drop(spent);
        poll
    }

    /// The first try, from outside.
    fn knock(
        core: &mut PoolCore,
        task: &mut Option<Task<F>>,
        ticket: &mut Option<Ticket>,
        cx: &Context<'_>,
        now: Instant,
        out: &mut PoolErrands,
    ) -> Poll<Result<Accepted<F>, No>> {
        let Some(wants) = task.as_ref().map(|task| task.place) else { return Poll::Pending };
        let no = match core.admit(Door::Street, &wants, now, out) {
            Ok(plan) => return admitted(core, plan, task, now, out),
            Err(no) => no,
        };
        if no.reason == Reason::QueueFull {
            *ticket = core.enter(wants, cx.waker().clone(), now, out);
            if ticket.is_some() {
                return Poll::Pending;
            }
        }
        Poll::Ready(Err(core.refuse(no)))
    }

    /// Woken in the room.
    fn look(
        core: &mut PoolCore,
        task: &mut Option<Task<F>>,
        ticket: &mut Option<Ticket>,
        place: Ticket,
        cx: &Context<'_>,
        now: Instant,
        out: &mut PoolErrands,
    ) -> (Poll<Result<Accepted<F>, No>>, [Option<Waker>; 2]) {
        let Some(wants) = task.as_ref().map(|task| task.place) else {
            return (Poll::Pending, [None, None]);
        };
        let (turn, spent) = core.turn(place, cx.waker());
        let no = match turn {
            Ok(Turn::Wait) => return (Poll::Pending, [spent, None]),
            Err(no) => no,
            Ok(Turn::Yours | Turn::Lost) => match core.admit(Door::Room, &wants, now, out) {
                Ok(plan) => {
                    *ticket = None;
                    let old = core.let_in(place, wants.class, out);
                    return (admitted(core, plan, task, now, out), [spent, old]);
                }
                Err(no) if no.reason == Reason::QueueFull => return (Poll::Pending, [spent, None]),
                Err(no) => no,
            },
        };
        *ticket = None;
        let old = core.leave(place, out);
        (Poll::Ready(Err(core.refuse(no))), [spent, old])
    }
}

fn admitted<F>(
    core: &mut PoolCore,
    plan: Plan,
    task: &mut Option<Task<F>>,
    now: Instant,
    out: &mut PoolErrands,
) -> Poll<Result<Accepted<F>, No>>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    match task.take() {
        Some(task) => Poll::Ready(Ok(accept(core, plan, task, now, out))),
        None => Poll::Pending,
    }
}

impl<F> Drop for Waiting<'_, F> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            drop(self.shared.with(|core, _, out| core.leave(ticket, out)));
        }
    }
}
