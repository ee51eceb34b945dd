//! Seats that follow the wait in the queue.

use std::pin::pin;
use std::sync::Barrier;
use std::time::Duration;

use headworks::worker_pool::{Autoscale, Task};
use headworks::{Reason, WorkerPool};
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::{MS, SECOND, ends_exactly, poll_once, pool, weight};

fn limit(pool: &WorkerPool) -> u32 {
    pool.snapshot().limit
}

#[tokio::test(start_paused = true)]
async fn tasks_that_wait_longer_than_the_target_get_seats_though_none_of_them_starts() {
    let pool = pool(Autoscale::between(2, 64));
    let tasks: Vec<_> = (0..20).map(|_| pool.try_submit(sleep(SECOND * 60)).unwrap()).collect();
    sleep(MS * 99).await;
    assert_eq!((limit(&pool), pool.snapshot().busy), (2, 2));
    sleep(MS * 5).await;
    let look = pool.snapshot();
    assert_eq!((look.limit, look.busy, look.queued()), (20, 20, 0));
    assert_eq!(look.limit_changes, 1);
    for task in tasks {
        task.await.unwrap();
    }
    ends_exactly(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_below_the_target_changes_nothing() {
    let pool = pool(Autoscale::between(2, 64));
    for _ in 0..1_000 {
        let four: Vec<_> = (0..4).map(|_| pool.try_submit(sleep(MS * 20)).unwrap()).collect();
        for task in four {
            task.await.unwrap();
        }
    }
    assert_eq!((limit(&pool), pool.snapshot().limit_changes), (2, 0));
    ends_exactly(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn the_maximum_is_never_passed() {
    let pool = pool(Autoscale::between(1, 8));
    let tasks: Vec<_> = (0..500).map(|_| pool.try_submit(sleep(MS * 300)).unwrap()).collect();
    while pool.snapshot().ledger.live > 0 {
        sleep(MS * 50).await;
        assert!(pool.snapshot().busy <= 8 && limit(&pool) <= 8);
    }
    assert_eq!(limit(&pool), 8);
    drop(tasks);
    assert_eq!(ends_exactly(&pool).await.ledger.completed, 500);
}

/// The Go original retired its idle workers, and none of them ever came back.
#[tokio::test(start_paused = true)]
async fn idle_seats_and_their_workers_go_and_come_back() {
    let before = Handle::current().metrics().num_alive_tasks();
    let alive = || Handle::current().metrics().num_alive_tasks() - before;
    let pool = pool(Autoscale::between(2, 32));
    for round in 1..=3 {
        let burst: Vec<_> = (0..32).map(|_| pool.try_submit(sleep(SECOND * 2)).unwrap()).collect();
        sleep(SECOND).await;
        assert_eq!((limit(&pool), pool.snapshot().busy), (32, 32), "round {round}");
        assert_eq!(alive(), 33, "a worker for each seat, and one that watches");
        for task in burst {
            task.await.unwrap();
        }
        assert_eq!(limit(&pool), 32, "not at once");
        sleep(SECOND * 601).await;
        assert_eq!(limit(&pool), 2, "round {round}");
        assert_eq!(alive(), 3);
        assert_eq!(pool.snapshot().limit_changes, 2 * round);
    }
    assert_eq!(pool.try_submit(async { 7 }).unwrap().await.unwrap(), 7);
    ends_exactly(&pool).await;
    assert_eq!(alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_used_stays() {
    let pool = pool(Autoscale::between(1, 64).with_idle_after(SECOND * 10));
    let burst: Vec<_> = (0..40).map(|_| pool.try_submit(sleep(SECOND)).unwrap()).collect();
    for task in burst {
        task.await.unwrap();
    }
    for _ in 0..60 {
        let eight: Vec<_> = (0..8).map(|_| pool.try_submit(sleep(SECOND)).unwrap()).collect();
        for task in eight {
            task.await.unwrap();
        }
    }
    // Eight, and one in eight of those.
    assert_eq!((limit(&pool), pool.snapshot().limit_changes), (9, 2));
    ends_exactly(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn seats_that_go_while_callers_and_leases_hold_them_stop_nobody() {
    let config = Autoscale::between(1, 16).with_idle_after(SECOND * 5);
    let pool = pool(config);
    let burst: Vec<_> = (0..16).map(|_| pool.try_submit(sleep(SECOND)).unwrap()).collect();
    for task in burst {
        task.await.unwrap();
    }
    // Leased and given back again and again.
    for _ in 0..1_000 {
        pool.run(async {}).await.unwrap();
    }
    let mut long = pin!(pool.run(sleep(SECOND * 60)));
    assert!(poll_once(long.as_mut()).is_pending());
    sleep(SECOND * 30).await;
    let look = pool.snapshot();
    assert!(look.limit <= 2, "{look:?}");
    assert!(look.busy >= 1);
    let others: Vec<_> = (0..3).map(|_| pool.try_submit(sleep(MS * 10)).unwrap()).collect();
    for other in others {
        other.await.unwrap();
    }
    long.await.unwrap();
    ends_exactly(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn seats_that_lie_leased_and_idle_on_many_threads_go_as_well() {
    let pool = pool(Autoscale::between(1, 16).with_idle_after(SECOND * 5));
    let burst: Vec<_> = (0..16).map(|_| pool.try_submit(sleep(SECOND)).unwrap()).collect();
    for task in burst {
        task.await.unwrap();
    }
    assert_eq!(limit(&pool), 16);
    let here = Handle::current();
    let all_were_there = Barrier::new(8);
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                let _guard = here.enter();
                // A thread that has ended leaves its number to the next one.
                all_were_there.wait();
                assert!(poll_once(pin!(pool.run(async {}))).is_ready());
                all_were_there.wait();
            });
        }
    });
    // The burst ended a second after the limit rose: so it is idle after five, and twice that.
    sleep(SECOND * 10).await;
    assert_eq!(limit(&pool), 1, "{:?}", pool.snapshot());
    ends_exactly(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_heavier_than_the_limit_just_now_runs_alone() {
    let pool = pool(Autoscale::between(2, 8).with_target_wait(Duration::from_secs(3_600)));
    let a_second = || async { sleep(SECOND).await };
    let light: Vec<_> = (0..2).map(|_| pool.try_submit(a_second()).unwrap()).collect();
    let heavy = pool.try_submit(Task::new(a_second()).weight(weight(8))).unwrap();
    let behind = pool.try_submit(a_second()).unwrap();
    let nine = pool.try_submit(Task::new(async {}).weight(weight(9)));
    assert_eq!(nine.unwrap_err().reason(), Reason::TooLarge);
    sleep(MS * 1_500).await;
    let look = pool.snapshot();
    assert_eq!((look.limit, look.busy, look.queued()), (2, 8, 1), "alone");
    heavy.await.unwrap();
    behind.await.unwrap();
    for task in light {
        task.await.unwrap();
    }
    let mut caller = pin!(pool.run(Task::new(sleep(SECOND)).weight(weight(5))));
    assert!(poll_once(caller.as_mut()).is_pending());
    assert_eq!(pool.snapshot().busy, 5, "a caller of run as well");
    caller.await.unwrap();
    ends_exactly(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_grows_while_it_is_shut_down_loses_nothing() {
    for wait in [0, 50, 99, 100, 101, 150] {
        let pool = pool(Autoscale::between(1, 64));
        let tasks: Vec<_> = (0..50).map(|_| pool.try_submit(sleep(MS * 30)).unwrap()).collect();
        sleep(MS * wait).await;
        assert_eq!(ends_exactly(&pool).await.ledger.completed, 50);
        for task in tasks {
            task.await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_seen_though_somebody_was_about_to_look() {
    let config = Autoscale::between(1, 8).with_target_wait(100 * MS).with_cool_down(MS);
    let pool = pool(config);
    // Two seats, above the minimum: the watch rests until they would go, in minutes.
    for one in [pool.try_submit(sleep(SECOND)), pool.try_submit(sleep(SECOND))] {
        one.unwrap().await.unwrap();
    }
    sleep(SECOND).await;
    assert_eq!(limit(&pool), 2);
    let _long = pool.try_submit(sleep(200 * SECOND)).unwrap();
    sleep(MS).await;
    // Its worker lingers when a caller of `run` takes the seat, and somebody begins to wait for it.
    let (tell, told) = tokio::sync::oneshot::channel();
    drop(pool.try_submit(async move { tell.send(()).unwrap() }).unwrap());
    told.await.unwrap();
    {
        let mut run = pin!(pool.run(std::future::pending::<()>()));
        assert!(poll_once(run.as_mut()).is_pending());
        drop(pool.try_submit(sleep(200 * SECOND)).unwrap());
    }
    sleep(MS).await;
    for _ in 0..4 {
        drop(pool.try_submit(sleep(200 * SECOND)).unwrap());
    }
    sleep(5 * SECOND).await;
    assert!(limit(&pool) > 2, "{:?}", pool.snapshot());
}
