//! Random operations on a worker pool, polled by hand on one thread and a paused clock, four bytes a
//! step. After every step the snapshot must be exact and within its limits; in the end every handle
//! must have been told, the ledger must be what was heard, and nothing may live on.
//!
//! Shared with the fuzz target of the same name, whose seeds run here.
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use headworks::worker_pool::{
    Concurrency, Task, TaskHandle, Thresholds, Timing, WorkerPoolConfig, WorkerPoolSnapshot,
};
use headworks::{Ending, Priority, Reason, Refused, TaskError, WorkerPool};
use tokio::task::yield_now;
use tokio::time::{advance, sleep};

/// Runs the steps, and panics where something does not hold.
pub(crate) fn run(steps: &[u8]) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime starts");
    runtime.block_on(live(steps));
}

type Body = Pin<Box<dyn Future<Output = u8> + Send>>;
type Submitting = Pin<Box<dyn Future<Output = Result<TaskHandle<u8>, Refused<Body>>>>>;
type Running = Pin<Box<dyn Future<Output = Result<u8, Refused<Body>>>>>;

/// One life of one pool. The first four bytes are its rules.
async fn live(steps: &[u8]) {
    let (steps, _) = steps.as_chunks::<4>();
    let Some((rules, steps)) = steps.split_first() else { return };
    let pool = WorkerPool::new(config(*rules)).expect("every value is in range");
    let mut world = World { seats: seats(*rules), ..World::default() };
    let mut before = pool.snapshot();
    for &step in steps {
        world.step(&pool, step).await;
        before = check(&before, pool.snapshot());
    }
    world.end(pool, rules[3]).await;
}

fn seats(rules: [u8; 4]) -> u32 {
    1 + u32::from(rules[0] % 4)
}

fn config([seats, places, bound, kind]: [u8; 4]) -> WorkerPoolConfig {
    let config = WorkerPoolConfig::default()
        .with_concurrency(Concurrency::Fixed(1 + usize::from(seats % 4)))
        .with_queue_capacity(1 + usize::from(places % 16))
        .with_starvation_bound(1 + u32::from(bound % 8))
        .with_timing([Timing::Off, Timing::Sampled(2), Timing::All][usize::from(kind % 3)])
        .with_task_timeout((kind & 4 == 0).then_some(Duration::from_millis(40)));
    if kind & 8 == 0 { config } else { config.with_thresholds(Thresholds::flat(1.0)) }
}

/// Exact, within its limits, and not behind what it was.
fn check(before: &WorkerPoolSnapshot, look: WorkerPoolSnapshot) -> WorkerPoolSnapshot {
    assert!(look.ledger.is_exact(), "{}", look.ledger);
    assert!(look.queued() <= look.capacity && look.room <= look.capacity, "{look:?}");
    assert!(look.busy <= look.limit, "{look:?}");
    assert!(look.ledger.live as usize <= look.queued() + look.busy as usize, "{look:?}");
    assert!(look.ledger.accepted >= before.ledger.accepted, "{look:?}");
    for ending in Ending::ALL {
        assert!(look.ledger.count(ending) >= before.ledger.count(ending), "{look:?}");
    }
    look
}

struct Held {
    handle: TaskHandle<u8>,
    has_begun: Arc<AtomicBool>,
}

#[derive(Default)]
struct World {
    seats: u32,
    held: Vec<Held>,
    submitting: Vec<(Arc<AtomicBool>, Submitting)>,
    running: Vec<Running>,
    seen: HashMap<Ending, u64>,
    refused: u64,
    /// Handles that were dropped unread.
    unheard: u64,
    /// Callers of `run` that went away: each may have had a seat.
    walked_off: u64,
    futures: Arc<AtomicU64>,
}

