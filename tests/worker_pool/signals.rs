//! What a pool tells about itself: pressure, metrics, spans.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headworks::worker_pool::{MetricValue, Pressure, Task, Timing, WorkerPoolSnapshot};
use headworks::{Enforcement, Priority, WorkerPool};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::{LONG, busy, config, ends_exactly, pool};

#[tokio::test]
async fn pressure_follows_the_depth_of_the_queue() {
    let pool = pool(1, 100);
    let mut pressure = pool.pressure();
    assert_eq!(*pressure.borrow_and_update(), Pressure::Nominal);
    let (gate, held) = busy(&pool, 1).await;
    let mut tasks = Vec::new();
    let mut fill = |to: usize| {
        while tasks.len() < to {
            tasks.push(pool.try_submit(Task::new(async {}).priority(Priority::Urgent)).unwrap());
        }
        *pressure.borrow_and_update()
    };
    let levels = [39, 40, 79, 80, 89, 90, 100].map(&mut fill);
    use Pressure::{Critical, Elevated, High, Nominal};
    assert_eq!(levels, [Nominal, Elevated, Elevated, High, High, Critical, Critical]);
    tasks.drain(78..).for_each(|task| task.cancel());
    assert_eq!(*pressure.borrow_and_update(), High);
    gate.open(1);
    pressure.wait_for(|level| *level == Nominal).await.unwrap();
    drop((held, tasks));
    pool.close();
    assert_eq!(*pressure.borrow_and_update(), Pressure::Closed);
    ends_exactly(&pool).await;
    assert_eq!(*pool.pressure().borrow(), Pressure::Closed);
    drop(pool);
    assert_eq!(*pressure.borrow(), Pressure::Closed, "told before the sender goes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_level_told_is_the_last_there_was() {
    for _ in 0..50 {
        let pool = pool(2, 16);
        let pressure = pool.pressure();
        let submit = |pool: WorkerPool| async move {
            for _ in 0..200 {
                if let Ok(handle) = pool.try_submit(async {}) {
                    handle.await.unwrap();
                }
                drop(pool.try_submit(tokio::task::yield_now()));
            }
        };
        let submitters: Vec<_> = (0..4).map(|_| tokio::spawn(submit(pool.clone()))).collect();
        for submitter in submitters {
            submitter.await.unwrap();
        }
        let mut told = pressure.clone();
        told.wait_for(|level| *level == Pressure::Nominal).await.unwrap();
        while pool.snapshot().queued() > 0 {
            tokio::task::yield_now().await;
        }
        told.wait_for(|level| *level == Pressure::Nominal).await.unwrap();
        ends_exactly(&pool).await;
    }
}

#[tokio::test]
async fn in_shadow_a_pool_takes_what_it_would_refuse_up_to_its_capacity() {
    let config = config(1, 10).with_enforcement(Enforcement::Shadow);
    let pool = WorkerPool::new(config).unwrap();
    let (gate, held) = busy(&pool, 1).await;
    let low = || Task::new(async {}).priority(Priority::Low);
    let taken: Vec<_> = (0..10).map(|_| pool.try_submit(low()).unwrap()).collect();
    assert!(pool.try_submit(low()).is_err());
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.would_refuse.queue_full, snapshot.refused.queue_full), (2, 1));
    gate.open(1);
    for task in taken {
        task.await.unwrap();
    }
    drop(held);
    ends_exactly(&pool).await;
}

fn numbers(snapshot: &WorkerPoolSnapshot) -> HashMap<&'static str, u64> {
    let value = |value| match value {
        MetricValue::Counter(n) | MetricValue::Gauge(n) => n,
        MetricValue::Histogram(seen) => seen.count(),
    };
    snapshot.metrics().map(|metric| (metric.name, value(metric.value))).collect()
}

#[tokio::test]
async fn every_metric_has_its_name_and_the_sums_hold() {
    let config = config(1, 3).with_timing(Timing::All).with_name("mail");
    let pool = WorkerPool::new(config).unwrap();
    let panics = pool.try_submit(async { panic!("as asked") }).unwrap();
    assert!(panics.await.is_err());
    let (gate, held) = busy(&pool, 1).await;
    let urgent = || Task::new(async {}).priority(Priority::Urgent);
    let evicted = pool.try_submit(Task::new(async {}).priority(Priority::Low)).unwrap();
    let late = urgent().within(Duration::from_nanos(1));
    let late = pool.try_submit(late);
    let queued: Vec<_> = (0..3).map(|_| pool.try_submit(urgent()).unwrap()).collect();
    assert!(pool.try_submit(async {}).is_err());
    queued[0].cancel();
    let seen = numbers(&pool.snapshot());
    assert_eq!((seen["worker_pool_queue_depth"], seen["worker_pool_queue_capacity"]), (2, 3));
    drop((evicted, late));
    gate.open(1);
    for handle in held {
        handle.await.unwrap();
    }
    pool.shutdown(LONG).await;
    let snapshot = pool.snapshot();
    assert_eq!(snapshot.name, "mail");
    let seen = numbers(&snapshot);
    let tasks = |what: &str| seen[format!("worker_pool_tasks_{what}_total").as_str()];
    let endings = ["completed", "failed", "cancelled", "expired", "evicted", "returned"];
    let ended: u64 = endings.into_iter().map(tasks).sum();
    assert_eq!(tasks("submitted"), ended + tasks("rejected"));
    assert_eq!(tasks("submitted"), snapshot.ledger.accepted + snapshot.refused.total());
    assert_eq!(tasks("dropped"), tasks("rejected") + tasks("evicted") + tasks("expired"));
    assert_eq!(
        [tasks("completed"), tasks("failed"), tasks("cancelled"), tasks("evicted")],
        [3, 1, 1, 1]
    );
    assert!(tasks("rejected") >= 1);
    // What got a seat was timed: completed or failed.
    assert_eq!(seen["worker_pool_queue_wait_seconds"], 4);
    assert_eq!(snapshot.run_time.count(), 4);
    assert_eq!(seen.len(), 12);
}

