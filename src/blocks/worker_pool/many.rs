//! Many tasks at once: few locks, and their workers woken together.

use std::future::Future;
use std::sync::Arc;

use super::beside::{Front, Spot};
use super::core::No;
use super::handle::TaskHandle;
use super::node::{self, Join, Work};
use super::submit::make;
use super::task::Task;
use crate::Refused;
use crate::gates::wait_queue::Ticket;
use crate::ground::quiet::drop_quietly;

/// So many under one lock: enough that it costs next to nothing, and few enough that nobody waits
/// for it longer than some ten microseconds.
const AT_ONCE: usize = 256;

type Verdict<F> = Result<TaskHandle<<F as Future>::Output>, Refused<F>>;

/// A verdict for each, in order.
pub(super) fn submit<F>(
    front: &Arc<Front>,
    tasks: impl IntoIterator<Item = Task<F>>,
) -> Vec<Verdict<F>>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    // The caller's iterator is his code: it is done with before anything is made.
    let mut tasks: Vec<Task<F>> = tasks.into_iter().collect();
    tasks.iter_mut().for_each(Task::trace);
    let mut verdicts = Vec::with_capacity(tasks.len());
    let mut rest = tasks.into_iter();
    while rest.len() > 0 {
        let (works, joins): (Vec<_>, Vec<_>) =
            rest.by_ref().take(AT_ONCE).map(|task| make(&front.shared, task)).unzip();
        let pushed = front.shared.push_all(works);
        let settled = pushed.into_iter().zip(joins);
        verdicts.extend(settled.map(|(pushed, join)| verdict(front, pushed, join)));
    }
    verdicts
}

fn verdict<F: Future>(
    front: &Arc<Front>,
    pushed: Result<Ticket, (No, Work)>,
    join: Join<F::Output>,
) -> Verdict<F> {
    match pushed {
        Ok(ticket) => Ok(TaskHandle::new(join, front, Spot::of(ticket))),
        Err((no, work)) => {
            let (future, options) = node::take_back(work, join);
            // A caller's callback: what is left of the verdicts outlives its drop.
            drop_quietly(options);
            Err(Refused::new(no.reason, no.retry_after, future))
        }
    }
}
