//! Waiting to be accepted: `submit`'s place in the room.
//!
//! Only the head tries, and it tries under the lock that it registers its waker under: whoever
//! frees a place later takes the same lock and wakes it, so no wake-up is lost. It holds neither
//! a queue place nor a token while it waits. Refused by the limiter, it tries again when that
//! said, or when a token comes back: whoever gives one back notes it under the same lock. Until
//! then it stays head if all are out of tokens, for nobody could pass; if only its tenant is, the
//! tenant is held and the others go on.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::checkpoints;
use super::intent::Intent;
use super::run::Effects;
use super::shared::{Brought, Refusal, Shared};
use super::ticket::Ticket;
use crate::gates::wait_queue::{Entered, Place, Ticket as RoomTicket, Turn};
use crate::ground::quiet::{drop_quietly, wake_quietly};
use crate::ground::tenant::Tenant;
use crate::ground::time::{self, Instant};
use crate::{Reason, Refused, Scope};

/// A place in the waiting room, left when dropped.
struct InRoom<'a, P: Send + Sync + 'static, O: Send + Sync + 'static> {
    shared: &'a Arc<Shared<P, O>>,
    ticket: RoomTicket,
    early: Option<Early>,
}

/// The limiter said when to try again: not worth it before, unless tokens come back.
#[derive(Clone, Copy)]
struct Early {
    until: Option<Instant>,
    /// [`Core::refunds`](super::core::Core::refunds) when all were out of tokens. `None`: its
    /// tenant was, and while that is held it has no turn.
    refunds: Option<u64>,
}

/// What a try in the room came to.
enum Tried<P, R> {
    Ended(Result<R, Refused<Intent<P>>>),
    /// Only the limiter stands in the way.
    Early(Intent<P>, Early),
}

/// In its turn, and on disk where that is asked for.
pub(super) async fn submit<P: Send + Sync + 'static, O: Send + Sync + 'static>(
    shared: &Arc<Shared<P, O>>,
    intent: Intent<P>,
) -> Result<Ticket<P, O>, Refused<Intent<P>>> {
    checkpoints::on_disk(submit_in_turn(shared, intent).await?).await
}

async fn submit_in_turn<P: Send + Sync + 'static, O: Send + Sync + 'static>(
    shared: &Arc<Shared<P, O>>,
    intent: Intent<P>,
) -> Result<Ticket<P, O>, Refused<Intent<P>>> {
    let deadline = intent.deadline;
    let mut brought = match shared.bring(&intent) {
        Ok(brought) => brought,
        Err(reason) => return Err(shared.refuse(reason, intent)),
    };
    let mut intent = match shared.try_admit(intent, &mut brought, may_wait) {
        Err(refused) if may_wait(refused.reason()) => refused.into_inner(),
        answer => return answer,
    };
    let mut room = match std::future::poll_fn(|cx| Poll::Ready(enter(shared, &intent, cx))).await {
        Ok(room) => room,
        Err(reason) => return Err(shared.refuse(reason, intent)),
    };
    loop {
        let mut held = Some(intent);
        let until = time::earlier(deadline, room.early.and_then(|early| early.until));
        let turn = std::future::poll_fn(|cx| room.poll(&mut held, &mut brought, cx));
        let tried = time::until(until, turn).await;
        intent = match (tried, held) {
            (Some(Tried::Ended(answer)), _) => return answer,
            (Some(Tried::Early(intent, early)), _) => {
                room.early = Some(early);
                intent
            }
            (None, Some(intent)) if deadline.is_some_and(|deadline| deadline <= time::now()) => {
                return Err(shared.refuse(Reason::Expired, intent));
            }
            (None, Some(intent)) => {
                room.early = None;
                intent
            }
            // Unreachable: only an answer takes the intent.
            (None, None) => std::future::pending().await,
        };
    }
}

