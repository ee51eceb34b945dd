//! The hand-rolled waking, in every interleaving.
//!
//! The runtime, the queue and tokio's primitives are not modelled: the models drive the cells
//! with the verbs that the pool uses, in the order in which it uses them.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::error::TaskError;
use super::node::{Join, Node, Work};
use super::stop::Stop;
use crate::Ending;
use crate::ground::handoff::Handoff;
use crate::ground::loom_tests::block_on;
use crate::ground::primitives::Mutex;

type Task = Node<std::future::Ready<u32>>;

fn task() -> Arc<Task> {
    Arc::new(Node::new(std::future::ready(7), None, None))
}

/// What a worker does with a task that has its seat.
fn work(task: &dyn Work) -> Ending {
    match task.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ending) => {
            task.publish();
            ending
        }
        Poll::Pending => panic!("ready at once"),
    }
}

#[test]
fn loom_the_one_who_awaits_gets_the_result() {
    loom::model(|| {
        let node = task();
        let worker = thread::spawn({
            let node = Arc::clone(&node);
            move || work(&*node)
        });
        let result = block_on(poll_fn(|cx| node.outcome().poll(cx)));
        assert_eq!(result.unwrap(), 7);
        assert_eq!(worker.join().unwrap(), Ending::Completed);
    });
}

#[test]
fn loom_a_result_is_read_or_dropped_once_whoever_leaves_first() {
    loom::model(|| {
        let node = task();
        let worker = thread::spawn({
            let node = Arc::clone(&node);
            move || work(&*node)
        });
        // The handle is polled once and dropped.
        let polled = node.outcome().poll(&Context::from_waker(Waker::noop()));
        let left = node.outcome().leave();
        worker.join().unwrap();
        assert!(!(polled.is_ready() && left.is_some()), "the result was there twice");
        assert!(node.outcome().leave().is_none(), "nothing stays behind");
    });
}

#[test]
fn loom_cancel_against_finish_gives_the_handle_what_the_ledger_says() {
    loom::model(|| {
        let node = task();
        let worker = thread::spawn({
            let node = Arc::clone(&node);
            move || work(&*node)
        });
        Join::stop(&*node);
        let result = block_on(poll_fn(|cx| node.outcome().poll(cx)));
        let told = result.map_or_else(|error| error.ending(), |_| Ending::Completed);
        assert_eq!(told, worker.join().unwrap());
    });
}

#[test]
fn loom_cancel_of_a_waiting_task_against_a_worker_that_takes_it() {
    loom::model(|| {
        let node = task();
        // The queue: whoever takes the task out under the lock owns its body.
        let queue = Arc::new(Mutex::new(Some(Arc::clone(&node) as Arc<dyn Work>)));
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                let taken = queue.lock().take();
                taken.map(|task| work(&*task))
            }
        });
        let taken = queue.lock().take();
        match taken {
            Some(task) => {
                task.give_up(TaskError::Cancelled);
                task.publish();
            }
            None => Join::stop(&*node),
        }
        let result = block_on(poll_fn(|cx| node.outcome().poll(cx)));
        let told = result.map_or_else(|error| error.ending(), |_| Ending::Completed);
        assert_eq!(worker.join().unwrap().unwrap_or(Ending::Cancelled), told);
    });
}

#[test]
fn loom_a_request_to_stop_wakes_the_worker() {
    loom::model(|| {
        let stop = Arc::new(Stop::new());
        let asker = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                if let Some(worker) = stop.ask() {
                    worker.wake();
                }
            }
        });
        // The worker sleeps on a task that never ends by itself; a lost request hangs the model.
        block_on(poll_fn(
            |cx| if stop.watch(cx.waker()) { Poll::Ready(()) } else { Poll::Pending },
        ));
        assert!(stop.is_asked());
        asker.join().unwrap();
    });
}

#[test]
fn loom_a_seat_granted_to_a_run_that_leaves_comes_back_once() {
    loom::model(|| {
        let cell = Arc::new(Handoff::<u32>::new());
        let free = Arc::new(AtomicU32::new(0));
        let owner = thread::spawn({
            let (cell, free) = (Arc::clone(&cell), Arc::clone(&free));
            move || match cell.put(1) {
                Ok(waker) => waker.into_iter().for_each(Waker::wake),
                // Nobody there any more: the seat is the owner's again.
                Err(seat) => drop(free.fetch_add(seat, Ordering::SeqCst)),
            }
        });
        // The caller polls once and is dropped, with or without the seat.
        let polled = cell.poll(&Context::from_waker(Waker::noop()));
        let seat = match polled {
            Poll::Ready(seat) => Some(seat),
            Poll::Pending => cell.leave(),
        };
        if let Some(seat) = seat {
            free.fetch_add(seat, Ordering::SeqCst);
        }
        owner.join().unwrap();
        assert_eq!(free.load(Ordering::SeqCst), 1);
    });
}
