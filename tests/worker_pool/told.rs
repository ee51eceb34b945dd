//! An ending is counted before anybody is told of it: whoever is woken by it finds it in the ledger.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use headworks::worker_pool::{Task, TaskHandle};
use headworks::{Ending, Ledger, Priority, WorkerPool};
use tokio::task::yield_now;
use tokio::time::advance;

use super::{busy, ends_exactly, pool};

const SECOND: Duration = Duration::from_secs(1);

/// Looks at the ledger where it is woken.
struct Looks {
    pool: WorkerPool,
    seen: Mutex<Vec<Ledger>>,
}

impl Wake for Looks {
    fn wake(self: Arc<Self>) {
        let ledger = self.pool.snapshot().ledger;
        self.seen.lock().unwrap().push(ledger);
    }
}

fn looks(pool: &WorkerPool) -> Arc<Looks> {
    Arc::new(Looks { pool: pool.clone(), seen: Mutex::default() })
}

/// Polls the handle with that waker; it has not been told yet.
fn waits(handle: &mut TaskHandle<()>, looks: &Arc<Looks>) {
    let waker = Waker::from(Arc::clone(looks));
    assert!(Pin::new(handle).poll(&mut Context::from_waker(&waker)).is_pending());
}

/// It has been woken once, by when this ending was counted; and that is what it is told.
fn was_told(mut handle: TaskHandle<()>, looks: &Looks, ending: Ending) {
    let told = Pin::new(&mut handle).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(result) = told else { panic!("{ending}: never told") };
    assert_eq!(result.map_or_else(|error| error.ending(), |()| Ending::Completed), ending);
    let seen = looks.seen.lock().unwrap();
    let [ledger] = seen[..] else { panic!("{ending}: woken {} times", seen.len()) };
    assert!(ledger.is_exact() && ledger.count(ending) == 1, "{ending}: {ledger}");
}

async fn turns() {
    for _ in 0..16 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_what_has_run() {
    for ending in [Ending::Completed, Ending::Failed, Ending::Cancelled] {
        let (pool, gate) = (pool(1, 4), super::Gate::new());
        let (looks, pass) = (looks(&pool), gate.pass());
        let body = async move {
            pass.await;
            assert!(ending != Ending::Failed, "as asked");
        };
        let mut handle = pool.try_submit(body).unwrap();
        gate.reached_by(1).await;
        waits(&mut handle, &looks);
        match ending {
            Ending::Cancelled => handle.cancel(),
            _ => gate.open(1),
        }
        turns().await;
        was_told(handle, &looks, ending);
        ends_exactly(&pool).await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_what_has_not() {
    let unstarted = [Ending::Cancelled, Ending::Evicted, Ending::Expired, Ending::Returned];
    for ending in unstarted {
        let pool = pool(1, 1);
        let (gate, running) = busy(&pool, 1).await;
        let looks = looks(&pool);
        let low = Task::new(async {}).priority(Priority::Low);
        let low = if ending == Ending::Expired { low.within(SECOND) } else { low };
        let mut handle = pool.try_submit(low).unwrap();
        waits(&mut handle, &looks);
        match ending {
            Ending::Cancelled => handle.cancel(),
            Ending::Evicted => {
                let urgent = Task::new(async {}).priority(Priority::Urgent);
                drop(pool.try_submit(urgent).unwrap());
            }
            Ending::Expired => advance(2 * SECOND).await,
            _ => drop(pool.shutdown(Duration::ZERO).await),
        }
        gate.open(1);
        turns().await;
        was_told(handle, &looks, ending);
        drop(running);
        ends_exactly(&pool).await;
    }
}
