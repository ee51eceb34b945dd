//! What time does to tasks, on a clock that the test turns.

use std::num::NonZeroU32;
use std::pin::pin;
use std::time::{Duration, Instant};

use headworks::worker_pool::{Task, Timing};
use headworks::{Priority, Reason, TaskError, WorkerPool};
use tokio::time::{advance, sleep};

use super::{LONG, busy, config, ends_exactly, poll_once, pool};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[tokio::test(start_paused = true)]
async fn the_task_timeout_is_applied() {
    let pool = WorkerPool::new(config(2, 10).with_task_timeout(Some(SECOND * 5))).unwrap();
    let began = now();
    let hangs = pool.try_submit(std::future::pending::<()>()).unwrap();
    let patient = Task::new(sleep(SECOND * 9)).timeout(SECOND * 10);
    let patient = pool.try_submit(patient).unwrap();
    assert!(matches!(hangs.await, Err(TaskError::TimedOut)));
    assert!((SECOND * 5..SECOND * 6).contains(&(now() - began)));
    patient.await.unwrap();
    let ledger = ends_exactly(&pool).await.ledger;
    assert_eq!((ledger.failed, ledger.completed), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_timeout_counts_from_the_start_not_from_the_submission() {
    let pool = pool(1, 10);
    let (gate, held) = busy(&pool, 1).await;
    let waits = pool.try_submit(Task::new(async { 1 }).timeout(SECOND)).unwrap();
    advance(SECOND * 30).await;
    gate.open(1);
    assert_eq!(waits.await.unwrap(), 1);
    drop(held);
    ends_exactly(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_uses_up_its_budget_in_every_poll_still_times_out() {
    let pool = pool(1, 10);
    let greedy = async {
        loop {
            tokio::task::coop::consume_budget().await;
        }
    };
    let handle = pool.try_submit(Task::new(greedy).timeout(SECOND)).unwrap();
    tokio::task::yield_now().await;
    advance(SECOND * 2).await;
    assert!(matches!(handle.await, Err(TaskError::TimedOut)));
    ends_exactly(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_deadline_passed_while_it_waited_is_never_started() {
    let pool = pool(1, 10);
    let (gate, held) = busy(&pool, 1).await;
    let never = async { unreachable!("it was too late") };
    let late = pool.try_submit(Task::new(never).deadline(now() + SECOND)).unwrap();
    advance(SECOND * 2).await;
    gate.open(1);
    assert!(matches!(late.await, Err(TaskError::Expired)));
    drop(held);
    let ledger = ends_exactly(&pool).await.ledger;
    assert_eq!((ledger.expired, ledger.completed), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_while_running_drops_the_future() {
    let pool = pool(1, 10);
    let task = Task::new(sleep(SECOND * 9)).deadline(now() + SECOND * 3);
    let began = now();
    assert!(matches!(pool.try_submit(task).unwrap().await, Err(TaskError::TimedOut)));
    assert!((SECOND * 3..SECOND * 4).contains(&(now() - began)));
    assert_eq!(ends_exactly(&pool).await.ledger.failed, 1);
}

#[tokio::test(start_paused = true)]
async fn expired_tasks_make_room_before_anybody_is_refused() {
    let pool = pool(1, 1);
    let (gate, held) = busy(&pool, 1).await;
    let late = pool.try_submit(Task::new(async {}).deadline(now() + SECOND)).unwrap();
    assert_eq!(pool.try_submit(async {}).unwrap_err().reason(), Reason::QueueFull);
    advance(SECOND * 2).await;
    let next = pool.try_submit(async {}).unwrap();
    assert!(matches!(late.await, Err(TaskError::Expired)));
    gate.open(1);
    next.await.unwrap();
    drop(held);
    ends_exactly(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_wait_in_the_room_and_for_a_turn() {
    let pool = pool(1, 1);
    let (gate, held) = busy(&pool, 1).await;
    let turn = pool.run(Task::new(async {}).deadline(now() + SECOND));
    assert_eq!(turn.await.unwrap_err().reason(), Reason::Expired);
    let queued = pool.try_submit(async {}).unwrap();
    let room = pool.submit(Task::new(async { 8 }).deadline(now() + SECOND));
    let no = room.await.unwrap_err();
    assert_eq!((no.reason(), no.into_inner().await), (Reason::Expired, 8));
    let look = pool.snapshot();
    assert_eq!((look.queued(), look.room, look.refused.expired), (1, 0, 2));
    gate.open(1);
    queued.await.unwrap();
    drop(held);
    ends_exactly(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_cannot_be_met_is_refused_at_once() {
    let pool = pool(1, 10);
    let past = Task::new(async {}).deadline(now());
    assert_eq!(pool.try_submit(past).unwrap_err().reason(), Reason::DeadlineInfeasible);
    for _ in 0..20 {
        pool.try_submit(sleep(SECOND)).unwrap().await.unwrap();
    }
    let (gate, held) = busy(&pool, 1).await;
    let soon = |after| pool.try_submit(Task::new(async {}).deadline(now() + after));
    assert_eq!(soon(SECOND / 2).unwrap_err().reason(), Reason::DeadlineInfeasible);
    let first = soon(SECOND * 3 / 2).unwrap();
    // One more ahead of it.
    assert_eq!(soon(SECOND * 3 / 2).unwrap_err().reason(), Reason::DeadlineInfeasible);
    gate.open(1);
    first.await.unwrap();
    // With a seat free the estimate is not believed: else it could never come down again.
    soon(SECOND / 2).unwrap().await.unwrap();
    assert_eq!(pool.snapshot().refused.deadline_infeasible, 3);
    drop(held);
    ends_exactly(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_tenant_is_not_told_that_the_line_of_another_is_too_long_for_it() {
    let pool = pool(1, 10);
    for _ in 0..20 {
        pool.try_submit(async { sleep(SECOND).await }).unwrap().await.unwrap();
    }
    let (gate, held) = busy(&pool, 1).await;
    let within = |tenant: &str, time| {
        let task = Task::new(async {}).tenant(tenant).deadline(now() + time);
        pool.try_submit(task).map_err(|no| no.reason())
    };
    let elephant: Vec<_> = (0..5).map(|_| within("elephant", SECOND * 60).unwrap()).collect();
    // Two of the elephant's and its own are before the end of the mouse's first.
    let mouse = within("mouse", SECOND * 5 / 2).unwrap();
    assert_eq!(within("mouse", SECOND * 5 / 2).unwrap_err(), Reason::DeadlineInfeasible);
    assert_eq!(within("elephant", SECOND * 5 / 2).unwrap_err(), Reason::DeadlineInfeasible);
    gate.open(1);
    mouse.await.unwrap();
    drop((held, elephant));
    ends_exactly(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_when_to_come_back() {
    let pool = pool(2, 2);
    for _ in 0..20 {
        pool.try_submit(sleep(SECOND)).unwrap().await.unwrap();
    }
    let (gate, held) = busy(&pool, 2).await;
    let queued = [pool.try_submit(async {}).unwrap(), pool.try_submit(async {}).unwrap()];
    let no = pool.try_submit(async {}).unwrap_err();
    let after = no.retry_after().unwrap();
    // One place over the limit, two seats, a second each (to the clock's millisecond).
    assert!(after.abs_diff(SECOND / 2) < Duration::from_millis(5), "{after:?}");
    gate.open(2);
    drop((held, queued));
    ends_exactly(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn without_timing_a_refusal_goes_by_the_measured_drain() {
    let pool = WorkerPool::new(config(2, 100).with_timing(Timing::Off)).unwrap();
    let full = |pool: &WorkerPool| {
        let task = || Task::new(async { sleep(SECOND).await }).priority(Priority::Urgent);
        loop {
            match pool.try_submit(task()) {
                Ok(handle) => drop(handle),
                Err(no) => return no,
            }
        }
    };
    assert_eq!(full(&pool).retry_after(), None, "nothing has drained yet");
    tokio::time::sleep(SECOND * 40).await;
    let no = full(&pool);
    // Two seats, a second each: a place every half second.
    let after = no.retry_after().unwrap();
    assert!(after.abs_diff(SECOND / 2) < SECOND / 8, "{after:?}");
    // Of the lowest class, 21 places are to be worked off.
    let no = pool.try_submit(Task::new(sleep(SECOND)).priority(Priority::Low)).unwrap_err();
    let after = no.retry_after().unwrap();
    assert!(after.abs_diff(SECOND * 21 / 2) < SECOND * 2, "{after:?}");
    pool.close();
    let no = pool.try_submit(sleep(SECOND)).unwrap_err();
    assert_eq!((no.reason(), no.retry_after()), (Reason::Closed, None));
    let ledger = pool.shutdown(Duration::ZERO).await.ledger;
    assert!(ledger.is_exact(), "{ledger}");
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_what_runs_and_waits_when_its_time_is_up() {
    let pool = pool(1, 10);
    let running = pool.try_submit(sleep(LONG)).unwrap();
    let queued = pool.try_submit(async {}).unwrap();
    tokio::task::yield_now().await;
    let began = now();
    let report = pool.shutdown(SECOND * 5).await;
    assert!((SECOND * 5..SECOND * 5 + Duration::from_millis(100)).contains(&(now() - began)));
    assert!(matches!(running.await, Err(TaskError::Cancelled)));
    assert!(matches!(queued.await, Err(TaskError::Returned)));
    assert_eq!((report.ledger.cancelled, report.ledger.returned, report.ledger.live), (1, 1, 0));
    assert_eq!(report.unresponsive, []);
}

#[tokio::test(start_paused = true)]
async fn shutdown_counts_a_caller_that_stays_inside_run() {
    let pool = pool(1, 10);
    let mut run = pin!(pool.run(sleep(LONG)));
    assert!(poll_once(run.as_mut()).is_pending());
    let mut waits = pin!(pool.run(async {}));
    assert!(poll_once(waits.as_mut()).is_pending());
    let began = now();
    let report = pool.shutdown(SECOND).await;
    assert!(now() - began <= SECOND + Duration::from_millis(100));
    assert_eq!((report.unresponsive.len(), report.in_run, report.ledger.live), (0, 1, 1));
    assert_eq!(waits.await.unwrap_err().reason(), Reason::Closed);
    run.await.unwrap();
    assert_eq!(ends_exactly(&pool).await.ledger.completed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_heavy_head_that_expires_lets_those_behind_it_start() {
    let pool = pool(2, 10);
    let (gate, held) = busy(&pool, 1).await;
    let heavy = Task::new(async {}).weight(NonZeroU32::new(2).unwrap());
    let heavy = pool.try_submit(heavy.deadline(now() + SECOND)).unwrap();
    let light = pool.try_submit(async { 1 }).unwrap();
    let began = now();
    assert_eq!(light.await.unwrap(), 1);
    assert!((SECOND..SECOND * 2).contains(&(now() - began)), "{:?}", now() - began);
    assert!(matches!(heavy.await, Err(TaskError::Expired)));
    gate.open(1);
    drop(held);
    ends_exactly(&pool).await;
}

/// The last instant but a second that the clock can say.
fn last_instant() -> Instant {
    let (mut last, mut step) = (now(), Duration::from_secs(1 << 62));
    while step >= Duration::from_secs(1) {
        while let Some(later) = last.checked_add(step) {
            last = later;
        }
        step /= 2;
    }
    last
}

#[tokio::test(start_paused = true)]
async fn a_deadline_at_the_end_of_time_is_as_good_as_none() {
    let last = last_instant();
    let pool = WorkerPool::new(config(1, 2).with_task_timeout(Some(last - now()))).unwrap();
    let by = || Task::new(sleep(Duration::from_secs(1))).deadline(last);
    let running = pool.try_submit(by()).unwrap();
    tokio::task::yield_now().await;
    let queued = pool.try_submit(by()).unwrap();
    let mut inline = pin!(pool.run(by()));
    assert!(poll_once(inline.as_mut()).is_pending());
    let mut waits = pin!(pool.submit(by()));
    assert!(poll_once(waits.as_mut()).is_pending());
    running.await.unwrap();
    queued.await.unwrap();
    inline.await.unwrap();
    waits.await.unwrap().await.unwrap();
    ends_exactly(&pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_cancels_emptied_long_ago_is_no_slow_drain() {
    let thresholds = headworks::worker_pool::Thresholds::flat(1.0);
    let pool = WorkerPool::new(config(1, 2).with_thresholds(thresholds)).unwrap();
    let (gate, running) = busy(&pool, 1).await;
    let waiting = [pool.try_submit(gate.pass()).unwrap(), pool.try_submit(gate.pass()).unwrap()];
    assert!(pool.try_submit(async {}).is_err(), "this opens the window");
    waiting.iter().for_each(|one| one.cancel());
    gate.open(1);
    for one in running {
        one.await.unwrap();
    }
    sleep(3_600 * SECOND).await;
    let (gate, _running) = busy(&pool, 1).await;
    let waiting = [pool.try_submit(gate.pass()).unwrap(), pool.try_submit(gate.pass()).unwrap()];
    sleep(Duration::from_millis(1)).await;
    gate.open(1);
    gate.reached_by(1).await;
    let _one_more = pool.try_submit(gate.pass()).unwrap();
    let no = pool.try_submit(async {}).unwrap_err();
    assert!(no.retry_after().unwrap_or_default() < Duration::from_secs(1), "{no:?}");
    drop(waiting);
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_in_a_burst_comes_back_when_there_is_a_place_and_not_with_all_the_others() {
    const CLIENTS: usize = 40;
    let pool = WorkerPool::new(config(2, 10)).unwrap();
    // A place comes free each 50 ms.
    let client = |_| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let mut refused = 0;
            loop {
                match pool.try_submit(sleep(MS * 100)) {
                    Ok(handle) => return handle.await.map(|()| refused).unwrap(),
                    Err(no) => {
                        refused += 1;
                        sleep(no.retry_after().unwrap_or(MS * 50)).await;
                    }
                }
            }
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    let mut refused = 0;
    for client in clients {
        refused += client.await.unwrap();
    }
    // 400 if told by the first microseconds, and then all the same.
    assert!(refused <= 4 * CLIENTS, "{refused}");
    ends_exactly(&pool).await;
}

/// What it takes in real time is checked where `benches/worker_pool.rs` measures it.
#[tokio::test(start_paused = true)]
async fn the_shutdown_of_an_idle_pool_waits_for_no_timer() {
    for seats in [1, 16, 64] {
        let pool = pool(seats, 100);
        for _ in 0..seats {
            pool.try_submit(tokio::task::yield_now()).unwrap().await.unwrap();
            pool.run(async {}).await.unwrap();
        }
        let start = now();
        ends_exactly(&pool).await;
        assert_eq!(now() - start, Duration::ZERO, "{seats} seats");
    }
}
