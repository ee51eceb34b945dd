//! The node's protocol, in every interleaving.
//!
//! The runtime, the queue and tokio's primitives are not modelled: the models drive the two sides
//! of a node with the verbs that the pool uses, in the order in which it uses them.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::error::TaskError;
use super::node::{self, Join, Work};
use super::seats::{Seated, Seats};
use super::task::TaskId;
use crate::Ending;
use crate::ground::loom_tests::block_on;
use crate::ground::primitives::Mutex;

/// What a handle may call: it knows whether it is still there.
#[derive(Debug, Default)]
struct Pool {
    is_gone: Arc<AtomicU32>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.is_gone.store(1, Ordering::SeqCst);
    }
}

/// A result that counts how often it is dropped.
#[derive(Debug)]
struct Counted(Arc<AtomicU32>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn seven(pool: &Arc<Pool>) -> (Work<Pool>, Join<u32, Pool>) {
    node::task(std::future::ready(7), None, pool)
}

/// What a worker does with a task that has its seat.
fn work(mut task: Work<Pool>, pool: &Arc<Pool>) -> Ending {
    match task.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ending) => {
            task.publish(pool);
            ending
        }
        Poll::Pending => panic!("ready at once"),
    }
}

#[test]
fn loom_the_one_who_awaits_gets_the_result() {
    loom::model(|| {
        let pool = Arc::new(Pool::default());
        let (task, mut join) = seven(&pool);
        let worker = thread::spawn(move || work(task, &pool));
        let result = block_on(poll_fn(|cx| join.poll(cx)));
        assert_eq!(result.unwrap(), 7);
        assert_eq!(worker.join().unwrap(), Ending::Completed);
    });
}

#[test]
fn loom_the_waker_of_the_last_poll_is_the_one_that_is_woken() {
    loom::model(|| {
        let pool = Arc::new(Pool::default());
        let (task, mut join) = seven(&pool);
        let worker = thread::spawn(move || work(task, &pool));
        // Somebody else's waker first: woken alone, it would hang the model.
        let mut result = match join.poll(&Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        };
        if result.is_none() {
            result = Some(block_on(poll_fn(|cx| join.poll(cx))));
        }
        assert_eq!(result.map(Result::unwrap), Some(7));
        worker.join().unwrap();
    });
}

#[test]
fn loom_a_result_is_read_or_dropped_once_whoever_leaves_first() {
    loom::model(|| {
        let (pool, dropped) = (Arc::new(Pool::default()), Arc::new(AtomicU32::new(0)));
        let output = Counted(Arc::clone(&dropped));
        let (task, mut join) = node::task(std::future::ready(output), None, &pool);
        let worker = thread::spawn(move || work(task, &pool));
        // The handle is polled once and dropped.
        drop(join.poll(&Context::from_waker(Waker::noop())));
        drop(join);
        worker.join().unwrap();
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn loom_a_handle_that_cancels_finds_the_pool_alive_even_when_the_task_ends_meanwhile() {
    loom::model(|| {
        let pool = Arc::new(Pool::default());
        let is_gone = Arc::clone(&pool.is_gone);
        let (task, join) = seven(&pool);
        // The worker's count of the pool is the last.
        let worker = thread::spawn(move || work(task, &pool));
        join.stop(|pool| assert_eq!(pool.is_gone.load(Ordering::SeqCst), 0, "called a dead pool"));
        drop(join);
        worker.join().unwrap();
        assert_eq!(is_gone.load(Ordering::SeqCst), 1, "a count of the pool was left behind");
    });
}

#[test]
fn loom_cancel_against_finish_gives_the_handle_what_the_ledger_says() {
    loom::model(|| {
        let pool = Arc::new(Pool::default());
        let (task, mut join) = seven(&pool);
        let worker = thread::spawn(move || work(task, &pool));
        join.stop(|_| {});
        let result = block_on(poll_fn(|cx| join.poll(cx)));
        let told = result.map_or_else(|error| error.ending(), |_| Ending::Completed);
        assert_eq!(told, worker.join().unwrap());
    });
}

#[test]
fn loom_cancel_of_a_waiting_task_against_a_worker_that_takes_it() {
    loom::model(|| {
        let pool = Arc::new(Pool::default());
        let (task, mut join) = seven(&pool);
        // The queue: whoever takes the task out under the lock owns its body.
        let queue = Arc::new(Mutex::new(Some(task)));
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                let taken = queue.lock().take();
                taken.map(|task| work(task, &pool))
            }
        });
        join.stop(|pool| {
            let taken = queue.lock().take();
            if let Some(mut task) = taken {
                task.give_up(TaskError::Cancelled);
                task.publish(pool);
            }
        });
        let result = block_on(poll_fn(|cx| join.poll(cx)));
        let told = result.map_or_else(|error| error.ending(), |_| Ending::Completed);
        assert_eq!(worker.join().unwrap().unwrap_or(Ending::Cancelled), told);
    });
}