#[tokio::test]
async fn pools_are_told_apart_by_their_names() {
    let pools =
        ["mail", "scale"].map(|name| WorkerPool::new(config(1, 10).with_name(name)).unwrap());
    pools[0].try_submit(async {}).unwrap().await.unwrap();
    let completed = pools.each_ref().map(|pool| {
        let snapshot = pool.snapshot();
        (snapshot.name.clone(), numbers(&snapshot)["worker_pool_tasks_completed_total"])
    });
    assert_eq!(completed, [("mail".into(), 1), ("scale".into(), 0)]);
}

#[tokio::test]
async fn waits_are_timed_as_often_as_asked() {
    for (timing, timed) in [(Timing::Off, 0), (Timing::All, 200), (Timing::Sampled(16), 16 + 12)] {
        let pool = WorkerPool::new(config(1, 300).with_timing(timing)).unwrap();
        for _ in 0..200 {
            pool.try_submit(async {}).unwrap().await.unwrap();
        }
        let snapshot = pool.snapshot();
        assert_eq!(snapshot.queue_wait.count(), timed, "{timing:?}");
        assert_eq!(snapshot.queue_wait.quantile(0.5).is_some(), timed > 0);
    }
}

/// Gives every span a number and keeps, in order, which were entered.
#[derive(Clone, Default)]
struct Spans {
    last: Arc<AtomicU64>,
    open: Arc<Mutex<Vec<(Id, &'static Metadata<'static>)>>>,
    entered: Arc<Mutex<Vec<Id>>>,
    log: Arc<Mutex<Vec<&'static str>>>,
}

impl Spans {
    fn name_of(&self, id: &Id) -> &'static str {
        let open = self.open.lock().unwrap();
        open.iter().find(|(other, _)| other == id).map_or("gone", |(_, meta)| meta.name())
    }
}

impl Subscriber for Spans {
    fn enabled(&self, meta: &Metadata<'_>) -> bool {
        meta.target().starts_with("worker_pool::signals")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = Id::from_u64(self.last.fetch_add(1, Ordering::SeqCst) + 1);
        self.open.lock().unwrap().push((id.clone(), span.metadata()));
        id
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        let within = self.entered.lock().unwrap().last().cloned();
        let name = within.map_or("nowhere", |id| self.name_of(&id));
        self.log.lock().unwrap().push(name);
    }

    fn enter(&self, id: &Id) {
        self.entered.lock().unwrap().push(id.clone());
    }

    fn exit(&self, _: &Id) {
        self.entered.lock().unwrap().pop();
    }

    fn current_span(&self) -> tracing_core::span::Current {
        match self.entered.lock().unwrap().last() {
            Some(id) => {
                let open = self.open.lock().unwrap();
                let meta = open.iter().find(|(other, _)| other == id).unwrap().1;
                tracing_core::span::Current::new(id.clone(), meta)
            }
            None => tracing_core::span::Current::none(),
        }
    }
}

/// Says where it is when it is dropped.
struct Says;

impl Drop for Says {
    fn drop(&mut self) {
        tracing::info!("dropped");
    }
}

#[tokio::test]
async fn a_task_is_polled_and_dropped_in_the_span_of_its_submitter() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(spans.clone());
    let pool = pool(1, 10);
    let (gate, held) = busy(&pool, 1).await;
    let task = || async {
        tracing::info!("first poll");
        tokio::task::yield_now().await;
        tracing::info!("second poll");
    };
    let request = tracing::info_span!("request");
    let inside = request.in_scope(|| pool.try_submit(task()).unwrap());
    let outside = pool.try_submit(task()).unwrap();
    let kept = Says;
    let cancelled = request.in_scope(|| {
        let hangs = async move {
            let _kept = kept;
            std::future::pending::<()>().await;
        };
        let told = |_: &Result<(), _>| tracing::info!("told");
        pool.try_submit(Task::new(hangs).on_end(told)).unwrap()
    });
    cancelled.cancel();
    gate.open(1);
    inside.await.unwrap();
    outside.await.unwrap();
    let log = std::mem::take(&mut *spans.log.lock().unwrap());
    let mut counted = log.clone();
    counted.sort_unstable();
    // Dropped and told in the span, both of the polls in it; and the other task's in none.
    assert_eq!(counted, ["nowhere", "nowhere", "request", "request", "request", "request"]);
    assert!(spans.entered.lock().unwrap().is_empty());
    drop((held, cancelled));
    ends_exactly(&pool).await;
}
