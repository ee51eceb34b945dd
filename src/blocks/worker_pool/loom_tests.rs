//! The node's protocol, in every interleaving.
//!
//! The runtime, the queue and tokio's primitives are not modelled: the models drive the two sides
//! of a node with the verbs that the pool uses, in the order in which it uses them. Workers, roster
//! and core together are in `whole.rs`.

mod whole;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::completions::{Call, Ready};
use super::error::TaskError;
use super::lease::{Collected, Gave, Leases};
use super::node::{self, Join, Put, Slot, Work};
use super::seats::{Runner, Seated, Seats};
use super::task::TaskId;
use crate::ground::loom_tests::block_on;
use crate::ground::primitives::Mutex;
use crate::ground::slab::Ticket;
use crate::{Ending, Priority};

/// A result that counts how often it is dropped.
#[derive(Debug)]
struct Counted(Arc<AtomicU32>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn seven() -> (Work, Join<u32>) {
    node::task(std::future::ready(7), Priority::Normal, None)
}

/// What a worker does with a task that has its seat.
fn work(mut task: Work) -> Ending {
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
        let (task, mut join) = seven();
        let worker = thread::spawn(move || work(task));
        let result = block_on(poll_fn(|cx| join.poll(cx)));
        assert_eq!(result.unwrap(), 7);
        assert_eq!(worker.join().unwrap(), Ending::Completed);
    });
}

#[test]
fn loom_the_waker_of_the_last_poll_is_the_one_that_is_woken() {
    loom::model(|| {
        let (task, mut join) = seven();
        let worker = thread::spawn(move || work(task));
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
        let dropped = Arc::new(AtomicU32::new(0));
        let output = Counted(Arc::clone(&dropped));
        let (task, mut join) = node::task(std::future::ready(output), Priority::Normal, None);
        let worker = thread::spawn(move || work(task));
        // The handle is polled once and dropped.
        drop(join.poll(&Context::from_waker(Waker::noop())));
        drop(join);
        worker.join().unwrap();
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn loom_cancel_against_finish_gives_the_handle_what_the_ledger_says() {
    loom::model(|| {
        let (task, mut join) = seven();
        let worker = thread::spawn(move || work(task));
        join.stop();
        let result = block_on(poll_fn(|cx| join.poll(cx)));
        let told = result.map_or_else(|error| error.ending(), |_| Ending::Completed);
        assert_eq!(told, worker.join().unwrap());
    });
}

#[test]
fn loom_cancel_of_a_waiting_task_against_a_worker_that_takes_it() {
    loom::model(|| {
        let (task, mut join) = seven();
        // The queue: whoever takes the task out under the lock owns its body.
        let queue = Arc::new(Mutex::new(Some(task)));
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                let taken = queue.lock().take();
                taken.map(work)
            }
        });
        if join.stop() {
            let taken = queue.lock().take();
            if let Some(mut task) = taken {
                task.give_up(TaskError::Cancelled);
                task.publish();
            }
        }
        let result = block_on(poll_fn(|cx| join.poll(cx)));
        let told = result.map_or_else(|error| error.ending(), |_| Ending::Completed);
        assert_eq!(worker.join().unwrap().unwrap_or(Ending::Cancelled), told);
    });
}

/// A waker that counts how often it is woken; its own count tells whether one was lost.
#[derive(Default)]
struct Rung(AtomicU32);

