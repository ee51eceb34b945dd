//! One cap over everything, and a refusal that gives the task back.

use std::num::NonZeroU32;
use std::pin::pin;

use headworks::worker_pool::{Task, Thresholds};
use headworks::{Priority, Reason, TaskError};

use super::{busy, config, ends_exactly, poll_once, pool};

#[tokio::test]
async fn a_cap_of_510_holds_against_3000_submissions() {
    let thresholds = Thresholds::flat(1.0);
    let pool = headworks::WorkerPool::new(config(10, 510).with_thresholds(thresholds)).unwrap();
    let (gate, held) = busy(&pool, 10).await;
    let mut accepted = Vec::new();
    let mut refused = 0;
    for n in 0..3_000 {
        let class = Priority::ALL[n % 4];
        match pool.try_submit(Task::new(async move { n }).priority(class)) {
            Ok(handle) => accepted.push(handle),
            Err(no) => {
                assert_eq!(no.reason(), Reason::QueueFull);
                refused += 1;
            }
        }
        assert!(pool.snapshot().queued() <= 510);
    }
    assert_eq!(accepted.len() + refused, 3_000);
    let before = pool.snapshot();
    assert_eq!((before.queued(), before.refused.queue_full), (510, refused as u64));
    gate.open(10);
    let (mut ran, mut evicted) = (0, 0);
    for handle in accepted {
        match handle.await {
            Ok(_) => ran += 1,
            Err(TaskError::Evicted) => evicted += 1,
            Err(other) => panic!("{other}"),
        }
    }
    drop(held);
    assert_eq!(ran, 510);
    let ledger = ends_exactly(&pool).await.ledger;
    assert_eq!((ledger.completed, ledger.evicted), (520, evicted));
}

#[tokio::test]
async fn a_refusal_gives_the_future_back() {
    let pool = pool(1, 1);
    let (_gate, _held) = busy(&pool, 1).await;
    let _waits = pool.try_submit(async { String::new() }).unwrap();
    let word = String::from("mine");
    let no = pool.try_submit(async move { word }).unwrap_err();
    assert_eq!((no.reason(), no.retry_after()), (Reason::QueueFull, None));
    assert_eq!(no.into_inner().await, "mine");
}

