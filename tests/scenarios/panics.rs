//! D10, panic: of the tasks one in 100 each panics in its first poll, after an await point, in the
//! `Drop` of its future after normal completion, in the `Drop` of a future that was never started,
//! in the `Drop` of a result that nobody reads, and in its callback. Arrivals are 1.2 times the capacity, so that
//! some are refused, evicted and late; one handle in ten is cancelled.
//!
//! The control is a pool as people write it: workers that receive boxed futures, count themselves
//! busy, await them, and tell whoever submitted.

use std::collections::HashMap;
use std::future::Future;
use std::panic::panic_any;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::task::{Context, Poll};
use std::time::Duration;

use headworks::worker_pool::{Concurrency, Task, TaskHandle, WorkerPoolConfig};
use headworks::{Ending, Ledger, Priority, TaskError, WorkerPool};
use tokio::sync::{Barrier, Mutex, mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use crate::harness::claims::Claims;
use crate::harness::load::{Arrival, Stream};
use crate::harness::open_loop::within_limits;
use crate::harness::rng::Rng;
use crate::harness::{every_seed, is_long_run, ms, simulate, some_seeds};

const SEATS: usize = 16;
const PLACES: usize = 64;
const S: Duration = Duration::from_millis(10);
const BOMB: &str = "a bomb of D10";

#[test]
fn panics_cost_neither_worker_nor_seat_and_reach_the_caller() {
    every_seed(20, |seed| trial(seed).all_hold());
}

#[test]
fn control_workers_that_only_await_die_with_their_tasks() {
    some_seeds(|seed| {
        plain_trial(seed).breaks(&["workers", "payload", "seats", "result", "callback"]);
    });
}

/// When it panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum When {
    Never,
    AtOnce,
    AfterAwait,
    DroppedWhenDone,
    DroppedUnstarted,
    ResultDropped,
    InCallback,
}

const WHEN: [When; 6] = [
    When::AtOnce,
    When::AfterAwait,
    When::DroppedWhenDone,
    When::DroppedUnstarted,
    When::ResultDropped,
    When::InCallback,
];

/// A future written by hand: its `Drop` comes after its result, as that of an `async` block's
/// captures does not.
struct Bomb {
    number: u64,
    when: When,
    service: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    is_done: bool,
}

impl Bomb {
    fn new(number: u64, when: When, service: Duration) -> Self {
        Self { number, when, service, sleep: None, is_done: false }
    }
}

impl Future for Bomb {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        let Self { number, when, service, .. } = *self;
        if when == When::AtOnce {
            panic_any(number);
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(service)));
        std::task::ready!(sleep.as_mut().poll(cx));
        if when == When::AfterAwait {
            panic_any(number);
        }
        self.is_done = true;
        Poll::Ready(Output { number, is_bomb: when == When::ResultDropped })
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        let goes_off = match self.when {
            When::DroppedWhenDone => self.is_done,
            When::DroppedUnstarted => self.sleep.is_none(),
            _ => false,
        };
        if goes_off && !std::thread::panicking() {
            panic_any(BOMB);
        }
    }
}

struct Output {
    number: u64,
    is_bomb: bool,
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.is_bomb && !std::thread::panicking() {
            panic_any(BOMB);
        }
    }
}

/// Panics that are part of the load are not worth a line each.
fn quiet_bombs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            if !payload.is::<u64>() && payload.downcast_ref::<&str>() != Some(&BOMB) {
                shown(info);
            }
        }));
    });
}

fn arrivals(rng: &mut Rng) -> Vec<(Arrival, When)> {
    let per_second = 1.2 * SEATS as f64 / S.as_secs_f64();
    let class = Priority::Normal;
    let stream = Stream { class, tenant: None, kind: 0, service: S, patience: Some(S * 20) };
    let length = Duration::from_secs(if is_long_run() { 10 } else { 2 });
    let arrivals = stream.over(rng, Duration::ZERO, length, per_second);
    let mut dressed = |arrival| {
        let class = Priority::ALL[rng.below(4) as usize];
        let when = WHEN.get(rng.below(100) as usize).copied().unwrap_or(When::Never);
        (Arrival { class, ..arrival }, when)
    };
    arrivals.into_iter().map(&mut dressed).collect()
}

