//! The protocol of [`Handoff`]: every interleaving of put, poll and leave.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::thread;

use super::handoff::Handoff;

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs the future on this thread of the model. A lost wake-up shows as a deadlock, which loom
/// reports.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// What the putter has to do with its result. Whether the value was taken.
fn put(cell: &Handoff<u32>, value: u32) -> bool {
    match cell.put(value) {
        Ok(waker) => {
            waker.into_iter().for_each(Waker::wake);
            true
        }
        Err(back) => {
            assert_eq!(back, value);
            false
        }
    }
}

#[test]
fn loom_a_put_beside_a_poll_is_never_missed() {
    loom::model(|| {
        let cell = Arc::new(Handoff::new());
        let putter = thread::spawn({
            let cell = Arc::clone(&cell);
            move || assert!(put(&cell, 7))
        });
        assert_eq!(block_on(poll_fn(|cx| cell.poll(cx))), 7);
        putter.join().unwrap();
        assert_eq!(cell.leave(), None);
    });
}

#[test]
fn loom_a_put_beside_a_waiter_that_leaves_is_in_one_place() {
    loom::model(|| {
        let cell = Arc::new(Handoff::new());
        let putter = thread::spawn({
            let cell = Arc::clone(&cell);
            move || put(&cell, 7)
        });
        let polled = cell.poll(&Context::from_waker(Waker::noop()));
        let left = cell.leave();
        let was_put = putter.join().unwrap();
        let places = [polled == Poll::Ready(7), left == Some(7), !was_put];
        assert_eq!(places.into_iter().filter(|here| *here).count(), 1, "{places:?}");
    });
}

#[test]
fn loom_of_two_puts_one_is_taken() {
    loom::model(|| {
        let cell = Arc::new(Handoff::new());
        let putter = |value| {
            let cell = Arc::clone(&cell);
            thread::spawn(move || put(&cell, value))
        };
        let (first, second) = (putter(1), putter(2));
        let got = block_on(poll_fn(|cx| cell.poll(cx)));
        let taken = (first.join().unwrap(), second.join().unwrap());
        assert_eq!(taken, (got == 1, got == 2));
    });
}
