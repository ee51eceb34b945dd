//! The protocol of [`Handoff`]: every interleaving of put, poll and leave; and that of [`Orders`].
//! And [`Tally`]'s, while the numbers of threads change hands.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::thread;

use super::handoff::Handoff;
use super::joint::{Joint, Turn, Waiter, Work};
use super::orders::{Orders, orders};
use super::tally::Tally;
use super::thread_number::{Lease, Numbers};

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

/// Two threads count, one of them a second time under another lease, perhaps of the number that
/// the other had: no count is lost, and none is told twice.
#[test]
fn loom_a_tally_stays_exact_while_a_number_changes_hands() {
    loom::model(|| {
        let world = Arc::new((Numbers::new(), Tally::default()));
        let count = |(numbers, tally): &(Numbers, Tally)| {
            let lease = Lease::new(numbers);
            [tally.add_by(lease.number()), tally.add_by(lease.number())]
        };
        let other = thread::spawn({
            let world = Arc::clone(&world);
            move || count(&world)
        });
        let mut told = [count(&world), count(&world)].concat();
        told.extend(other.join().unwrap());
        told.sort_unstable();
        told.dedup();
        assert_eq!((told.len(), world.1.get()), (6, 6));
    });
}

/// Beside the owners, where threads without a number meet.
#[test]
fn loom_a_tally_stays_exact_for_threads_without_a_number() {
    loom::model(|| {
        let tally = Arc::new(Tally::default());
        let other = thread::spawn({
            let tally = Arc::clone(&tally);
            move || tally.add_by(None)
        });
        assert_ne!(tally.add_by(None), other.join().unwrap());
        assert_eq!(tally.get(), 2);
    });
}

/// A load whose end comes from another thread: a bell.
struct Bell(loom::sync::Mutex<(bool, Option<Waker>)>);

impl Bell {
    fn new() -> Arc<Self> {
        Arc::new(Self(loom::sync::Mutex::new((false, None))))
    }

    fn ring(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.0 = true;
            state.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn work(self: &Arc<Self>) -> Work<u32> {
        let bell = Arc::clone(self);
        Box::pin(poll_fn(move |cx| {
            let mut state = bell.0.lock().unwrap();
            if state.0 {
                return Poll::Ready(7);
            }
            state.1 = Some(cx.waker().clone());
            Poll::Pending
        }))
    }
}

/// Waits for the result, and makes it if nobody else does.
async fn shared(mut waiter: Waiter<u32>, bell: Arc<Bell>) -> u32 {
    loop {
        match poll_fn(|cx| waiter.poll(cx)).await {
            Turn::Done(result) => return result,
            Turn::Lead => waiter.share(bell.work()),
        }
    }
}

fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

#[test]
fn loom_a_joint_future_that_two_drive_ends_for_both() {
    model(|| {
        let (joint, bell) = (Arc::new(Joint::new()), Bell::new());
        let (one, other) = (joint.join(), joint.join());
        let driver = thread::spawn({
            let bell = Arc::clone(&bell);
            move || block_on(shared(one, bell))
        });
        let ringer = thread::spawn({
            let bell = Arc::clone(&bell);
            move || bell.ring()
        });
        assert_eq!(block_on(shared(other, bell)), 7);
        assert_eq!(driver.join().unwrap(), 7);
        ringer.join().unwrap();
    });
}

/// One drives it once and leaves, while it is woken: the other one ends it.
#[test]
fn loom_a_joint_future_survives_the_one_who_brought_it() {
    model(|| {
        let (joint, bell) = (Arc::new(Joint::new()), Bell::new());
        let (one, other) = (joint.join(), joint.join());
        let leaver = thread::spawn({
            let bell = Arc::clone(&bell);
            move || {
                let mut once = Box::pin(shared(one, bell));
                let _ = once.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            }
        });
        let ringer = thread::spawn({
            let bell = Arc::clone(&bell);
            move || bell.ring()
        });
        assert_eq!(block_on(shared(other, bell)), 7);
        leaver.join().unwrap();
        ringer.join().unwrap();
        assert!(joint.is_deserted());
    });
}

/// A leader that leaves beside one who waits leaves the lead to it.
#[test]
fn loom_the_lead_of_a_joint_is_handed_over() {
    model(|| {
        let (joint, bell) = (Arc::new(Joint::new()), Bell::new());
        let (mut one, other) = (joint.join(), joint.join());
        bell.ring();
        let leader = thread::spawn(move || {
            let turn = one.poll(&Context::from_waker(Waker::noop()));
            if let Poll::Ready(Turn::Done(result)) = turn {
                assert_eq!(result, 7);
            }
            drop(one);
        });
        assert_eq!(block_on(shared(other, bell)), 7);
        leader.join().unwrap();
    });
}

#[test]
fn loom_an_order_beside_a_poll_is_never_missed() {
    loom::model(|| {
        let (orders, mut inbox) = orders();
        let giver = thread::spawn(move || {
            orders.give(1).unwrap();
            // The task may have taken the first by now, or not.
            orders.give(2).is_ok()
        });
        assert_eq!(block_on(poll_fn(|cx| inbox.poll(cx))), 1);
        let both = giver.join().unwrap();
        let second = inbox.poll(&Context::from_waker(Waker::noop()));
        assert_eq!(second, if both { Poll::Ready(2) } else { Poll::Pending });
    });
}

/// It holds the end that it was given through.
#[allow(dead_code, reason = "they are held")]
struct Cyclic(Orders<Cyclic>, Arc<()>);

#[test]
fn loom_no_order_is_left_where_nobody_looks() {
    loom::model(|| {
        let alive = Arc::new(());
        let (orders, inbox) = orders();
        let giver = thread::spawn({
            let alive = Arc::clone(&alive);
            move || drop(orders.give(Cyclic(orders.clone(), alive)))
        });
        drop(inbox);
        giver.join().unwrap();
        assert_eq!(Arc::strong_count(&alive), 1);
    });
}
