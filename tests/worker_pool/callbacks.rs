//! What is called at a task's end.

use std::pin::pin;
use std::sync::mpsc::{Receiver, sync_channel};
use std::task::Poll;

use headworks::worker_pool::{Task, TaskError};
use headworks::{Ending, Priority};

use super::{LONG, busy, ends_exactly, poll_once, pool};

fn ending<T>(result: &Result<T, TaskError>) -> Ending {
    result.as_ref().map_or_else(TaskError::ending, |_| Ending::Completed)
}

/// A task that tells how it ended.
fn telling<F>(future: F) -> (Task<F>, Receiver<Ending>)
where
    F: Future + Send + 'static,
{
    let (tell, told) = sync_channel(1);
    (Task::new(future).on_end(move |result| tell.send(ending(result)).unwrap()), told)
}

#[tokio::test]
async fn a_callback_is_called_once_however_the_task_ends() {
    let pool = pool(1, 2);
    let (task, completed) = telling(async { 1 });
    assert_eq!(pool.try_submit(task).unwrap().await.unwrap(), 1);
    let (task, failed) = telling(async { panic!("as asked") });
    drop(pool.try_submit(task).unwrap());
    assert_eq!(completed.recv(), Ok(Ending::Completed));

    let (gate, held) = busy(&pool, 1).await;
    assert_eq!(failed.recv(), Ok(Ending::Failed));
    let (task, evicted) = telling(async {});
    drop(pool.try_submit(task.priority(Priority::Low)).unwrap());
    let (task, cancelled) = telling(async {});
    let handle = pool.try_submit(task.priority(Priority::Urgent)).unwrap();
    let (task, returned) = telling(async {});
    drop(pool.try_submit(task.priority(Priority::Urgent)).unwrap());
    assert_eq!(evicted.try_recv(), Ok(Ending::Evicted));
    handle.cancel();
    assert_eq!(cancelled.try_recv(), Ok(Ending::Cancelled));
    let report = pool.shutdown(std::time::Duration::ZERO).await;
    assert_eq!(returned.try_recv(), Ok(Ending::Returned));
    assert!(report.ledger.is_exact(), "{}", report.ledger);
    drop((gate, held));
    for told in [completed, failed, evicted, cancelled, returned] {
        assert!(told.try_recv().is_err(), "called once, and dropped after");
    }
}

#[tokio::test]
async fn a_refused_task_keeps_its_callback_uncalled() {
    let pool = pool(1, 1);
    let (gate, held) = busy(&pool, 1).await;
    let full = pool.try_submit(async {}).unwrap();
    let (task, told) = telling(async {});
    drop(pool.try_submit(task).unwrap_err());
    assert!(told.try_recv().is_err());
    // Through the waiting room, where it is refused first.
    let (task, told) = telling(async {});
    let mut waits = pin!(pool.submit(task));
    assert!(poll_once(waits.as_mut()).is_pending());
    gate.open(1);
    let handle = waits.await.unwrap();
    handle.await.unwrap();
    assert_eq!(told.try_recv(), Ok(Ending::Completed));
    drop((full, held));
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn a_panic_in_a_callback_is_contained_and_counted() {
    let pool = pool(1, 10);
    let task = Task::new(async { 5 }).on_end(|_| panic!("in a callback"));
    assert_eq!(pool.try_submit(task).unwrap().await.unwrap(), 5);
    let (gate, held) = busy(&pool, 1).await;
    let waits = pool.try_submit(Task::new(async {}).on_end(|_| panic!("here too"))).unwrap();
    waits.cancel();
    assert_eq!(pool.snapshot().callback_panics, 2);
    gate.open(1);
    drop((held, waits));
    let ledger = ends_exactly(&pool).await.ledger;
    assert_eq!((ledger.completed, ledger.cancelled, ledger.failed), (2, 1, 0));
}

#[tokio::test]
async fn a_panic_in_the_drop_of_a_refused_callback_costs_none_of_the_other_verdicts() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a drop");
        }
    }
    let pool = pool(1, 2);
    let (gate, held) = busy(&pool, 1).await;
    let tasks = (0..4).map(|n| {
        let bomb = (n == 2).then(|| Bomb);
        let task = Task::new(async move { n }).priority(Priority::Urgent);
        // The others are dropped where they are called, which contains it.
        task.on_end(move |_| drop(bomb))
    });
    let verdicts = pool.try_submit_many(tasks);
    let accepted: Vec<_> = verdicts.iter().map(Result::is_ok).collect();
    assert_eq!(accepted, [true, true, false, false]);
    gate.open(1);
    for (n, verdict) in (0..).zip(verdicts).take(2) {
        assert_eq!(verdict.unwrap().await.unwrap(), n);
    }
    drop(held);
    ends_exactly(&pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_pool_is_not_drained_before_the_last_callback_has_returned() {
    let pool = pool(1, 10);
    let (gate, held) = busy(&pool, 1).await;
    let ((begin, begun), (go, wait)) = (sync_channel::<()>(1), sync_channel::<()>(1));
    let task = Task::new(async {}).on_end(move |_| {
        begin.send(()).unwrap();
        wait.recv().unwrap();
    });
    let waits = pool.try_submit(task).unwrap();
    // Its callback runs on the thread that cancels it, and is still at it when all else is done.
    let canceller = std::thread::spawn(move || waits.cancel());
    begun.recv().unwrap();
    gate.open(1);
    for handle in held {
        handle.await.unwrap();
    }
    let mut shutdown = pin!(pool.shutdown(LONG));
    for _ in 0..100 {
        assert_eq!(poll_once(shutdown.as_mut()), Poll::Pending);
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    let report = shutdown.await;
    canceller.join().unwrap();
    assert_eq!((report.ledger.completed, report.ledger.cancelled), (1, 1));
}
