//! A stream of results, in the order in which the tasks end.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use futures_core::Stream;
use headworks::TaskError;
use headworks::worker_pool::Completions;

use super::{Gate, ends_exactly, poll_once, pool};

#[tokio::test]
async fn results_come_in_the_order_of_their_ends() {
    let pool = pool(3, 10);
    let gates = [Gate::new(), Gate::new(), Gate::new()];
    let mut completions: Completions<_, _> = gates
        .iter()
        .enumerate()
        .map(|(n, gate)| {
            let pass = gate.pass();
            (n, pool.try_submit(async move { pass.await }).unwrap())
        })
        .collect();
    assert_eq!(completions.len(), 3);
    for n in [2, 0, 1] {
        assert!(poll_once(pin!(completions.next())).is_pending());
        gates[n].open(1);
        let (key, result) = completions.next().await.unwrap();
        assert_eq!((key, result.unwrap()), (n, ()));
    }
    assert!(completions.next().await.is_none());
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn a_next_that_is_dropped_loses_nothing() {
    let pool = pool(1, 10);
    let mut completions = Completions::new();
    for n in 0..5 {
        completions.push(n, pool.try_submit(async move { n }).unwrap());
    }
    let mut seen = Vec::new();
    while !completions.is_empty() {
        if let Poll::Ready(Some((key, result))) = poll_once(pin!(completions.next())) {
            assert_eq!(result.unwrap(), key);
            seen.push(key);
        }
        tokio::task::yield_now().await;
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn it_goes_on_after_it_was_empty_and_tells_errors() {
    let pool = pool(1, 10);
    let mut completions = Completions::default();
    assert!(completions.next().await.is_none());
    completions.push("panics", pool.try_submit(async { panic!("as asked") }).unwrap());
    let (key, result) = poll_fn(|cx| Pin::new(&mut completions).poll_next(cx)).await.unwrap();
    assert!(matches!((key, result), ("panics", Err(TaskError::Panicked(_)))));
    completions.push("hangs", pool.try_submit(std::future::pending()).unwrap().cancel_on_drop());
    assert!(poll_once(pin!(completions.next())).is_pending());
    drop(completions);
    let ledger = ends_exactly(&pool).await.ledger;
    assert_eq!((ledger.failed, ledger.cancelled), (1, 1));
}

/// Counts how often it is woken.
struct Woken(std::sync::atomic::AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

#[tokio::test]
async fn the_waker_of_the_last_poll_is_woken_and_once_for_a_burst() {
    let pool = pool(4, 10);
    let gate = Gate::new();
    let handles = (0..4).map(|n| (n, pool.try_submit(gate.pass()).unwrap()));
    let mut completions: Completions<_, _> = handles.collect();
    let woken = [(); 2].map(|()| Arc::new(Woken(0.into())));
    for woken in &woken {
        let waker = Waker::from(Arc::clone(woken));
        let poll = pin!(completions.next()).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
    }
    gate.reached_by(4).await;
    gate.open(4);
    while pool.snapshot().ledger.completed < 4 {
        tokio::task::yield_now().await;
    }
    let times = |n: usize| woken[n].0.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!((times(0), times(1)), (0, 1));
    for _ in 0..4 {
        let poll = poll_once(pin!(completions.next()));
        assert!(matches!(poll, Poll::Ready(Some((_, Ok(()))))));
    }
    ends_exactly(&pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_result_of_many_comes_once() {
    const TASKS: u64 = 5_000;
    let pool = pool(8, TASKS as usize * 2);
    let tasks = (0..TASKS).map(|n| {
        let task = async move {
            tokio::task::yield_now().await;
            n
        };
        (n, pool.try_submit(task).unwrap())
    });
    let mut completions: Completions<_, _> = tasks.collect();
    let mut sum = 0;
    while let Some((key, result)) = completions.next().await {
        assert_eq!(result.unwrap(), key);
        sum += key;
    }
    assert_eq!(sum, TASKS * (TASKS - 1) / 2);
    ends_exactly(&pool).await;
}
