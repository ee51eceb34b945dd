//! Orders from anybody to one task, at most one at a time.
//!
//! 1. An order lies in the cell until the task takes it. While one does, the next comes back to who
//!    gave it.
//! 2. The task's end ([`Inbox`]) takes what lies there along when it is dropped, and from then on
//!    every order comes back, both under the lock. So none is left where nobody looks: an order may
//!    hold the very [`Orders`] it was given through, and the two would keep each other for ever.
//! 3. No wake-up is lost. Without the lock the task looks at `is_any` only while its waker is
//!    registered; whoever gives an order takes that waker under the lock, after the order is in,
//!    and wakes it. What the task then does happens after that, and so sees the order.
//! 4. Wakers are cloned, woken and dropped beside the lock, and so are orders.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::primitives::Mutex;
use super::primitives::atomic::{AtomicBool, Ordering};
use super::quiet::wake_quietly;

/// Where orders are given. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Orders<O>(Arc<Shared<O>>);

/// Where the task takes them.
#[derive(Debug)]
pub(crate) struct Inbox<O> {
    shared: Arc<Shared<O>>,
    /// The one that is registered, unless an order was given meanwhile.
    registered: Option<Waker>,
}

#[derive(Debug)]
struct Shared<O> {
    is_any: AtomicBool,
    state: Mutex<State<O>>,
}

#[derive(Debug)]
struct State<O> {
    order: Option<O>,
    waker: Option<Waker>,
    /// Nobody takes orders any more.
    is_over: bool,
}

pub(crate) fn orders<O>() -> (Orders<O>, Inbox<O>) {
    let state = State { order: None, waker: None, is_over: false };
    let shared = Shared { is_any: AtomicBool::new(false), state: Mutex::new(state) };
    let shared = Arc::new(shared);
    (Orders(Arc::clone(&shared)), Inbox { shared, registered: None })
}

impl<O> Clone for Orders<O> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<O> Orders<O> {
    /// Tells the task. `Err`: an earlier order is still there, or nobody is.
    pub(crate) fn give(&self, order: O) -> Result<(), O> {
        let mut state = self.0.state.lock();
        if state.is_over || state.order.is_some() {
            return Err(order);
        }
        state.order = Some(order);
        // Release: pairs with the task's look, though the wake-up orders the two already.
        self.0.is_any.store(true, Ordering::Release);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(wake_quietly);
        Ok(())
    }
}

impl<O> Inbox<O> {
    /// The next order.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<O> {
        let is_known = self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        // Acquire: pairs with `give`.
        if is_known && !self.shared.is_any.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.take(cx)
    }

    #[cold]
    fn take(&mut self, cx: &Context<'_>) -> Poll<O> {
        let fresh = cx.waker().clone();
        let mut state = self.shared.state.lock();
        let Some(order) = state.order.take() else {
            let before = state.waker.replace(fresh);
            drop(state);
            drop(before);
            self.registered = Some(cx.waker().clone());
            return Poll::Pending;
        };
        // Relaxed: only this task reads it, and who sets it holds the lock.
        self.shared.is_any.store(false, Ordering::Relaxed);
        drop(state);
        // Whoever gave the order has taken the one that was.
        self.registered = None;
        Poll::Ready(order)
    }
}

impl<O> Drop for Inbox<O> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.is_over = true;
        let left = (state.order.take(), state.waker.take());
        drop(state);
        drop(left);
    }
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use std::task::Wake;

    use super::*;
    use crate::ground::primitives::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_order_at_a_time_and_each_wakes() {
        let (orders, mut inbox) = orders();
        let woken = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        for order in 1..=3 {
            assert_eq!(inbox.poll(&cx), Poll::Pending);
            assert_eq!(inbox.poll(&cx), Poll::Pending);
            assert_eq!(orders.give(order), Ok(()));
            assert_eq!(orders.give(7), Err(7), "one is there already");
            assert_eq!(woken.0.load(Ordering::Relaxed), order);
            assert_eq!(inbox.poll(&cx), Poll::Ready(order));
        }
        let other = Waker::from(Arc::new(Count::default()));
        assert_eq!(inbox.poll(&cx), Poll::Pending);
        assert_eq!(inbox.poll(&Context::from_waker(&other)), Poll::Pending);
        assert_eq!(orders.give(4), Ok(()));
        assert_eq!(woken.0.load(Ordering::Relaxed), 3, "the last waker alone is woken");
    }

    /// It holds the end that it was given through.
    #[allow(dead_code, reason = "they are held")]
    struct Cyclic(Orders<Cyclic>, Arc<()>);

    #[test]
    fn an_order_that_holds_its_own_end_is_not_kept_by_it() {
        let alive = Arc::new(());
        let (orders, inbox) = orders();
        assert!(orders.give(Cyclic(orders.clone(), Arc::clone(&alive))).is_ok());
        let (early, late) = (orders.clone(), orders);
        drop(early);
        drop(inbox);
        assert_eq!(Arc::strong_count(&alive), 1, "what lay there is gone");
        let refused = late.give(Cyclic(late.clone(), Arc::clone(&alive)));
        assert!(refused.is_err());
        drop(refused);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
