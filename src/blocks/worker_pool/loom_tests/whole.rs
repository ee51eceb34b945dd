//! The crew's wake protocol, and a close beside a submission, with everything that a pool is made of
//! but the runtime: the real core behind the real lock, its roster, nodes and slots. Workers are
//! threads of the model, which do what `crew::worker` does, in its order. A wake-up that is lost
//! leaves everybody parked, which loom reports.
//!
//! The runtime's handle is only asked for its number. Nothing here has a timeout or a deadline.

use std::future::{poll_fn, ready};
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::Duration;

use loom::sync::Notify;
use loom::thread::{self, JoinHandle};

use super::super::alarm::Alarm;
use super::super::config::{Concurrency, Timing, WorkerPoolConfig};
use super::super::crew::{Next, Post, Turn, WorkerNo};
use super::super::node::{self, Join};
use super::super::shared::{Done, PoolCore, Shared};
use crate::gates::wait_queue::Place;
use crate::ground::loom_tests::block_on;
use crate::ground::time::Glance;
use crate::{Priority, Reason};

/// So many preemptions, and for half a minute at most; all of them together take twenty seconds.
fn model(preemptions: usize, check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_duration = Some(Duration::from_secs(30));
    // After so many executions it looks at the clock.
    builder.checkpoint_interval = 100;
    builder.check(check);
}

fn shared(seats: usize) -> Arc<Shared> {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> =
        LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().unwrap());
    let config = WorkerPoolConfig::default()
        .with_concurrency(Concurrency::Fixed(seats))
        // So that its pressure does not change: that is told through tokio's channel, whose lock is
        // none of the model's.
        .with_queue_capacity(64)
        .with_timing(Timing::Off);
    Arc::new(Shared::new(config.check().unwrap(), None, RUNTIME.handle()))
}

/// A worker, until it is told to leave: `crew::worker`, but for the budget and the time of a turn.
fn worker(shared: &Arc<Shared>, no: u32) -> JoinHandle<()> {
    worker_that(shared, no, Turn::Done, thread::yield_now)
}

/// What it says after a job, and what its thread does when it pauses.
fn worker_that(
    shared: &Arc<Shared>,
    no: u32,
    after: fn(Done) -> Turn<Done>,
    pause: impl Fn() + 'static,
) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let mut kit = Alarm::default();
        let waker = block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
        let mut turn = Turn::Begun(waker);
        loop {
            turn = match shared.next(WorkerNo(no), turn, &Glance::default()) {
                Next::Job(job) => after(block_on(shared.work(job, &mut kit))),
                Next::Rest { until } => {
                    assert_eq!(until, None, "nothing here is due");
                    block_on(rest());
                    Turn::Up
                }
                Next::Linger => {
                    thread::yield_now();
                    Turn::Up
                }
                Next::Pause => {
                    pause();
                    Turn::Up
                }
                Next::Leave => return,
            };
        }
    })
}

/// Until whatever polls it next: as in `crew.rs`.
async fn rest() {
    let mut has_rested = false;
    poll_fn(|_| match std::mem::replace(&mut has_rested, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

/// Through the lock, as whatever does not find a leased seat.
fn submit(shared: &Arc<Shared>, result: u32) -> Result<Join<u32>, Reason> {
    let (work, join) = node::task(ready(result), Priority::Normal, None);
    match shared.push(work, &Place::new(Priority::Normal), PoolCore::refuse) {
        Ok(_) => Ok(join),
        Err((no, work)) => {
            drop(node::take_back::<std::future::Ready<u32>>(work, join));
            Err(no.reason)
        }
    }
}

fn result(mut join: Join<u32>) -> u32 {
    block_on(poll_fn(|cx| join.poll(cx))).unwrap()
}

/// Everybody leaves, and everything accepted has ended completed.
fn ends(shared: &Arc<Shared>, workers: impl IntoIterator<Item = JoinHandle<()>>, accepted: u64) {
    shared.close();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let ledger = shared.report().ledger;
    assert!(ledger.is_exact() && ledger.live == 0, "{ledger}");
    assert_eq!((ledger.accepted, ledger.completed), (accepted, accepted));
}

#[test]
fn loom_a_task_does_not_wait_beside_a_worker_that_goes_to_rest() {
    model(2, || {
        let shared = shared(1);
        let worker = worker(&shared, 0);
        assert_eq!(result(submit(&shared, 7).unwrap()), 7);
        // It lingers now, rests, or is about to.
        assert_eq!(result(submit(&shared, 8).unwrap()), 8);
        ends(&shared, [worker], 2);
    });
}

#[test]
fn loom_of_two_tasks_none_waits_beside_two_workers() {
    model(1, || {
        let shared = shared(2);
        let workers = [0, 1].map(|no| worker(&shared, no));
        let (first, second) = (submit(&shared, 7).unwrap(), submit(&shared, 8).unwrap());
        assert_eq!((result(first), result(second)), (7, 8));
        ends(&shared, workers, 2);
    });
}

#[test]
fn loom_two_submitters_beside_one_worker() {
    model(1, || {
        let shared = shared(1);
        let worker = worker(&shared, 0);
        let other = thread::spawn({
            let shared = Arc::clone(&shared);
            move || result(submit(&shared, 7).unwrap())
        });
        assert_eq!(result(submit(&shared, 8).unwrap()), 8);
        assert_eq!(other.join().unwrap(), 7);
        ends(&shared, [worker], 2);
    });
}

/// One that waits for another keeps its worker; the other one is for the second worker.
#[test]
fn loom_a_task_that_waits_for_another_does_not_keep_it_from_its_worker() {
    model(1, || {
        let shared = shared(2);
        let workers = [0, 1].map(|no| worker(&shared, no));
        let mut second = submit(&shared, 8).unwrap();
        let first = async move { poll_fn(|cx| second.poll(cx)).await.unwrap() };
        let (work, join) = node::task(first, Priority::Urgent, None);
        let place = Place::new(Priority::Urgent);
        assert!(shared.push(work, &place, PoolCore::refuse).is_ok());
        assert_eq!(result(join), 8);
        ends(&shared, workers, 2);
    });
}

/// The thread of one that pauses may have much to do: here, until the task that it left is done.
#[test]
fn loom_what_a_spent_worker_leaves_is_for_the_other() {
    model(1, || {
        let (shared, is_done) = (shared(2), Arc::new(Notify::new()));
        let workers = [0, 1].map(|no| {
            let is_done = Arc::clone(&is_done);
            worker_that(&shared, no, Turn::Spent, move || is_done.wait())
        });
        let first = submit(&shared, 7).unwrap();
        let second = async move {
            is_done.notify();
            8
        };
        let (work, join) = node::task(second, Priority::Normal, None);
        let place = Place::new(Priority::Normal);
        assert!(shared.push(work, &place, PoolCore::refuse).is_ok());
        assert_eq!((result(first), result(join)), (7, 8));
        ends(&shared, workers, 2);
    });
}

#[test]
fn loom_a_close_beside_a_submission_refuses_it_or_lets_it_end() {
    model(2, || {
        let shared = shared(1);
        let worker = worker(&shared, 0);
        let closer = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.close()
        });
        let accepted = match submit(&shared, 7) {
            Ok(join) => {
                assert_eq!(result(join), 7);
                1
            }
            Err(reason) => {
                assert_eq!(reason, Reason::Closed);
                0
            }
        };
        closer.join().unwrap();
        assert_eq!(submit(&shared, 8).err(), Some(Reason::Closed));
        ends(&shared, [worker], accepted);
    });
}
