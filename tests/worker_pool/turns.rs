//! How long a worker keeps its thread, and that nothing waits in its hands meanwhile. The tasks
//! compute on a clock that the test turns.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headworks::worker_pool::Task;
use headworks::{Priority, WorkerPool};
use tokio::task::yield_now;
use tokio::time::advance;

use super::{ends_exactly, poll_once, pool};

const WORKERS: usize = 4;
/// More than a runtime's budget.
const TASKS: usize = 300;

/// Time passes and nobody else gets a turn.
fn compute(time: Duration) {
    let _ = poll_once(pin!(advance(time)));
}

/// Submits Low ones that each take so long; the one of that number submits an Urgent one. How many
/// Low ones began between that and its start.
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
                let urgent = async move { order.lock().unwrap().push("urgent") };
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
