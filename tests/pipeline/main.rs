//! The façade, by claims. Time is paused: nothing here waits for a clock.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and brings its own clock"
)]

mod batched;
#[cfg(feature = "cache")]
mod cached;
#[cfg(feature = "json")]
mod checkpoints;
#[cfg(feature = "json")]
mod crashes;
mod ends;
mod following;
mod gates;
mod held;
mod living;
mod original;
mod refusals;
mod turns;
mod undo;

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headworks::pipeline::{
    Failure, Intent, IntentPipeline, Phase, PhaseConfig, PhaseContext, PhaseError, PipelineConfig,
    Step, phase_fn,
};
use headworks::{Ending, Priority, Reason};
use tokio::sync::Semaphore;
use tokio::time::Instant;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A phase that lets attempts through one permit at a time, and writes down who came.
#[derive(Clone, Default)]
struct Turnstile(Arc<Inner>);

struct Inner {
    permits: Semaphore,
    seen: Mutex<Vec<String>>,
    inside: Mutex<HashMap<String, usize>>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { permits: Semaphore::new(0), seen: Mutex::default(), inside: Mutex::default() }
    }
}

impl Turnstile {
    fn let_through(&self, n: usize) {
        self.0.permits.add_permits(n);
    }

    fn seen(&self) -> Vec<String> {
        self.0.seen.lock().unwrap().clone()
    }
}

/// Somebody inside the turnstile.
struct Inside<'a>(&'a Inner, String);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.lock().unwrap().insert(self.1.clone(), 0);
    }
}

impl Phase<String> for Turnstile {
    type Out = String;

    async fn run(&self, input: &String, cx: &PhaseContext) -> Result<Step<String>, PhaseError> {
        self.0.seen.lock().unwrap().push(input.clone());
        let inside = self.0.inside.lock().unwrap().insert(cx.key().to_owned(), 1);
        assert_eq!(inside.unwrap_or(0), 0, "two runs of one key");
        let _inside = Inside(&self.0, cx.key().to_owned());
        self.0.permits.acquire().await.unwrap().forget();
        Ok(Step::Done(input.clone()))
    }
}

fn one_seat() -> PipelineConfig {
    PipelineConfig::default().with_seats(1)
}

fn through(turnstile: &Turnstile, config: PipelineConfig) -> IntentPipeline<String, String> {
    IntentPipeline::builder::<String>(config)
        .phase("turnstile", PhaseConfig::remote(), turnstile.clone())
        .build()
        .unwrap()
}

fn intent(key: &str, payload: &str) -> Intent<String> {
    Intent::new(key, payload.to_owned())
}

/// Lets every task run until all wait for something.
async fn settled() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// One poll, and the future is the caller's to drop.
async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