#[test]
fn loom_two_threads_that_cancel_at_once_leave_no_count_and_call_no_dead_pool() {
    loom::model(|| {
        let pool = Arc::new(Pool::default());
        let is_gone = Arc::clone(&pool.is_gone);
        let (task, join) = seven(&pool);
        let join = Arc::new(join);
        let worker = thread::spawn(move || work(task, &pool));
        let other = thread::spawn({
            let join = Arc::clone(&join);
            move || join.stop(|pool| assert_eq!(pool.is_gone.load(Ordering::SeqCst), 0))
        });
        join.stop(|pool| assert_eq!(pool.is_gone.load(Ordering::SeqCst), 0));
        other.join().unwrap();
        worker.join().unwrap();
        drop(join);
        assert_eq!(is_gone.load(Ordering::SeqCst), 1, "a count of the pool was left behind");
    });
}

/// A waker that counts how often it is woken; its own count tells whether one was lost.
#[derive(Default)]
struct Rung(AtomicU32);

impl std::task::Wake for Rung {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn loom_every_waker_that_was_registered_is_dropped_once() {
    loom::model(|| {
        let pool = Arc::new(Pool::default());
        let (first, second) = (Arc::new(Rung::default()), Arc::new(Rung::default()));
        let (task, mut join) = seven(&pool);
        let worker = thread::spawn(move || work(task, &pool));
        let mut is_ready = false;
        for rung in [&first, &second] {
            let waker = Waker::from(Arc::clone(rung));
            is_ready |= join.poll(&Context::from_waker(&waker)).is_ready();
        }
        drop(join);
        worker.join().unwrap();
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 1), "{is_ready}");
        let rung = [&first, &second].map(|rung| rung.0.load(Ordering::SeqCst));
        assert!(rung.iter().sum::<u32>() <= 1);
    });
}

fn anybody() -> Seated {
    Seated { id: TaskId(1), weight: 1, since: None, worker: None }
}

#[test]
fn loom_a_seat_granted_to_a_run_that_leaves_comes_back_once() {
    loom::model(|| {
        let (pool, free) = (Arc::new(Pool::default()), Arc::new(AtomicU32::new(0)));
        let (caller, mut join) = node::caller(&pool);
        let owner = thread::spawn({
            let free = Arc::clone(&free);
            move || {
                let seat = Seats::new(1).sit(anybody());
                if caller.seat(seat, &pool).is_err() {
                    // Nobody there any more: the seat is the owner's again.
                    free.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        // The caller polls once and is dropped, with or without the seat.
        let seat = match join.poll(&Context::from_waker(Waker::noop())) {
            Poll::Ready(seat) => Some(seat),
            Poll::Pending => join.leave(),
        };
        if let Some(seat) = seat {
            seat.unwrap();
            free.fetch_add(1, Ordering::SeqCst);
        }
        owner.join().unwrap();
        assert_eq!(free.load(Ordering::SeqCst), 1);
    });
}