impl Wake for Rung {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn loom_every_waker_that_was_registered_is_dropped_once() {
    loom::model(|| {
        let (first, second) = (Arc::new(Rung::default()), Arc::new(Rung::default()));
        let (task, mut join) = seven();
        let worker = thread::spawn(move || work(task));
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
    Seated { id: TaskId(1), weight: 1, since: None, runner: Runner::Caller }
}

#[test]
fn loom_a_seat_granted_to_a_run_that_leaves_comes_back_once() {
    loom::model(|| {
        let free = Arc::new(AtomicU32::new(0));
        let (caller, mut join) = node::caller();
        let owner = thread::spawn({
            let free = Arc::clone(&free);
            move || {
                let seat = Seats::new(1, 1).sit(anybody());
                if caller.seat(seat).is_err() {
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

/// The core's side: seats it has, and one who waits.
#[derive(Default)]
struct Owner {
    free: u32,
    waits: bool,
    served: bool,
}

impl Owner {
    fn collect(&mut self, leases: &Leases<Slot>) {
        self.free += leases.recall().seats;
        if self.waits && self.free > 0 {
            (self.waits, self.served) = (false, true);
        }
    }
}

#[test]
fn loom_nobody_waits_beside_a_leased_seat() {
    loom::model(|| {
        let leases = Arc::new(Leases::<Slot>::new());
        leases.lend(0);
        assert_eq!(leases.open(0), (0, true));
        let owner = Arc::new(Mutex::new(Owner::default()));
        let caller = thread::spawn({
            let (leases, owner) = (Arc::clone(&leases), Arc::clone(&owner));
            move || {
                if leases.claim(0) && leases.give(0, Ending::Completed) == Gave::Collect {
                    owner.lock().collect(&leases);
                }
            }
        });
        {
            let mut owner = owner.lock();
            owner.waits = true;
            owner.collect(&leases);
        }
        caller.join().unwrap();
        assert!(owner.lock().served, "the seat is somewhere, and somebody waits for it");
        let tally = leases.look();
        assert!(tally.completed <= 1 && tally.claims == 0);
    });
}

#[test]
fn loom_one_leased_seat_is_claimed_by_one() {
    loom::model(|| {
        let leases = Arc::new(Leases::<Slot>::new());
        leases.lend(0);
        assert_eq!(leases.open(0), (0, true));
        let other = thread::spawn({
            let leases = Arc::clone(&leases);
            move || leases.claim(0)
        });
        let mine = leases.claim(0);
        assert!(mine != other.join().unwrap());
        assert_eq!(leases.recall(), Collected { seats: 0, claims: 1 });
    });
}

fn open_slot() -> Arc<Slot> {
    let slot = Arc::new(Slot::default());
    slot.open();
    slot
}

#[test]
fn loom_a_task_in_a_slot_is_run_once_by_its_handle_or_by_a_worker() {
    loom::model(|| {
        let slot = open_slot();
        let (task, mut join) = seven();
        assert_eq!(slot.put(task).unwrap(), Put::Tell);
        let worker = thread::spawn({
            let slot = Arc::clone(&slot);
            move || slot.look().map(work)
        });
        let own = slot.take_own(&join).map(work);
        let result = block_on(poll_fn(|cx| join.poll(cx)));
        assert_eq!(result.unwrap(), 7);
        assert!(own.is_some() != worker.join().unwrap().is_some());
        assert!(slot.close().is_none());
    });
}

#[test]
fn loom_a_task_in_a_slot_is_looked_for() {
    loom::model(|| {
        let slot = open_slot();
        let (first, join) = seven();
        assert_eq!(slot.put(first).unwrap(), Put::Tell);
        work(slot.take_own(&join).unwrap());
        // A worker was told of that one, and comes; meanwhile there is another.
        let worker = thread::spawn({
            let slot = Arc::clone(&slot);
            move || slot.look().map(work)
        });
        let (second, mut join) = seven();
        let put = slot.put(second).unwrap();
        if worker.join().unwrap().is_none() {
            assert_eq!(put, Put::Tell, "nobody has looked, and nobody will");
            work(slot.close().unwrap());
        }
        assert!(join.poll(&Context::from_waker(Waker::noop())).is_ready());
    });
}

#[test]
fn loom_a_seat_and_a_task_are_somewhere_when_the_slot_closes() {
    loom::model(|| {
        let leases = Arc::new(Leases::<Slot>::new());
        leases.lend(0);
        assert_eq!(leases.open(0), (0, true));
        leases.slot(0).open();
        let owner = Arc::new(Mutex::new(Owner { waits: true, ..Owner::default() }));
        let submitter = thread::spawn({
            let (leases, owner) = (Arc::clone(&leases), Arc::clone(&owner));
            move || {
                let (task, join) = seven();
                let put =
                    if leases.claim(0) { leases.slot(0).put(task) } else { return work(task) };
                match put {
                    Err(task) => {
                        if leases.withdraw(0) == Gave::Collect {
                            owner.lock().collect(&leases);
                        }
                        work(task)
                    }
                    Ok(_) => match leases.slot(0).take_own(&join) {
                        Some(task) => {
                            let ending = work(task);
                            if leases.give(0, ending) == Gave::Collect {
                                owner.lock().collect(&leases);
                            }
                            ending
                        }
                        // In the queue by now.
                        None => Ending::Completed,
                    },
                }
            }
        });
        let moved = {
            let mut owner = owner.lock();
            let moved = leases.slot(0).close();
            owner.free += u32::from(moved.is_some());
            owner.collect(&leases);
            moved
        };
        moved.map(work);
        submitter.join().unwrap();
        let owner = owner.lock();
        assert_eq!((owner.free, owner.served), (1, true));
        assert!(leases.look().over() <= 1);
    });
}

#[test]
fn loom_a_task_gets_one_number() {
    loom::model(|| {
        let (task, join) = seven();
        let lock = Arc::new(Mutex::new(0));
        let next = |given: &mut u64| {
            *given += 1;
            *given
        };
        let mover = thread::spawn({
            let lock = Arc::clone(&lock);
            move || {
                let number = {
                    let mut given = lock.lock();
                    task.number(|| next(&mut given))
                };
                work(task);
                number
            }
        });
        let mine = {
            let mut given = lock.lock();
            join.number(|| next(&mut given))
        };
        assert_eq!(mover.join().unwrap(), mine);
    });
}

fn ticket(serial: u64) -> Ticket {
    Ticket { index: serial as u32, serial }
}

#[test]
fn loom_whoever_waits_for_the_next_result_hears_of_every_one() {
    loom::model(|| {
        let ready = Arc::new(Ready::new());
        let calls = [1, 2].map(|serial| Arc::new(Call::new(ticket(serial), &ready)));
        let callers = calls.clone().map(|call| thread::spawn(move || call.wake()));
        let mut heard = [false; 2];
        while heard != [true; 2] {
            // Missed, one of them would hang the model.
            let ticket = block_on(poll_fn(|cx| ready.poll_next(cx)));
            heard[ticket.serial as usize - 1] = true;
        }
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    });
}

#[test]
fn loom_what_happens_after_a_poll_is_polled_again() {
    loom::model(|| {
        let ready = Arc::new(Ready::new());
        let call = Arc::new(Call::new(ticket(1), &ready));
        let is_done = Arc::new(AtomicU32::new(0));
        call.wake_by_ref();
        let ender = {
            let (call, is_done) = (Arc::clone(&call), Arc::clone(&is_done));
            thread::spawn(move || {
                is_done.store(1, Ordering::Release);
                call.wake();
            })
        };
        loop {
            let ticket = block_on(poll_fn(|cx| ready.poll_next(cx)));
            assert_eq!(ticket.serial, 1);
            call.unlist();
            if is_done.load(Ordering::Acquire) == 1 {
                break;
            }
        }
        ender.join().unwrap();
    });
}