fn alive_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn five_phases_pass_their_outputs_on() {
    let add = |n: u64| {
        phase_fn(move |x: &u64, _: &PhaseContext| {
            let sum = x + n;
            async move { Ok::<_, PhaseError>(sum) }
        })
    };
    let pipeline = IntentPipeline::builder::<u64>(PipelineConfig::default())
        .phase("a", PhaseConfig::local(), add(1))
        .phase("b", PhaseConfig::local(), add(10))
        .phase("c", PhaseConfig::remote(), add(100))
        .phase("d", PhaseConfig::remote().critical(), add(1000))
        .phase("e", PhaseConfig::local(), add(10_000))
        .build()
        .unwrap();
    let tickets: Vec<_> =
        (0..500).map(|i| pipeline.try_submit(Intent::new(format!("ns/{i}"), i)).unwrap()).collect();
    for (i, ticket) in tickets.into_iter().enumerate() {
        let done = ticket.await.unwrap();
        assert_eq!(*done.output, i as u64 + 11_111);
        assert_eq!(done.trace.phases.len(), 5);
    }
    let report = pipeline.shutdown(ms(1000)).await;
    assert!(report.ledger.is_exact(), "{}", report.ledger);
    assert_eq!((report.ledger.completed, report.ledger.live), (500, 0));
    assert!(report.returned.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_highest_class_goes_first_and_the_lowest_is_evicted_and_told() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat().with_queue_capacity(3));
    let first = pipeline.try_submit(intent("a/0", "first")).unwrap();
    settled().await;
    let low = pipeline.try_submit(intent("a/1", "low").priority(Priority::Low)).unwrap();
    let low2 = pipeline.try_submit(intent("a/2", "low2").priority(Priority::Low)).unwrap();
    let normal = pipeline.try_submit(intent("a/3", "normal")).unwrap();
    let refused = pipeline.try_submit(intent("a/4", "late").priority(Priority::Low)).unwrap_err();
    assert_eq!(refused.reason(), Reason::QueueFull);
    assert_eq!(refused.into_inner().payload, "late");
    let high = pipeline.try_submit(intent("a/5", "high").priority(Priority::Urgent)).unwrap();
    let ended = low2.await.unwrap_err();
    assert_eq!(ended.ending(), Ending::Evicted);
    assert_eq!(ended.into_intent().unwrap().payload, "low2");
    turnstile.let_through(10);
    for ticket in [first, low, normal, high] {
        ticket.await.unwrap();
    }
    assert_eq!(turnstile.seen(), ["first", "high", "normal", "low"]);
    let report = pipeline.shutdown(ms(100)).await;
    assert!(report.ledger.is_exact());
    assert_eq!((report.ledger.completed, report.ledger.evicted), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn the_same_version_joins_and_others_conflict_are_stale_or_supersede() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let of = |generation, content| {
        intent("ns/x", &format!("{generation}.{content}")).generation(generation).content(content)
    };
    let running = pipeline.try_submit(of(2, 7)).unwrap();
    settled().await;
    let joined = pipeline.try_submit(of(2, 7)).unwrap();
    let reason = |intent| pipeline.try_submit(intent).unwrap_err().reason();
    assert_eq!(reason(of(2, 8)), Reason::Conflict);
    assert_eq!(reason(of(1, 7)), Reason::Stale);
    let successor = pipeline.try_submit(of(3, 1)).unwrap();
    let replaced_by = pipeline.try_submit(of(4, 1)).unwrap();
    assert_eq!(successor.await.unwrap_err().ending(), Ending::Superseded);
    assert_eq!(reason(of(3, 1)), Reason::Stale);
    assert_eq!(reason(of(2, 7)), Reason::Stale, "live, but a newer one waits behind it");
    turnstile.let_through(2);
    let (a, b) = (running.await.unwrap(), joined.await.unwrap());
    assert!(Arc::ptr_eq(&a.output, &b.output));
    assert_eq!(*replaced_by.await.unwrap().output, "4.1");
    assert_eq!(turnstile.seen(), ["2.7", "4.1"]);
    let report = pipeline.shutdown(ms(100)).await;
    assert!(report.ledger.is_exact());
    assert_eq!(report.ledger.accepted, 4);
    assert_eq!(report.runs.accepted, 3);
}

#[tokio::test(start_paused = true)]
async fn a_retryable_error_is_repeated_and_a_permanent_one_is_not() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let phase = phase_fn(move |text: &String, cx: &PhaseContext| {
        counted.fetch_add(1, Ordering::Relaxed);
        let outcome = match (text.as_str(), cx.attempt()) {
            ("flaky", 1 | 2) => Err(PhaseError::retryable("not now")),
            ("broken", _) => Err(PhaseError::permanent("never")),
            ("panics", _) => panic!("boom"),
            _ => Ok(text.clone()),
        };
        async move { outcome }
    });
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("only", PhaseConfig::remote(), phase)
        .build()
        .unwrap();
    let done = pipeline.try_submit(intent("a/1", "flaky")).unwrap().await.unwrap();
    assert_eq!(done.trace.phases[0].attempts, 3);
    let ended = pipeline.try_submit(intent("a/2", "broken")).unwrap().await.unwrap_err();
    assert_eq!((ended.ending(), ended.phase()), (Ending::Failed, Some("only")));
    assert!(matches!(ended.error(), Some(Failure::Phase(_))));
    assert_eq!(ended.into_intent().unwrap().payload, "broken");
    let ended = pipeline.try_submit(intent("a/3", "panics")).unwrap().await.unwrap_err();
    assert!(matches!(ended.error(), Some(Failure::Panicked(text)) if text == "boom"));
    pipeline.try_submit(intent("a/4", "fine")).unwrap().await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 6);
    assert!(pipeline.shutdown(ms(100)).await.ledger.is_exact());
}

#[tokio::test(start_paused = true)]
async fn a_failing_key_backs_off_from_round_to_round_until_its_deadline() {
    let started = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&started);
    let phase = phase_fn(move |_: &String, _: &PhaseContext| {
        seen.lock().unwrap().push(Instant::now());
        async { Err::<(), _>(PhaseError::retryable("down")) }
    });
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("only", PhaseConfig::remote(), phase)
        .build()
        .unwrap();
    let deadline = Instant::now() + ms(60_000);
    let ticket = pipeline.try_submit(intent("a/1", "x").deadline(deadline.into_std())).unwrap();
    let ended = ticket.await.unwrap_err();
    assert_eq!(ended.ending(), Ending::Expired);
    assert!(ended.error().is_some());
    assert!(Instant::now() >= deadline && Instant::now() < deadline + ms(10));
    let rounds = started.lock().unwrap().len() as f64 / 3.0;
    assert!((4.0..=7.0).contains(&rounds), "{rounds} rounds in a minute of 1, 2, 4, 8, 16 s");
    assert!(pipeline.shutdown(ms(100)).await.ledger.is_exact());
}

