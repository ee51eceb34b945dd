//! Who is told of changes: receivers of events, and those who wait until the circuit is closed.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::core::{State, StateChange};
use super::error::TooManyWaiting;
use super::shared::Shared;
use crate::ground::quiet::drop_quietly;
use crate::ground::slab::{Slab, Ticket};
use crate::ground::time;

/// Changes that are kept for receivers that are behind.
const KEPT: usize = 64;
/// Receivers at once, and those who wait at once.
const RECEIVERS: usize = 1_024;
const WAITING: usize = 16_384;

/// Under the breaker's lock.
#[derive(Debug)]
pub(super) struct Listeners {
    recent: VecDeque<StateChange>,
    /// How many there were ever.
    told: u64,
    receivers: Slab<Option<Waker>>,
    waiting: Slab<Waker>,
}

impl Default for Listeners {
    fn default() -> Self {
        let recent = VecDeque::new();
        Self { recent, told: 0, receivers: Slab::new(), waiting: Slab::new() }
    }
}

impl Listeners {
    /// Whom to wake, after the lock.
    pub(super) fn tell(&mut self, changes: Vec<StateChange>) -> Vec<Waker> {
        let mut woken = Vec::new();
        if changes.is_empty() {
            return woken;
        }
        for change in changes {
            if self.recent.len() == KEPT {
                self.recent.pop_front();
            }
            self.recent.push_back(change);
            self.told += 1;
            if change.to == State::Closed {
                let waiting: Vec<_> = self.waiting.tickets().collect();
                woken.extend(waiting.into_iter().map(|one| self.waiting.remove(one.index)));
            }
        }
        for receiver in self.receivers.tickets().collect::<Vec<_>>() {
            woken.extend(self.receivers.get_mut(receiver.index).take());
        }
        woken
    }

    /// The change of this number, or the oldest that is still known, and its number.
    fn after(&self, seen: u64) -> Option<(u64, StateChange)> {
        let oldest = self.told - self.recent.len() as u64;
        let number = seen.max(oldest);
        self.recent.get((number - oldest) as usize).map(|change| (number, *change))
    }
}

/// Receives the changes of a circuit's state, in their order. Made by
/// [`CircuitBreaker::events`](super::CircuitBreaker::events).
///
/// The last 64 changes are kept; who falls further behind misses the older ones, and is told how
/// many. Whatever a receiver does, it does in its own task: the breaker waits for nobody.
#[derive(Debug)]
pub struct StateEvents {
    shared: Arc<Shared>,
    ticket: Ticket,
    seen: u64,
    missed: u64,
}

impl StateEvents {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self, TooManyWaiting> {
        let (ticket, seen) = shared.with_listeners(time::now(), |_, _, listeners| {
            if listeners.receivers.len() >= RECEIVERS {
                return Err(TooManyWaiting);
            }
            Ok((listeners.receivers.insert(None), listeners.told))
        })?;
        Ok(Self { shared, ticket, seen, missed: 0 })
    }

    /// The next change, if there has been one.
    pub fn try_recv(&mut self) -> Option<StateChange> {
        let now = time::now();
        self.shared.with_core(now, |core, cx| core.advance(cx));
        let next = self.shared.with_listeners(now, |_, _, listeners| listeners.after(self.seen));
        next.map(|next| self.take(next))
    }

    fn take(&mut self, (number, change): (u64, StateChange)) -> StateChange {
        self.missed += number - self.seen;
        self.seen = number + 1;
        change
    }

    /// Waits for the next change.
    ///
    /// A breaker is passive: an opening that is over reads half-open when somebody calls or asks,
    /// not before.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn recv(&mut self) -> StateChange {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<StateChange> {
        // Cloned and dropped beside the lock: these are calls into others' code.
        let waker = cx.waker().clone();
        let (next, old) =
            self.shared.with_listeners(time::now(), |_, _, listeners| {
                match listeners.after(self.seen) {
                    Some(next) => (Some(next), Some(waker)),
                    None => (None, listeners.receivers.get_mut(self.ticket.index).replace(waker)),
                }
            });
        old.into_iter().for_each(drop_quietly);
        next.map_or(Poll::Pending, |next| Poll::Ready(self.take(next)))
    }

    /// How many changes it has not received because it was too far behind.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

impl Drop for StateEvents {
    fn drop(&mut self) {
        let index = self.ticket.index;
        let old = self
            .shared
            .with_listeners(time::now(), |_, _, listeners| listeners.receivers.remove(index));
        old.into_iter().for_each(drop_quietly);
    }
}

/// Waits until the circuit is closed. Its drop leaves no trace.
#[derive(Debug)]
pub(super) struct UntilClosed<'a> {
    shared: &'a Shared,
    ticket: Option<Ticket>,
}

impl<'a> UntilClosed<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared, ticket: None }
    }
}

impl Future for UntilClosed<'_> {
    type Output = Result<(), TooManyWaiting>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Cloned and dropped beside the lock, as above.
        let waker = cx.waker().clone();
        let now = time::now();
        let ticket = self.ticket;
        let (poll, ticket, old) = self.shared.with_listeners(now, |core, cx, listeners| {
            core.advance(cx);
            let waiting = &mut listeners.waiting;
            let place = ticket.and_then(|ticket| waiting.index(ticket));
            let has_been_closed = ticket.is_some() && place.is_none();
            if has_been_closed || core.state(now) == State::Closed {
                let old = place.map(|place| waiting.remove(place));
                return (Poll::Ready(Ok(())), None, [old, Some(waker)]);
            }
            match place {
                Some(place) => {
                    let old = std::mem::replace(waiting.get_mut(place), waker);
                    (Poll::Pending, ticket, [Some(old), None])
                }
                None if waiting.len() >= WAITING => {
                    (Poll::Ready(Err(TooManyWaiting)), None, [Some(waker), None])
                }
                None => (Poll::Pending, Some(waiting.insert(waker)), [None, None]),
            }
        });
        self.ticket = ticket;
        old.into_iter().flatten().for_each(drop_quietly);
        poll
    }
}

impl Drop for UntilClosed<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let old = self.shared.with_listeners(time::now(), |_, _, listeners| {
            let place = listeners.waiting.index(ticket)?;
            Some(listeners.waiting.remove(place))
        });
        old.into_iter().for_each(drop_quietly);
    }
}