/// A future that is there.
struct Alive(Arc<AtomicU64>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl World {
    async fn step(&mut self, pool: &WorkerPool, [verb, a, b, c]: [u8; 4]) {
        match verb % 12 {
            0..3 => {
                let (has_begun, task) = self.task(a, b, c);
                self.verdict(has_begun, pool.try_submit(task));
            }
            3 => {
                let ((has_begun, task), own) = (self.task(a, b, c), pool.clone());
                self.submitting.push((has_begun, Box::pin(async move { own.submit(task).await })));
            }
            4 => {
                let ((_, task), own) = (self.task(a, b, c), pool.clone());
                self.running.push(Box::pin(async move { own.run(task).await }));
            }
            5 => self.many(pool, [a, b, c]),
            6 => self.walk_off(a, b),
            7 => pick(&mut self.held, a).into_iter().for_each(|held| {
                held.handle.cancel();
                self.held.push(held);
            }),
            8 => self.drop_a_handle(a, b),
            9 => self.look_at_a_handle(a).await,
            10 => yield_now().await,
            _ => advance(Duration::from_millis(u64::from(a % 32))).await,
        }
        self.poll_waiting(b).await;
    }

    fn task(&mut self, a: u8, b: u8, c: u8) -> (Arc<AtomicBool>, Task<Body>) {
        self.futures.fetch_add(1, Relaxed);
        let (alive, has_begun) =
            (Alive(Arc::clone(&self.futures)), Arc::new(AtomicBool::new(false)));
        let begun = Arc::clone(&has_begun);
        let body: Body = Box::pin(async move {
            let _alive = alive;
            assert!(!begun.swap(true, Relaxed), "ran twice");
            match c % 8 {
                0 => resume_unwind(Box::new("part of the load")),
                1 => yield_now().await,
                2 | 3 => sleep(Duration::from_millis(u64::from(c / 8))).await,
                4 => std::future::pending().await,
                _ => {}
            }
            c
        });
        let weight = u32::from(a / 64) % self.seats;
        let mut task = Task::new(body)
            .priority(Priority::ALL[usize::from(a % 4)])
            .tenant(&(a / 4 % 4))
            .weight(NonZeroU32::MIN.saturating_add(weight));
        if b & 1 == 0 {
            task = task.within(Duration::from_millis(u64::from(b / 4)));
        }
        if b & 2 == 0 {
            task = task.timeout(Duration::from_millis(1 + u64::from(b / 16)));
        }
        (has_begun, task)
    }

    fn verdict(
        &mut self,
        has_begun: Arc<AtomicBool>,
        verdict: Result<TaskHandle<u8>, Refused<Body>>,
    ) {
        match verdict {
            Ok(handle) => self.held.push(Held { handle, has_begun }),
            Err(_) => {
                assert!(!has_begun.load(Relaxed), "refused, and has begun");
                self.refused += 1;
            }
        }
    }

    fn many(&mut self, pool: &WorkerPool, bytes: [u8; 3]) {
        let [a, b, c] = bytes;
        let tasks = [(a, b, c), (b, c, a), (c, a, b)].map(|(a, b, c)| self.task(a, b, c));
        let (begun, tasks): (Vec<_>, Vec<_>) = tasks.into_iter().unzip();
        for (has_begun, verdict) in begun.into_iter().zip(pool.try_submit_many(tasks)) {
            self.verdict(has_begun, verdict);
        }
    }

    fn walk_off(&mut self, which: u8, at: u8) {
        if which.is_multiple_of(2) {
            drop(pick(&mut self.submitting, at));
        } else if pick(&mut self.running, at).is_some() {
            self.walked_off += 1;
        }
    }

    fn drop_a_handle(&mut self, at: u8, how: u8) {
        let Some(Held { handle, .. }) = pick(&mut self.held, at) else { return };
        self.unheard += 1;
        drop(if how.is_multiple_of(2) { handle.cancel_on_drop() } else { handle });
    }

    async fn look_at_a_handle(&mut self, at: u8) {
        let Some(Held { mut handle, has_begun }) = pick(&mut self.held, at) else { return };
        match poll_fn(|cx| Poll::Ready(Pin::new(&mut handle).poll(cx))).await {
            Poll::Ready(result) => self.heard(&has_begun, result),
            Poll::Pending => self.held.push(Held { handle, has_begun }),
        }
    }

    fn heard(&mut self, has_begun: &AtomicBool, result: Result<u8, TaskError>) {
        let ending = result.map_or_else(|error| error.ending(), |_| Ending::Completed);
        let unstarted = [Ending::Evicted, Ending::Expired, Ending::Returned].contains(&ending);
        assert!(!unstarted || !has_begun.load(Relaxed), "it began, and ended {ending}");
        *self.seen.entry(ending).or_default() += 1;
    }

    /// Some of those who wait to be let in get one poll.
    async fn poll_waiting(&mut self, which: u8) {
        if which & 4 == 0 {
            for (has_begun, mut submit) in std::mem::take(&mut self.submitting) {
                match poll_fn(|cx| Poll::Ready(submit.as_mut().poll(cx))).await {
                    Poll::Ready(verdict) => self.verdict(has_begun, verdict),
                    Poll::Pending => self.submitting.push((has_begun, submit)),
                }
            }
        }
        if which & 8 == 0 {
            for mut run in std::mem::take(&mut self.running) {
                let poll = poll_fn(|cx| {
                    Poll::Ready(catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(cx))))
                });
                match poll.await {
                    Ok(Poll::Pending) => self.running.push(run),
                    Ok(Poll::Ready(Ok(_))) => *self.seen.entry(Ending::Completed).or_default() += 1,
                    Ok(Poll::Ready(Err(_))) => self.refused += 1,
                    Err(_) => *self.seen.entry(Ending::Failed).or_default() += 1,
                }
            }
        }
    }

    async fn end(mut self, pool: WorkerPool, how: u8) {
        let within = Duration::from_millis(u64::from(how / 16) * 5);
        let start = tokio::time::Instant::now();
        let report = pool.shutdown(within).await;
        assert!(start.elapsed() <= within + Duration::from_millis(100));
        assert_eq!(report.unresponsive, []);
        let (has_begun, task) = self.task(0, 3, 5);
        let late = pool.try_submit(task).map_err(|no| no.reason());
        assert!(matches!(late, Err(Reason::Closed)) && !has_begun.load(Relaxed));
        self.refused += 1;
        self.poll_waiting(0).await;
        assert!(self.submitting.is_empty(), "the room was not told");
        self.walked_off += self.running.len() as u64;
        self.running.clear();
        for Held { mut handle, has_begun } in std::mem::take(&mut self.held) {
            match poll_fn(|cx| Poll::Ready(Pin::new(&mut handle).poll(cx))).await {
                Poll::Ready(result) => self.heard(&has_begun, result),
                Poll::Pending => panic!("a handle is never told"),
            }
        }
        self.account(&pool.snapshot());
        drop(pool);
        // Workers stay until the last caller has left `run`, which was just now.
        sleep(Duration::from_millis(1)).await;
        let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert_eq!((alive, self.futures.load(Relaxed)), (0, 0), "somebody lives on");
    }

    fn account(&self, look: &WorkerPoolSnapshot) {
        let ledger = look.ledger;
        assert!(ledger.is_exact() && ledger.live == 0, "{ledger}");
        let mut unheard = 0;
        for ending in Ending::ALL {
            let seen = self.seen.get(&ending).copied().unwrap_or(0);
            assert!(seen <= ledger.count(ending), "{ending}: {seen} heard, {ledger}");
            unheard += ledger.count(ending) - seen;
        }
        let range = self.unheard..=self.unheard + self.walked_off;
        assert!(range.contains(&unheard), "{unheard} of {range:?} unheard, {ledger}");
        // Whoever walked off may have been counted as refused before it knew.
        let refused = look.refused.total();
        let range = self.refused..=self.refused + self.walked_off;
        assert!(range.contains(&refused), "{refused} of {range:?} refused, {look:?}");
    }
}

fn pick<T>(from: &mut Vec<T>, at: u8) -> Option<T> {
    let at = usize::from(at) % from.len().max(1);
    (at < from.len()).then(|| from.swap_remove(at))
}