/// Is done at the tenth look.
struct Look(Arc<AtomicUsize>);

impl Phase<String> for Look {
    type Out = ();

    async fn run(&self, input: &String, _: &PhaseContext) -> Result<Step<()>, PhaseError> {
        if input == "slow" && self.0.fetch_add(1, Ordering::Relaxed) < 9 {
            return Ok(Step::Again { after: ms(1000) });
        }
        Ok(Step::Done(()))
    }
}

#[tokio::test(start_paused = true)]
async fn again_releases_the_seat_and_is_no_failure() {
    let looks = Arc::new(AtomicUsize::new(0));
    let pipeline = IntentPipeline::builder::<String>(one_seat())
        .phase("look", PhaseConfig::remote(), Look(Arc::clone(&looks)))
        .build()
        .unwrap();
    let start = Instant::now();
    let slow = pipeline.try_submit(intent("a/1", "slow")).unwrap();
    settled().await;
    pipeline.try_submit(intent("a/2", "quick")).unwrap().await.unwrap();
    assert!(start.elapsed() < ms(10), "the seat was free");
    assert_eq!(slow.await.unwrap().trace.phases[0].attempts, 10);
    assert!(start.elapsed() >= ms(9000));
    assert_eq!(looks.load(Ordering::Relaxed), 10);
}

#[tokio::test(start_paused = true)]
async fn a_queued_intent_ends_at_its_deadline_by_itself() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let _running = pipeline.try_submit(intent("a/0", "first")).unwrap();
    settled().await;
    let deadline = Instant::now() + ms(500);
    let waiting = pipeline.try_submit(intent("a/1", "x").deadline(deadline.into_std())).unwrap();
    let ended = waiting.await.unwrap_err();
    assert_eq!(ended.ending(), Ending::Expired);
    assert!(Instant::now() < deadline + ms(5));
    assert_eq!(turnstile.seen(), ["first"]);
}

#[tokio::test(start_paused = true)]
async fn one_ticket_of_several_cancels_alone_and_the_last_cancels_the_run() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let of = || intent("ns/x", "x").generation(1).content(1);
    let (a, b) = (pipeline.try_submit(of()).unwrap(), pipeline.try_submit(of()).unwrap());
    settled().await;
    a.cancel();
    assert_eq!(a.await.unwrap_err().ending(), Ending::Cancelled);
    assert_eq!(pipeline.snapshot().busy, 1);
    b.cancel();
    let ended = b.await.unwrap_err();
    assert_eq!(ended.ending(), Ending::Cancelled);
    assert!(ended.into_intent().is_some());
    settled().await;
    assert_eq!(pipeline.snapshot().busy, 0);
    let queued = pipeline.try_submit(intent("ns/y", "y")).unwrap().cancel_on_drop();
    drop(queued);
    let report = pipeline.shutdown(ms(100)).await;
    assert!(report.ledger.is_exact());
    assert_eq!(report.ledger.cancelled, 3);
}

/// Ends when it is told to; never looks at anything else.
struct Stubborn(Arc<Semaphore>);