#[tokio::test]
async fn heavier_than_all_seats_is_too_large() {
    let pool = pool(2, 10);
    let heavy = Task::new(async {}).weight(NonZeroU32::new(3).unwrap());
    assert_eq!(pool.try_submit(heavy).unwrap_err().reason(), Reason::TooLarge);
    let fits = Task::new(async { 1 }).weight(NonZeroU32::new(2).unwrap());
    assert_eq!(pool.try_submit(fits).unwrap().await.unwrap(), 1);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn a_heavy_task_runs_alone_among_light_ones() {
    let pool = pool(4, 100);
    let (gate, held) = busy(&pool, 3).await;
    let heavy = Task::new(async { "heavy" }).weight(NonZeroU32::new(4).unwrap());
    let heavy = pool.try_submit(heavy).unwrap();
    let light = pool.try_submit(async { "light" }).unwrap();
    tokio::task::yield_now().await;
    assert_eq!((pool.snapshot().busy, pool.snapshot().queued()), (3, 2));
    gate.open(3);
    assert_eq!((heavy.await.unwrap(), light.await.unwrap()), ("heavy", "light"));
    drop(held);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn submit_waits_for_a_place() {
    let pool = pool(1, 1);
    let (gate, held) = busy(&pool, 1).await;
    let first = pool.try_submit(async { 1 }).unwrap();
    let mut second = pin!(pool.submit(async { 2 }));
    assert!(poll_once(second.as_mut()).is_pending());
    assert_eq!((pool.snapshot().room, pool.snapshot().ledger.accepted), (1, 2));
    gate.open(1);
    assert_eq!(second.await.unwrap().await.unwrap(), 2);
    assert_eq!(first.await.unwrap(), 1);
    drop(held);
    assert_eq!(ends_exactly(&pool).await.ledger.completed, 3);
}

#[tokio::test]
async fn nobody_barges_past_the_room() {
    let pool = pool(1, 1);
    let (gate, held) = busy(&pool, 1).await;
    let first = pool.try_submit(async {}).unwrap();
    let mut waiting = pin!(pool.submit(async {}));
    assert!(poll_once(waiting.as_mut()).is_pending());
    // The place comes free, and the room's head has not been polled yet.
    first.cancel();
    assert_eq!(pool.snapshot().queued(), 0);
    assert_eq!(pool.try_submit(async {}).unwrap_err().reason(), Reason::QueueFull);
    let urgent = pool.try_submit(Task::new(async {}).priority(Priority::Urgent)).unwrap();
    gate.open(1);
    waiting.await.unwrap().await.unwrap();
    urgent.await.unwrap();
    drop((held, first));
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn the_room_lets_the_higher_class_in_first() {
    let pool = pool(1, 2);
    let (gate, held) = busy(&pool, 1).await;
    let urgent = |n| Task::new(async move { n }).priority(Priority::Urgent);
    let _full = [pool.try_submit(urgent(0)).unwrap(), pool.try_submit(urgent(1)).unwrap()];
    let mut low = pin!(pool.submit(Task::new(async { 2 }).priority(Priority::Low)));
    let mut high = pin!(pool.submit(urgent(3)));
    assert!(poll_once(low.as_mut()).is_pending());
    assert!(poll_once(high.as_mut()).is_pending());
    gate.open(1);
    let high = high.await.unwrap();
    // The low one was in the room first, and is let in second.
    assert_eq!(high.await.unwrap(), 3);
    assert_eq!(low.await.unwrap().await.unwrap(), 2);
    drop(held);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn the_room_is_bounded_and_evicts_like_the_queue() {
    let pool = pool(1, 1);
    let (gate, held) = busy(&pool, 1).await;
    let urgent = || Task::new(async {}).priority(Priority::Urgent);
    let queued = pool.try_submit(urgent()).unwrap();
    let mut low = pin!(pool.submit(async {}));
    assert!(poll_once(low.as_mut()).is_pending());
    // The room has one place. Its equal finds it full, its better displaces it.
    assert_eq!(pool.submit(async {}).await.unwrap_err().reason(), Reason::QueueFull);
    let mut high = pin!(pool.submit(urgent()));
    assert!(poll_once(high.as_mut()).is_pending());
    assert_eq!(low.await.unwrap_err().reason(), Reason::Evicted);
    gate.open(1);
    high.await.unwrap().await.unwrap();
    queued.await.unwrap();
    drop(held);
    let refused = pool.snapshot().refused;
    assert_eq!((refused.queue_full, refused.evicted), (1, 1));
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn closing_refuses_those_who_wait_in_the_room() {
    let pool = pool(1, 1);
    let (gate, held) = busy(&pool, 1).await;
    let queued = pool.try_submit(async { 1 }).unwrap();
    let mut waiting = pin!(pool.submit(async {}));
    assert!(poll_once(waiting.as_mut()).is_pending());
    pool.close();
    assert_eq!(waiting.await.unwrap_err().reason(), Reason::Closed);
    assert_eq!(pool.try_submit(async {}).unwrap_err().reason(), Reason::Closed);
    gate.open(1);
    // What was accepted goes on.
    assert_eq!(queued.await.unwrap(), 1);
    drop(held);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn every_waiting_future_can_be_dropped_after_one_poll() {
    let pool = pool(1, 1);
    let (gate, held) = busy(&pool, 1).await;
    {
        let mut run = pin!(pool.run(async {}));
        assert!(poll_once(run.as_mut()).is_pending());
        assert_eq!(pool.snapshot().queued(), 1);
    }
    assert_eq!(pool.snapshot().queued(), 0);
    let queued = pool.try_submit(async {}).unwrap();
    {
        let mut submit = pin!(pool.submit(async {}));
        assert!(poll_once(submit.as_mut()).is_pending());
        assert_eq!(pool.snapshot().room, 1);
    }
    assert_eq!(pool.snapshot().room, 0);
    {
        let mut handle = queued;
        assert!(poll_once(pin!(&mut handle)).is_pending());
    }
    assert_eq!(pool.snapshot().queued(), 1, "a dropped handle detaches");
    {
        let mut shutdown = pin!(pool.shutdown(super::LONG));
        assert!(poll_once(shutdown.as_mut()).is_pending());
    }
    assert_eq!(pool.try_submit(async {}).unwrap_err().reason(), Reason::Closed);
    gate.open(1);
    drop(held);
    assert_eq!(ends_exactly(&pool).await.ledger.completed, 2);
}

#[tokio::test]
async fn a_run_dropped_half_way_gives_its_seat_back() {
    let pool = pool(1, 1);
    {
        let mut run = pin!(pool.run(std::future::pending::<()>()));
        assert!(poll_once(run.as_mut()).is_pending());
        assert_eq!(pool.snapshot().busy, 1);
    }
    assert_eq!((pool.snapshot().busy, pool.snapshot().ledger.cancelled), (0, 1));
    pool.run(async {}).await.unwrap();
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn a_run_dropped_with_its_turn_unused_passes_it_on() {
    let pool = pool(1, 10);
    let (gate, held) = busy(&pool, 1).await;
    let mut first = Box::pin(pool.run(async { 1 }));
    let mut second = pin!(pool.run(async { 2 }));
    assert!(poll_once(first.as_mut()).is_pending());
    assert!(poll_once(second.as_mut()).is_pending());
    gate.open(1);
    for handle in held {
        handle.await.unwrap();
    }
    drop(first);
    assert_eq!(second.await.unwrap(), 2);
    let ledger = ends_exactly(&pool).await.ledger;
    assert_eq!((ledger.completed, ledger.cancelled), (2, 1));
}

#[tokio::test]
async fn many_are_accepted_as_one_after_the_other_and_the_rest_comes_back() {
    let pool = pool(1, 10);
    let (gate, running) = busy(&pool, 1).await;
    let tasks = (0..1_000).map(|n| Task::new(async move { n }).priority(Priority::Low));
    let verdicts = pool.try_submit_many(tasks);
    assert_eq!(verdicts.len(), 1_000);
    let (accepted, refused): (Vec<_>, Vec<_>) = verdicts.into_iter().partition(Result::is_ok);
    // Low may fill eight of ten places.
    assert_eq!((accepted.len(), refused.len()), (8, 992));
    for (n, refused) in (8..).zip(refused) {
        let refused = refused.err().unwrap();
        assert_eq!(refused.reason(), Reason::QueueFull);
        assert_eq!(refused.into_inner().await, n, "each its own");
    }
    gate.open(1);
    for (n, accepted) in accepted.into_iter().enumerate() {
        assert_eq!(accepted.unwrap().await.unwrap(), n);
    }
    drop(running);
    let ledger = ends_exactly(&pool).await.ledger;
    assert_eq!((ledger.accepted, pool.snapshot().refused.queue_full), (9, 992));
}

#[tokio::test]
async fn one_of_many_may_take_the_place_of_another() {
    let pool = pool(1, 1);
    let (gate, running) = busy(&pool, 1).await;
    let of = |class| Task::new(async move { class }).priority(class);
    let mut verdicts = pool.try_submit_many([of(Priority::Low), of(Priority::Urgent)]).into_iter();
    let (low, urgent) = (verdicts.next().unwrap(), verdicts.next().unwrap());
    assert!(matches!(low.unwrap().await, Err(TaskError::Evicted)));
    gate.open(1);
    assert_eq!(urgent.unwrap().await.unwrap(), Priority::Urgent);
    drop(running);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn an_iterator_that_panics_submits_nothing() {
    let pool = pool(1, 10);
    let tasks = (0..3).map(|n| {
        assert!(n < 2, "as asked");
        Task::new(async {})
    });
    let many = std::panic::AssertUnwindSafe(|| pool.try_submit_many(tasks));
    assert!(std::panic::catch_unwind(many).is_err());
    assert_eq!(ends_exactly(&pool).await.ledger.accepted, 0);
}