fn trial(seed: u64) -> Claims {
    quiet_bombs();
    simulate(async {
        let (mut rng, mut claims) = (Rng(seed), Claims::default());
        let config = WorkerPoolConfig::default()
            .with_concurrency(Concurrency::Fixed(SEATS))
            .with_queue_capacity(PLACES);
        let pool = WorkerPool::new(config).unwrap();
        let Submitted { held, detached, in_callbacks, calls } = submit_all(&pool, &mut rng).await;
        let mut seen = HashMap::new();
        for (number, when, handle) in held {
            let ending = ending(&mut claims, number, when, handle.await);
            *seen.entry(ending).or_default() += 1;
        }
        while pool.snapshot().ledger.live > 0 {
            sleep(S).await;
        }
        let look = pool.snapshot();
        claims.check("seats", look.busy == 0 && look.queued() == 0, format_args!("{look:?}"));
        account(look.ledger, &seen, detached);
        let calls = calls.load(Ordering::Relaxed);
        let figures = format_args!("{calls} calls, {} panicked", look.callback_panics);
        let each_once = calls == look.ledger.accepted && look.callback_panics == in_callbacks;
        claims.check("callback", each_once, figures);
        let met = all_meet(|meets| pool.try_submit(meets).ok()).await;
        claims.check("workers", met, format_args!("{SEATS} at once: {met}"));
        drop(pool.shutdown(ms(100)).await);
        claims
    })
}

struct Submitted {
    held: Vec<(u64, When, TaskHandle<Output>)>,
    /// Accepted, and nobody reads what they give.
    detached: u64,
    /// Accepted, and their callbacks panic.
    in_callbacks: u64,
    /// Callbacks that were called.
    calls: Arc<AtomicU64>,
}

async fn submit_all(pool: &WorkerPool, rng: &mut Rng) -> Submitted {
    let epoch = Instant::now();
    let calls = Arc::new(AtomicU64::new(0));
    let mut submitted =
        Submitted { held: Vec::new(), detached: 0, in_callbacks: 0, calls: Arc::clone(&calls) };
    for (number, (arrival, when)) in (0..).zip(arrivals(rng)) {
        sleep_until(epoch + arrival.at).await;
        let task = Task::new(Bomb::new(number, when, arrival.service)).priority(arrival.class);
        let task = task.deadline((epoch + arrival.due.unwrap()).into_std());
        let calls = Arc::clone(&calls);
        let task = task.on_end(move |_| call(&calls, when));
        let verdict = pool.try_submit(task);
        submitted.in_callbacks += u64::from(verdict.is_ok() && when == When::InCallback);
        match verdict {
            Ok(_) if when == When::ResultDropped => submitted.detached += 1,
            Ok(handle) => submitted.held.push((number, when, handle)),
            // What comes back is the caller's, with its bomb.
            Err(no) => no.into_inner().when = When::Never,
        }
        if let (true, Some((_, _, handle))) = (rng.one_in(10), submitted.held.last()) {
            handle.cancel();
        }
        within_limits(&pool.snapshot());
    }
    submitted
}

fn call(calls: &AtomicU64, when: When) {
    calls.fetch_add(1, Ordering::Relaxed);
    if when == When::InCallback {
        panic_any(BOMB);
    }
}

/// What the handle said must be what the bomb did.
fn ending(
    claims: &mut Claims,
    number: u64,
    when: When,
    result: Result<Output, TaskError>,
) -> Ending {
    match result {
        Ok(output) => {
            let holds =
                output.number == number && ![When::AtOnce, When::AfterAwait].contains(&when);
            claims.check("result", holds, format_args!("{number} gave {}", output.number));
            Ending::Completed
        }
        Err(error) => {
            let ending = error.ending();
            let may_panic = [When::AtOnce, When::AfterAwait].contains(&when);
            let holds = may_panic || ending != Ending::Failed;
            claims.check("result", holds, format_args!("{number} did not panic, and {ending}"));
            if let TaskError::Panicked(panic) = error {
                let payload = panic.into_payload().downcast::<u64>().ok();
                let holds = payload.as_deref() == Some(&number);
                claims.check("payload", holds, format_args!("{payload:?} of {number}"));
            }
            ending
        }
    }
}