impl<In: Sync + 'static> Phase<In> for Stubborn {
    type Out = ();

    async fn run(&self, _: &In, _: &PhaseContext) -> Result<Step<()>, PhaseError> {
        self.0.acquire().await.unwrap().forget();
        Ok(Step::Done(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_critical_attempt_is_waited_for_and_then_given_up_but_keeps_its_key() {
    let go = Arc::new(Semaphore::new(0));
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("commit", PhaseConfig::remote().critical(), Stubborn(Arc::clone(&go)))
        .build()
        .unwrap();
    let start = Instant::now();
    let ticket = pipeline.try_submit(intent("ns/x", "1")).unwrap();
    settled().await;
    ticket.cancel();
    let ended = ticket.await.unwrap_err();
    assert!(ended.is_indeterminate());
    assert_eq!(ended.ending(), Ending::Failed);
    assert!((ms(10_000)..ms(10_010)).contains(&start.elapsed()), "{:?}", start.elapsed());
    let next = pipeline.try_submit(intent("ns/x", "2")).unwrap();
    settled().await;
    let snapshot = pipeline.snapshot();
    assert_eq!((snapshot.busy, snapshot.parked), (1, 1), "the key is still taken");
    go.add_permits(2);
    next.await.unwrap();
    let report = pipeline.shutdown(ms(1000)).await;
    assert!(report.ledger.is_exact());
    assert_eq!((report.ledger.failed, report.ledger.completed), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn shutdown_finishes_returns_or_lists_everything() {
    let go = Arc::new(Semaphore::new(0));
    let turnstile = Turnstile::default();
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default().with_seats(2))
        .phase("turnstile", PhaseConfig::remote(), turnstile.clone())
        .phase("commit", PhaseConfig::remote().critical(), Stubborn(Arc::clone(&go)))
        .build()
        .unwrap();
    let critical = pipeline.try_submit(intent("a/critical", "c")).unwrap();
    settled().await;
    turnstile.let_through(1);
    settled().await;
    let running = pipeline.try_submit(intent("a/running", "r")).unwrap();
    settled().await;
    let queued: Vec<_> =
        (0..5).map(|i| pipeline.try_submit(intent(&format!("a/{i}"), "q")).unwrap()).collect();
    let start = Instant::now();
    let report = pipeline.shutdown(ms(4000)).await;
    assert!(start.elapsed() <= ms(4100), "{:?}", start.elapsed());
    let mut keys: Vec<_> = report.returned.iter().map(|r| r.intent.key.to_string()).collect();
    keys.sort();
    assert_eq!(keys, ["a/0", "a/1", "a/2", "a/3", "a/4"]);
    assert_eq!(report.indeterminate.len(), 1);
    assert!(report.unresponsive.is_empty());
    assert!(report.ledger.is_exact(), "{}", report.ledger);
    assert_eq!(report.ledger.live, 0);
    assert_eq!(running.await.unwrap_err().ending(), Ending::Cancelled);
    assert!(critical.await.unwrap_err().is_indeterminate());
    for ticket in queued {
        let ended = ticket.await.unwrap_err();
        assert_eq!(ended.ending(), Ending::Returned);
        assert!(ended.into_intent().is_none(), "it is in the report");
    }
    let refused = pipeline.try_submit(intent("a/late", "l")).unwrap_err();
    assert_eq!(refused.reason(), Reason::Closed);
    go.add_permits(1);
    settled().await;
    assert_eq!(alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn submit_waits_in_class_order_and_holds_nothing_meanwhile() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat().with_queue_capacity(2));
    let urgent = |key: &str| intent(key, key).priority(Priority::Urgent);
    let _a = pipeline.try_submit(urgent("a/0")).unwrap();
    settled().await;
    let _b = pipeline.try_submit(urgent("a/1")).unwrap();
    let _c = pipeline.try_submit(urgent("a/2")).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for (n, class) in [(0, Priority::Normal), (1, Priority::Urgent)] {
        let (pipeline, order) = (pipeline.clone(), Arc::clone(&order));
        waiting.push(tokio::spawn(async move {
            let ticket = pipeline.submit(intent(&format!("a/w{n}"), "w").priority(class)).await;
            order.lock().unwrap().push(n);
            ticket.unwrap().await.unwrap();
        }));
    }
    settled().await;
    assert_eq!(pipeline.snapshot().in_room, 2);
    assert_eq!(pipeline.try_submit(urgent("a/late")).unwrap_err().reason(), Reason::QueueFull);
    turnstile.let_through(10);
    for task in waiting {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [1, 0]);
    assert!(pipeline.shutdown(ms(100)).await.ledger.is_exact());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_pipeline_ends_everything_and_leaves_no_task() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let running = pipeline.try_submit(intent("a/0", "r")).unwrap();
    settled().await;
    let queued = pipeline.try_submit(intent("a/1", "q")).unwrap();
    drop(pipeline);
    let ended = queued.await.unwrap_err();
    assert_eq!(ended.ending(), Ending::Returned);
    assert_eq!(ended.into_intent().unwrap().payload, "q");
    assert_eq!(running.await.unwrap_err().ending(), Ending::Cancelled);
    settled().await;
    assert_eq!(alive_tasks(), 0);
}

/// Its futures can be spawned on any runtime.
#[test]
fn its_futures_are_send() {
    fn send<T: Send>(_: &T) {}
    fn check(pipeline: &IntentPipeline<String, String>) {
        send(&pipeline.submit(intent("a", "b")));
        send(&pipeline.shutdown(ms(1)));
    }
    let _ = check;
}