/// Which refusals are worth waiting for.
fn may_wait(reason: Reason) -> bool {
    matches!(reason, Reason::QueueFull | Reason::RateLimited { .. })
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Shared<P, O> {
    /// Counts a refusal of one that wanted to wait.
    pub(super) fn refuse(&self, reason: Reason, intent: Intent<P>) -> Refused<Intent<P>> {
        let refusal = Refusal { intent, reason, earliest: None };
        refusal.count(&mut self.core.lock(), time::now())
    }
}

fn enter<'a, P: Send + Sync + 'static, O: Send + Sync + 'static>(
    shared: &'a Arc<Shared<P, O>>,
    intent: &Intent<P>,
    cx: &Context<'_>,
) -> Result<InRoom<'a, P, O>, Reason> {
    let tenant = Tenant::of(&*intent.tenant);
    let place = Place { tenant, ..Place::new(intent.priority) };
    // Cloned before the lock and dropped after it: that runs somebody else's code.
    let waker = cx.waker().clone();
    let mut core = shared.core.lock();
    if core.is_closed() {
        drop(core);
        return Err(Reason::Closed);
    }
    let entered = core.room.enter(place, waker, time::now());
    drop(core);
    let Entered { ticket, wakes } = entered.map_err(|_unused| Reason::QueueFull)?;
    wakes.into_iter().flatten().for_each(wake_quietly);
    Ok(InRoom { shared, ticket, early: None })
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> InRoom<'_, P, O> {
    fn poll(
        &self,
        held: &mut Option<Intent<P>>,
        brought: &mut Brought,
        cx: &Context<'_>,
    ) -> Poll<Tried<P, Ticket<P, O>>> {
        let now = time::now();
        let waker = cx.waker().clone();
        let mut fx = Effects::none();
        let mut core = self.shared.core.lock();
        // Without a timer, or no longer with one, it holds nobody.
        let mut others_go = self.early.is_none() && core.room.let_go(self.ticket);
        let (turn, old) = core.room.turn(self.ticket, waker);
        others_go &= turn == Turn::Wait;
        let refunds = core.refunds;
        let is_early = self.early.is_some_and(|early| {
            early.refunds == Some(refunds) && early.until.is_some_and(|until| now < until)
        });
        let tried = match turn {
            Turn::Lost => {
                let reason = if core.is_closed() { Reason::Closed } else { Reason::Evicted };
                let refuse = |intent| Refusal { intent, reason, earliest: None };
                let lost = held.take().map(|intent| Err(refuse(intent).count(&mut core, now)));
                lost.map_or(Poll::Pending, |lost| Poll::Ready(Tried::Ended(lost)))
            }
            Turn::Yours if !is_early => {
                let Some(intent) = held.take() else { return Poll::Pending };
                let head = Some(self.ticket);
                match self.shared.admit(&mut core, intent, brought, head, now, &mut fx) {
                    Ok(admitted) => {
                        let (ticket, joined) = admitted.into_parts();
                        let own = core.room.accepted(self.ticket, now);
                        self.shared.settle(core, &mut fx, now);
                        drop_quietly((old, own, joined));
                        return Poll::Ready(Tried::Ended(Ok(ticket)));
                    }
                    Err(Refusal { intent, reason: Reason::QueueFull | Reason::Paused, .. }) => {
                        *held = Some(intent);
                        Poll::Pending
                    }
                    Err(Refusal { intent, reason: Reason::RateLimited { scope }, earliest }) => {
                        let is_own = scope == Scope::Key;
                        if is_own {
                            core.room.hold(self.ticket, earliest);
                            others_go = true;
                        }
                        let refunds = (!is_own).then_some(refunds);
                        Poll::Ready(Tried::Early(intent, Early { until: earliest, refunds }))
                    }
                    Err(refusal) => Poll::Ready(Tried::Ended(Err(refusal.count(&mut core, now)))),
                }
            }
            Turn::Yours | Turn::Wait => Poll::Pending,
        };
        let next = if others_go { core.room.next() } else { None };
        drop(core);
        drop_quietly(old);
        // A look at a breaker may have ended its opening, whatever else stood in the way.
        fx.wakers.into_iter().chain(next).for_each(wake_quietly);
        tried
    }
}

impl<P: Send + Sync + 'static, O: Send + Sync + 'static> Drop for InRoom<'_, P, O> {
    fn drop(&mut self) {
        let mut core = self.shared.core.lock();
        let own = core.room.leave(self.ticket);
        // The next one may be the head now, and the place it waits for already free.
        let next = core.room.next();
        drop(core);
        drop_quietly(own);
        next.into_iter().for_each(wake_quietly);
    }
}