/// The ledger beside what was heard; of the detached only their number is known.
fn account(ledger: Ledger, seen: &HashMap<Ending, u64>, detached: u64) {
    assert!(ledger.is_exact() && ledger.live == 0, "{ledger}");
    assert_eq!(ledger.accepted, seen.values().sum::<u64>() + detached);
    for ending in Ending::ALL {
        let seen = seen.get(&ending).copied().unwrap_or(0);
        let range = seen..=seen + detached;
        assert!(range.contains(&ledger.count(ending)), "{ending}: {range:?} heard, {ledger}");
    }
}

type Meeting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Whether as many tasks as there are seats can be inside at once: each waits for all others.
async fn all_meet<A, E>(submit: impl Fn(Meeting) -> Option<A>) -> bool
where
    A: Future<Output = Result<(), E>>,
{
    let barrier = Arc::new(Barrier::new(SEATS));
    let meet = || {
        let barrier = Arc::clone(&barrier);
        Box::pin(async move { _ = barrier.wait().await }) as Meeting
    };
    let Some(answers) = (0..SEATS).map(|_| submit(meet())).collect::<Option<Vec<_>>>() else {
        return false;
    };
    let all = async {
        for answer in answers {
            if answer.await.is_err() {
                return false;
            }
        }
        true
    };
    timeout(ms(1_000), all).await.unwrap_or(false)
}

/// The same bombs for workers that only await.
fn plain_trial(seed: u64) -> Claims {
    quiet_bombs();
    simulate(async {
        let (mut rng, mut claims) = (Rng(seed), Claims::default());
        let (pool, tasks) = mpsc::channel::<Meeting>(PLACES);
        let tasks = Arc::new(Mutex::new(tasks));
        let (busy, calls) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        for _ in 0..SEATS {
            let (tasks, busy) = (Arc::clone(&tasks), Arc::clone(&busy));
            tokio::spawn(async move {
                while let Some(task) = next(&tasks).await {
                    busy.fetch_add(1, Ordering::Relaxed);
                    task.await;
                    busy.fetch_sub(1, Ordering::Relaxed);
                }
            });
        }
        let submit = |when, task: Meeting| {
            let ((told, answer), calls) = (oneshot::channel(), Arc::clone(&calls));
            let task = async move {
                task.await;
                call(&calls, when);
                let _ = told.send(());
            };
            pool.try_send(Box::pin(task)).is_ok().then_some(answer)
        };
        let mut answers = Vec::new();
        for (number, (arrival, when)) in (0..).zip(arrivals(&mut rng)) {
            sleep(arrival.service / SEATS as u32).await;
            // A refusal drops it here.
            let when = if when == When::DroppedUnstarted { When::Never } else { when };
            let bomb = Bomb::new(number, when, arrival.service);
            if let Some(answer) = submit(when, Box::pin(async move { drop(bomb.await) })) {
                answers.push((when, answer));
            }
        }
        let accepted = answers.len() as u64;
        for (when, answer) in answers {
            let told = timeout(ms(100), answer).await.is_ok_and(|told| told.is_ok());
            match when {
                When::AtOnce => claims.check("payload", told, "nobody heard of a panic"),
                When::Never => claims.check("result", told, "nobody heard of a result"),
                _ => {}
            }
        }
        let (busy, calls) = (busy.load(Ordering::Relaxed), calls.load(Ordering::Relaxed));
        claims.check("seats", busy == 0, format_args!("{busy} busy"));
        claims.check("callback", calls == accepted, format_args!("{calls} of {accepted}"));
        let met = all_meet(|meeting| submit(When::Never, meeting)).await;
        claims.check("workers", met, format_args!("{SEATS} at once: {met}"));
        claims
    })
}

async fn next(tasks: &Mutex<mpsc::Receiver<Meeting>>) -> Option<Meeting> {
    tasks.lock().await.recv().await
}
