//! How long a worker keeps its thread, and that nothing waits in its hands meanwhile. The tasks
//! compute on a clock that the test turns.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use headworks::worker_pool::Task;
use headworks::{Priority, WorkerPool};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::yield_now;
use tokio::time::advance;

use super::{LONG, ends_exactly, poll_once, pool};

const WORKERS: usize = 4;
/// More than a runtime's budget.
const TASKS: usize = 300;

/// Time passes and nobody else gets a turn.
fn compute(time: Duration) {
    let _ = poll_once(pin!(advance(time)));
}

/// Submits Low ones that each take so long; the one of that number submits an Urgent one, which begins
/// by taking something that is there. How many Low ones began between that and its having it.
async fn passed_over(took: Duration, number: usize) -> usize {
    let pool = pool(WORKERS, TASKS * 2);
    let order = Arc::new(Mutex::new(Vec::new()));
    let low = || {
        let (pool, order) = (pool.clone(), Arc::clone(&order));
        async move {
            let begun = order.lock().unwrap().len();
            order.lock().unwrap().push("low");
            compute(took);
            if begun == number {
                let urgent = async move {
                    let there = Semaphore::new(1);
                    let _taken = there.acquire().await.unwrap();
                    order.lock().unwrap().push("urgent");
                };
                drop(pool.try_submit(Task::new(urgent).priority(Priority::Urgent)).unwrap());
            }
        }
    };
    for _ in 0..TASKS {
        drop(pool.try_submit(Task::new(low()).priority(Priority::Low)).unwrap());
    }
    while order.lock().unwrap().len() <= TASKS {
        yield_now().await;
    }
    ends_exactly(&pool).await;
    let order = order.lock().unwrap();
    order.iter().position(|&name| name == "urgent").unwrap() - number - 1
}

#[tokio::test(start_paused = true)]
async fn an_urgent_task_waits_in_nobodys_hands() {
    for took in [0, 20, 1_000].map(Duration::from_micros) {
        for number in 100..TASKS - 1 {
            assert_eq!(passed_over(took, number).await, 0, "{took:?}, number {number}");
        }
    }
}

/// How many tasks were done at most between two turns of a bystander.
async fn between_turns(pool: &WorkerPool, took: Duration) -> usize {
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..TASKS {
        let done = Arc::clone(&done);
        let task = async move {
            compute(took);
            done.fetch_add(1, Relaxed);
        };
        drop(pool.try_submit(task).unwrap());
    }
    let (mut most, mut last) = (0, 0);
    while last < TASKS {
        yield_now().await;
        let now = done.load(Relaxed);
        most = most.max(now - last);
        last = now;
    }
    most
}

#[tokio::test(start_paused = true)]
async fn a_worker_gives_its_thread_back_in_time() {
    let pool = pool(WORKERS, TASKS * 2);
    assert_eq!(between_turns(&pool, Duration::from_millis(1)).await, WORKERS);
    assert_eq!(between_turns(&pool, Duration::from_micros(50)).await, WORKERS * 4);
    ends_exactly(&pool).await;
}

/// Its thread goes on with something that does not end before the other task has run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_leaves_at_the_end_of_its_turn_is_done_by_who_rests() {
    let pool = pool(2, 10);
    let (ran, has_run) = mpsc::channel();
    let (told, heard) = oneshot::channel();
    let (held, holds) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (go, reached) = (Arc::clone(&held), Arc::clone(&holds));
    let first = pool.try_submit(async move {
        reached.add_permits(1);
        go.acquire().await.unwrap().forget();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        tokio::spawn(async move { told.send(has_run.recv_timeout(LONG)) });
    });
    holds.acquire().await.unwrap().forget();
    // The other seat is taken, so that the second one waits for the first.
    let (other, reached) = (pool.clone(), Arc::clone(&holds));
    let sits = async move {
        reached.add_permits(1);
        std::future::pending::<()>().await;
    };
    let inline = tokio::spawn(async move { other.run(sits).await });
    holds.acquire().await.unwrap().forget();
    let second = pool.try_submit(async move { ran.send(()).unwrap() });
    held.add_permits(1);
    first.unwrap().await.unwrap();
    heard.await.unwrap().unwrap();
    second.unwrap().await.unwrap();
    inline.abort();
    assert!(inline.await.unwrap_err().is_cancelled());
    ends_exactly(&pool).await;
}
