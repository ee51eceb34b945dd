//! Results of many tasks, as they come.
//!
//! Each handle is polled with a waker of its own, which lists it as ready and wakes whoever waits
//! for the next result; so a result costs the same however many others are awaited beside it (as
//! in `FuturesUnordered` of the futures crate, whose allocation-free list needs unsafe code).
//!
//! 1. A handle is on the list once at most: who lists it has turned its flag, and the flag is
//!    turned back before the handle is polled. So nothing that happens after a poll is missed.
//! 2. The list and the waker of whoever waits have one lock. He registers only if the list is
//!    empty; who lists one takes the waker in the same hold. So either he finds it, or is woken.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use futures_core::Stream;

use super::error::TaskError;
use super::handle::TaskHandle;
use crate::ground::primitives::Mutex;
use crate::ground::primitives::atomic::{AtomicBool, Ordering};
use crate::ground::quiet::{drop_quietly, wake_quietly};
use crate::ground::slab::{Slab, Ticket};

/// The results of many tasks, in the order in which they end: a [`Stream`] of `(key, result)`.
///
/// Each handle is put in with a key of the caller's, by which he knows its result again. It holds
/// as many as are put in: the pool's own bounds are the bound of those not ended, and who puts in
/// without taking out keeps the results too. Dropping it drops the handles: their tasks go on,
/// unless they are to be [cancelled on drop](TaskHandle::cancel_on_drop).
///
/// ```
/// use headworks::worker_pool::{Completions, WorkerPoolConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = headworks::WorkerPool::new(WorkerPoolConfig::default())?;
/// let mut completions = Completions::new();
/// for n in 1..=3_u32 {
///     completions.push(n, pool.try_submit(async move { n * n })?);
/// }
/// let mut sum = 0;
/// while let Some((n, square)) = completions.next().await {
///     sum += square?;
///     println!("{n} is done, {} are not", completions.len());
/// }
/// assert_eq!(sum, 14);
/// # Ok(())
/// # }
/// ```
pub struct Completions<K, T> {
    awaited: Slab<Awaited<K, T>>,
    ready: Arc<Ready>,
}

struct Awaited<K, T> {
    key: K,
    handle: TaskHandle<T>,
    call: Arc<Call>,
}

impl<K, T> Completions<K, T> {
    /// Of no tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self { awaited: Slab::new(), ready: Arc::new(Ready::new()) }
    }

    /// One more. Its result comes with this key, which need not be the only one of its kind.
    ///
    /// # Cost
    ///
    /// One allocation.
    pub fn push(&mut self, key: K, handle: TaskHandle<T>) {
        let ready = &self.ready;
        let insert = |ticket| {
            let call = Arc::new(Call::new(ticket, ready));
            Awaited { key, handle, call }
        };
        let ticket = self.awaited.insert_with(insert);
        let index = self.awaited.index(ticket);
        if let Some(index) = index {
            // To be polled a first time.
            Arc::clone(&self.awaited.get(index).call).wake();
        }
    }

    /// How many have not been taken out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.awaited.len()
    }

    /// Whether all have been taken out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.awaited.len() == 0
    }

    /// The next result to come, with its key; `None` when all have been taken out.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it loses nothing: a result stays until it is given out.
    ///
    /// # Cost
    ///
    /// O(1) for each result, however many are awaited.
    pub async fn next(&mut self) -> Option<(K, Result<T, TaskError>)> {
        poll_fn(|cx| self.poll_result(cx)).await
    }

    fn poll_result(&mut self, cx: &mut Context<'_>) -> Poll<Option<(K, Result<T, TaskError>)>> {
        if self.is_empty() {
            return Poll::Ready(None);
        }
        loop {
            // Many may be ready, and none with a result: then others get their turn.
            let charged = ready!(tokio::task::coop::poll_proceed(cx));
            let ticket = ready!(self.ready.poll_next(cx));
            charged.made_progress();
            let Some(index) = self.awaited.index(ticket) else { continue };
            let Awaited { handle, call, .. } = self.awaited.get_mut(index);
            call.unlist();
            let waker = Waker::from(Arc::clone(call));
            let polled = Pin::new(handle).poll(&mut Context::from_waker(&waker));
            if let Poll::Ready(result) = polled {
                let Awaited { key, .. } = self.awaited.remove(index);
                return Poll::Ready(Some((key, result)));
            }
        }
    }
}

impl<K, T> Default for Completions<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Unpin, T> Stream for Completions<K, T> {
    type Item = (K, Result<T, TaskError>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_result(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl<K, T> Extend<(K, TaskHandle<T>)> for Completions<K, T> {
    fn extend<I: IntoIterator<Item = (K, TaskHandle<T>)>>(&mut self, handles: I) {
        handles.into_iter().for_each(|(key, handle)| self.push(key, handle));
    }
}

impl<K, T> FromIterator<(K, TaskHandle<T>)> for Completions<K, T> {
    fn from_iter<I: IntoIterator<Item = (K, TaskHandle<T>)>>(handles: I) -> Self {
        let mut all = Self::new();
        all.extend(handles);
        all
    }
}

impl<K, T> fmt::Debug for Completions<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completions").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Who is to be polled, and who waits for that.
pub(super) struct Ready(Mutex<List>);

#[derive(Default)]
struct List {
    tickets: VecDeque<Ticket>,
    waker: Option<Waker>,
}

impl Ready {
    pub(super) fn new() -> Self {
        Self(Mutex::new(List::default()))
    }

    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Ticket> {
        if let Some(ticket) = self.0.lock().tickets.pop_front() {
            return Poll::Ready(ticket);
        }
        // Somebody else's code, as every waker's: not under the lock.
        let waker = cx.waker().clone();
        let mut list = self.0.lock();
        let (poll, spent) = match list.tickets.pop_front() {
            Some(ticket) => (Poll::Ready(ticket), Some(waker)),
            None => (Poll::Pending, list.waker.replace(waker)),
        };
        drop(list);
        drop_quietly(spent);
        poll
    }
}

/// Wakes for one handle.
pub(super) struct Call {
    ticket: Ticket,
    is_listed: AtomicBool,
    ready: Arc<Ready>,
}

impl Call {
    pub(super) fn new(ticket: Ticket, ready: &Arc<Ready>) -> Self {
        Self { ticket, is_listed: AtomicBool::new(false), ready: Arc::clone(ready) }
    }

    /// About to be polled.
    pub(super) fn unlist(&self) {
        // AcqRel: pairs with `wake`. Whoever finds it listed has what he did seen by this poll.
        self.is_listed.swap(false, Ordering::AcqRel);
    }
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // AcqRel: pairs with `unlist`.
        if self.is_listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut list = self.ready.0.lock();
        list.tickets.push_back(self.ticket);
        let waker = list.waker.take();
        drop(list);
        waker.into_iter().for_each(wake_quietly);
    }
}
