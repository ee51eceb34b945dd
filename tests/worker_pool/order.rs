//! Who goes first, and who gives way.

use std::sync::{Arc, Mutex};

use headworks::worker_pool::{Task, Thresholds};
use headworks::{Priority, Reason, TaskError, WorkerPool};

use super::{busy, config, ends_exactly, pool};

/// Submits one of each, lets them go, and tells the order in which they ran.
async fn order_of(pool: &WorkerPool, tasks: &[(Priority, &'static str)]) -> Vec<&'static str> {
    let order = Arc::new(Mutex::new(Vec::new()));
    let (gate, held) = busy(pool, 1).await;
    let handles: Vec<_> = tasks
        .iter()
        .map(|&(class, name)| {
            let order = Arc::clone(&order);
            let task = async move { order.lock().unwrap().push(name) };
            pool.try_submit(Task::new(task).priority(class)).unwrap()
        })
        .collect();
    gate.open(1);
    for handle in held.into_iter().chain(handles) {
        handle.await.unwrap();
    }
    order.lock().unwrap().clone()
}

#[tokio::test]
async fn urgent_and_high_are_two_classes() {
    let pool = pool(1, 100);
    let order = order_of(
        &pool,
        &[
            (Priority::Low, "low"),
            (Priority::High, "high 1"),
            (Priority::Normal, "normal"),
            (Priority::Urgent, "urgent 1"),
            (Priority::High, "high 2"),
            (Priority::Urgent, "urgent 2"),
        ],
    );
    assert_eq!(order.await, ["urgent 1", "urgent 2", "high 1", "high 2", "normal", "low"]);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn a_passed_over_class_gets_its_turn() {
    let pool = WorkerPool::new(config(1, 100).with_starvation_bound(2)).unwrap();
    let order = order_of(
        &pool,
        &[
            (Priority::Low, "low"),
            (Priority::High, "high"),
            (Priority::High, "high"),
            (Priority::High, "high"),
        ],
    );
    assert_eq!(order.await, ["high", "high", "low", "high"]);
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn tenants_of_a_class_take_turns() {
    let pool = pool(1, 100);
    let order = Arc::new(Mutex::new(String::new()));
    let (gate, held) = busy(&pool, 1).await;
    let mut handles = Vec::new();
    for tenant in ["a", "a", "a", "b", "b", "c"] {
        let order = Arc::clone(&order);
        let task = Task::new(async move { order.lock().unwrap().push_str(tenant) }).tenant(tenant);
        handles.push(pool.try_submit(task).unwrap());
    }
    gate.open(1);
    for handle in held.into_iter().chain(handles) {
        handle.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), "abcaba");
    ends_exactly(&pool).await;
}

#[tokio::test]
async fn the_lowest_gives_its_place_to_the_higher_and_is_told() {
    let thresholds = Thresholds::flat(1.0);
    let pool = WorkerPool::new(config(1, 2).with_thresholds(thresholds)).unwrap();
    let (gate, held) = busy(&pool, 1).await;
    let submit = |class| pool.try_submit(Task::new(async {}).priority(class));
    let older = submit(Priority::Low).unwrap();
    let newer = submit(Priority::Low).unwrap();
    assert_eq!(submit(Priority::Low).unwrap_err().reason(), Reason::QueueFull);
    let urgent = submit(Priority::Urgent).unwrap();
    assert!(matches!(newer.await, Err(TaskError::Evicted)));
    gate.open(1);
    urgent.await.unwrap();
    older.await.unwrap();
    drop(held);
    let ledger = ends_exactly(&pool).await.ledger;
    assert_eq!((ledger.evicted, ledger.completed), (1, 3));
}

#[tokio::test]
async fn the_last_places_are_kept_for_what_matters_most() {
    let pool = pool(1, 20);
    let (gate, held) = busy(&pool, 1).await;
    let mut handles = Vec::new();
    for (class, places) in [(Priority::Low, 16), (Priority::Normal, 18), (Priority::High, 19)] {
        // Of one class each, so that nobody can be evicted for anybody.
        let fill = |class| pool.try_submit(Task::new(async {}).priority(class).tenant("one"));
        handles.retain(|handle: &headworks::TaskHandle<()>| {
            handle.cancel();
            false
        });
        while let Ok(handle) = fill(class) {
            handles.push(handle);
        }
        assert_eq!(pool.snapshot().depth_of(class), places);
    }
    gate.open(1);
    drop((held, handles));
    ends_exactly(&pool).await;
}
