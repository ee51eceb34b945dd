//! Checkpoints: what was accepted outlives the pipeline.

use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use headworks::pipeline::{
    CheckpointError, Checkpoints, Ended, Loaded, MemoryCheckpoints, NotPersisted, RestoreError,
    Ticket,
};

use super::*;

/// A store whose saves and removals go through one by one, or fail, as the test says.
#[derive(Clone)]
struct Slow(Arc<SlowInner>);

struct SlowInner {
    inside: MemoryCheckpoints,
    permits: Semaphore,
    saves: AtomicUsize,
    fails: AtomicBool,
    doubts: AtomicBool,
    panics: AtomicBool,
    most: AtomicUsize,
}

impl Slow {
    fn new(permits: usize) -> Self {
        Self(Arc::new(SlowInner {
            inside: MemoryCheckpoints::new(),
            permits: Semaphore::new(permits),
            saves: AtomicUsize::new(0),
            fails: AtomicBool::new(false),
            doubts: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            most: AtomicUsize::new(usize::MAX),
        }))
    }

    fn let_through(&self, n: usize) {
        self.0.permits.add_permits(n);
    }

    /// So many from now on, and no more.
    fn only(&self, n: usize) {
        self.0.permits.forget_permits(usize::MAX >> 4);
        self.let_through(n);
    }

    fn fails(&self, fails: bool) {
        self.0.fails.store(fails, Ordering::SeqCst);
    }

    fn kept(&self) -> usize {
        self.0.inside.len()
    }
}

#[async_trait]
impl Checkpoints for Slow {
    async fn load(&self) -> Result<Loaded, CheckpointError> {
        self.fail()?;
        self.0.inside.load().await
    }

    async fn save(&self, key: &str, page: Bytes) -> Result<(), CheckpointError> {
        self.0.permits.acquire().await.unwrap().forget();
        self.0.saves.fetch_add(1, Ordering::SeqCst);
        assert!(!self.0.panics.load(Ordering::SeqCst), "a store that panics");
        self.fail()?;
        let most = self.0.most.load(Ordering::SeqCst);
        if page.len() > most {
            return Err(CheckpointError::TooLarge { bytes: page.len(), most });
        }
        self.0.inside.save(key, page).await
    }

    async fn remove(&self, key: &str) -> Result<(), CheckpointError> {
        self.0.permits.acquire().await.unwrap().forget();
        self.fail()?;
        self.0.inside.remove(key).await
    }

    async fn set_aside(&self, key: &str) -> Result<String, CheckpointError> {
        self.0.inside.set_aside(key).await
    }
}

impl Slow {
    fn fail(&self) -> Result<(), CheckpointError> {
        if self.0.fails.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("the disk is full").into());
        }
        if self.0.doubts.load(Ordering::SeqCst) {
            return Err(CheckpointError::Doubtful(std::io::Error::other("the disk is gone")));
        }
        Ok(())
    }
}

/// How often each phase ran, and what it was told to do.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn say(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Adds its name to what it gets, and says so; waits for a permit of its gate first, if it has one.
struct Step1 {
    name: &'static str,
    log: Log,
    gate: Option<Arc<Semaphore>>,
    fails: bool,
}

impl Phase<String> for Step1 {
    type Out = String;

    async fn run(&self, input: &String, _: &PhaseContext) -> Result<Step<String>, PhaseError> {
        self.log.say(format!("{}({input})", self.name));
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        if self.fails {
            return Err(PhaseError::permanent("no"));
        }
        Ok(Step::Done(format!("{input}{}", self.name)))
    }

    async fn undo(&self, input: &String, output: &String, _: &PhaseContext) {
        self.log.say(format!("undo {}({input}->{output})", self.name));
    }
}

type Pipeline = IntentPipeline<String, String>;

/// Phases a (durable), b (not), c (durable), d (not); d waits for its gate, and so may c.
struct Setup {
    log: Log,
    c: Option<Arc<Semaphore>>,
    d: Option<Arc<Semaphore>>,
    d_fails: bool,
    version: u32,
    critical: bool,
}

impl Setup {
    fn new() -> Self {
        let (c, d) = (None, None);
        Self { log: Log::default(), c, d, d_fails: false, version: 1, critical: false }
    }

    fn build(&self, store: impl Checkpoints) -> Pipeline {
        let step = |name, gate: &Option<Arc<Semaphore>>, fails| Step1 {
            name,
            log: self.log.clone(),
            gate: gate.clone(),
            fails,
        };
        let remote = PhaseConfig::remote;
        let critical = if self.critical { remote().critical() } else { remote() };
        IntentPipeline::builder::<String>(PipelineConfig::default())
            .checkpoints(store)
            .durable_phase("a", 1, remote(), step("a", &None, false))
            .phase("b", remote(), step("b", &None, false))
            .durable_phase("c", self.version, critical, step("c", &self.c, false))
            .phase("d", remote(), step("d", &self.d, self.d_fails))
            .build()
            .unwrap()
    }
}

fn closed_gate() -> Option<Arc<Semaphore>> {
    Some(Arc::new(Semaphore::new(0)))
}

fn intent(key: &str) -> Intent<String> {
    Intent::new(key, key.to_owned())
}

/// Lets everything happen that can without time passing.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    let mut future = std::pin::pin!(future);
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

async fn dropped_at_once(pipeline: Pipeline) {
    drop(pipeline);
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn no_phase_begins_before_its_intent_is_kept() {
    let (setup, store) = (Setup::new(), Slow::new(0));
    let pipeline = setup.build(store.clone());
    let early = pipeline.try_submit(intent("early")).unwrap_err();
    assert_eq!(early.reason(), Reason::Paused, "what is kept comes first");
    assert!(pipeline.restore().await.unwrap().resumed.is_empty());

    let ticket = pipeline.try_submit(intent("x")).unwrap();
    settle().await;
    assert!(setup.log.take().is_empty());
    assert!(poll_once(ticket.persisted()).is_pending());
    store.let_through(1);
    ticket.persisted().await.unwrap();
    settle().await;
    assert_eq!(setup.log.take(), ["a(x)"], "the next one waits for the checkpoint of this one");
    store.let_through(1);
    settle().await;
    assert_eq!(setup.log.take(), ["b(xa)", "c(xab)"]);
    store.let_through(1);
    assert_eq!(*ticket.await.unwrap().output, "xabcd");
    assert_eq!(setup.log.take(), ["d(xabc)"]);
    assert_eq!(store.kept(), 1);
    store.let_through(1);
    settle().await;
    assert_eq!(store.kept(), 0, "a finished one is removed");
    let checkpoints = pipeline.snapshot().checkpoints.unwrap();
    assert_eq!((checkpoints.written, checkpoints.removed), (3, 1));
    assert_eq!((checkpoints.failed, checkpoints.waiting), (0, 0));
    assert_eq!(checkpoints.times.count(), 4);
    let names: Vec<_> = pipeline.snapshot().metrics().map(|metric| metric.name).collect();
    assert!(names.contains(&"intent_pipeline_checkpoints_written_total"), "{names:?}");
}

#[tokio::test(start_paused = true)]
async fn submit_returns_once_the_intent_is_kept_and_dropped_before_it_is_cancelled() {
    let (setup, store) = (Setup::new(), Slow::new(0));
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    assert!(poll_once(pipeline.submit(intent("x"))).is_pending());
    settle().await;
    let snapshot = pipeline.snapshot();
    assert_eq!((snapshot.ledger.accepted, snapshot.ledger.cancelled), (1, 1));
    // Its page is not written, or removed again.
    store.let_through(9);
    settle().await;
    assert_eq!((store.kept(), setup.log.take().len()), (0, 0));

    let ticket = pipeline.submit(intent("y")).await.unwrap();
    assert!(poll_once(ticket.persisted()).is_ready());
    assert_eq!(*ticket.await.unwrap().output, "yabcd");
}

#[tokio::test(start_paused = true)]
async fn a_durable_phase_that_is_kept_does_not_run_again() {
    let store = MemoryCheckpoints::new();
    let mut setup = Setup { d: closed_gate(), ..Setup::new() };
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    let ticket = pipeline.submit(intent("x").generation(7).content(9)).await.unwrap();
    settle().await;
    assert_eq!(setup.log.take(), ["a(x)", "b(xa)", "c(xab)", "d(xabc)"]);
    dropped_at_once(pipeline).await;
    assert_eq!(ticket.await.unwrap_err().ending(), Ending::Cancelled);
    assert_eq!(store.len(), 1, "what did not finish stays");

    setup.d = None;
    let pipeline = setup.build(store.clone());
    let mut restored = pipeline.restore().await.unwrap();
    assert!(restored.set_aside.is_empty() && restored.refused.is_empty());
    let resumed = restored.resumed.pop().unwrap();
    assert_eq!((&*resumed.key, resumed.generation), ("x", Some(7)));
    assert_eq!(resumed.phase, Some("d"));
    let conflict = pipeline.try_submit(intent("x").generation(7).content(8)).unwrap_err();
    assert_eq!(conflict.reason(), Reason::Conflict);
    let same = pipeline.try_submit(intent("x").generation(7).content(9)).unwrap();
    assert!(poll_once(same.persisted()).is_ready());
    let done = resumed.ticket.await.unwrap();
    assert_eq!(*done.output, "xabcd");
    assert_eq!(
        done.trace.phases.iter().map(|phase| phase.attempts).collect::<Vec<_>>(),
        [0, 0, 0, 1]
    );
    assert_eq!(*same.await.unwrap().output, "xabcd");
    assert_eq!(setup.log.take(), ["d(xabc)"]);
    settle().await;
    assert!(store.is_empty());
    assert!(pipeline.restore().await.unwrap().resumed.is_empty(), "it works once");
    assert!(pipeline.snapshot().ledger.is_exact());
}

#[tokio::test(start_paused = true)]
async fn one_that_was_killed_before_its_checkpoint_runs_again() {
    let store = MemoryCheckpoints::new();
    let mut setup = Setup { c: closed_gate(), ..Setup::new() };
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    drop(pipeline.submit(intent("x")).await.unwrap());
    settle().await;
    dropped_at_once(pipeline).await;
    assert_eq!(setup.log.take(), ["a(x)", "b(xa)", "c(xab)"]);
    setup.c = None;
    let pipeline = setup.build(store.clone());
    let mut restored = pipeline.restore().await.unwrap();
    assert_eq!(restored.resumed[0].phase, Some("b"));
    assert_eq!(*restored.resumed.pop().unwrap().ticket.await.unwrap().output, "xabcd");
    assert_eq!(setup.log.take(), ["b(xa)", "c(xab)", "d(xabc)"]);
}

#[tokio::test(start_paused = true)]
async fn another_version_counts_as_none_and_what_can_t_be_read_is_set_aside() {
    let store = MemoryCheckpoints::new();
    let mut setup = Setup { d: closed_gate(), ..Setup::new() };
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    drop(pipeline.submit(intent("x")).await.unwrap());
    settle().await;
    dropped_at_once(pipeline).await;
    setup.log.take();
    (setup.d, setup.version) = (None, 2);
    let pages = store.load().await.unwrap().pages;
    let page = String::from_utf8(pages[0].1.to_vec()).unwrap();
    let odd = page.replace("\"xabc\"", "[1,2]");
    assert_ne!(page, odd);
    store.save("odd", odd.clone().into()).await.unwrap();
    store
        .save("odd payload", page.replace("\"payload\":\"x\"", "\"payload\":5").into())
        .await
        .unwrap();
    store.save("torn", page[1..].to_owned().into()).await.unwrap();
    store.save("none", r#"{"runs":[]}"#.into()).await.unwrap();
    let twice = |n| format!("{{\"runs\":[{}]}}", vec![&page[9..page.len() - 2]; n].join(","));
    assert_eq!(twice(1), page);
    store.save("many", twice(3).into()).await.unwrap();

    let pipeline = setup.build(store.clone());
    let mut restored = pipeline.restore().await.unwrap();
    let mut aside: Vec<_> =
        restored.set_aside.iter().map(|aside| aside.key.as_deref().unwrap()).collect();
    aside.sort_unstable();
    // Of an outdated version nothing is read, so that one is not odd any more.
    assert_eq!(aside, ["many", "none", "odd payload", "torn"]);
    assert_eq!(restored.resumed.len(), 2);
    let x = restored.resumed.iter().position(|resumed| &*resumed.key == "x").unwrap();
    assert_eq!(*restored.resumed.swap_remove(x).ticket.await.unwrap().output, "xabcd");
    assert!(setup.log.take().contains(&"c(xab)".to_owned()), "it ran again");
    pipeline.shutdown(ms(1_000)).await;

    store.save("odd", odd.into()).await.unwrap();
    setup.version = 1;
    let restored = setup.build(store.clone()).restore().await.unwrap();
    assert_eq!(restored.resumed.len(), 0);
    assert!(restored.set_aside[0].why.contains("phase \"c\""), "{:?}", restored.set_aside);
    assert!(store.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_a_key_that_was_superseded_is_the_newest_and_both_while_one_runs() {
    let store = MemoryCheckpoints::new();
    let mut setup = Setup { c: closed_gate(), ..Setup::new() };
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    let of =
        |generation, payload: &str| Intent::new("x", payload.to_owned()).generation(generation);
    let first = pipeline.submit(of(1, "1")).await.unwrap();
    settle().await;
    // It runs: the next one waits behind it, and gives way to a newer one.
    let second = pipeline.submit(of(2, "2")).await.unwrap();
    let third = pipeline.submit(of(3, "3")).await.unwrap();
    assert_eq!(second.await.unwrap_err().ending(), Ending::Superseded);
    settle().await;
    dropped_at_once(pipeline).await;
    drop((first, third));
    assert_eq!(store.len(), 1);
    setup.log.take();
    setup.c = None;
    let pipeline = setup.build(store.clone());
    let restored = pipeline.restore().await.unwrap();
    let found: Vec<_> = restored.resumed.iter().map(|it| (it.generation, it.phase)).collect();
    assert_eq!(found, [(Some(1), Some("b")), (Some(3), Some("a"))]);
    let mut outputs = Vec::new();
    for resumed in restored.resumed {
        outputs.push(resumed.ticket.await.unwrap().output.to_string());
    }
    assert_eq!(outputs, ["1abcd", "3abcd"], "one after the other");
    settle().await;
    assert!(store.is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_makes_way_on_disk_too_and_begins_anew() {
    let store = Slow::new(1);
    let mut setup = Setup { c: closed_gate(), ..Setup::new() };
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    let first = pipeline.submit(intent("x").generation(1)).await.unwrap();
    settle().await;
    assert_eq!(setup.log.take(), ["a(x)"]);
    // Its checkpoint is being written: it waits, and a newer one takes its place.
    let newer = pipeline.try_submit(Intent::new("x", "new".to_owned()).generation(2)).unwrap();
    store.let_through(1);
    settle().await;
    assert!(poll_once(newer.persisted()).is_pending(), "that page was the old one's");
    assert!(setup.log.take().is_empty());
    store.let_through(2);
    newer.persisted().await.unwrap();
    assert_eq!(first.await.unwrap_err().ending(), Ending::Superseded);
    settle().await;
    assert_eq!(setup.log.take(), ["a(new)", "b(newa)", "c(newab)"]);
    dropped_at_once(pipeline).await;
    drop(newer);
    setup.c = None;
    store.let_through(9);
    let pipeline = setup.build(store.clone());
    let restored = pipeline.restore().await.unwrap();
    let found: Vec<_> = restored.resumed.iter().map(|it| (it.generation, it.phase)).collect();
    assert_eq!(found, [(Some(2), Some("b"))]);
}

#[tokio::test(start_paused = true)]
async fn what_can_t_be_kept_comes_back() {
    let (setup, store) = (Setup::new(), Slow::new(99));
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    store.fails(true);
    let refused = pipeline.submit(intent("x")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::NotPersisted);
    assert!(refused.reason().is_retryable());
    assert_eq!(refused.into_inner().payload, "x");

    let ticket = pipeline.try_submit(intent("y").generation(1).content(1)).unwrap();
    let joined = pipeline.submit(intent("y").generation(1).content(1));
    let (persisted, joined) = tokio::join!(ticket.persisted(), joined);
    assert!(matches!(persisted, Err(NotPersisted::Failed(_))));
    let ended: Ended<String> = ticket.await.unwrap_err();
    assert_eq!(ended.ending(), Ending::Failed);
    assert!(matches!(ended.error(), Some(Failure::NotPersisted(_))));
    assert_eq!(ended.into_intent().unwrap().payload, "y");
    // The one that joined has no intent to give back, and tells how it ended.
    let ended = joined.unwrap().await.unwrap_err();
    assert!(matches!(ended.error(), Some(Failure::NotPersisted(_))));
    assert!(setup.log.take().is_empty(), "nothing began");

    store.fails(false);
    assert_eq!(*pipeline.submit(intent("x")).await.unwrap().await.unwrap().output, "xabcd");
    let ledger = pipeline.shutdown(ms(60_000)).await.ledger;
    assert_eq!((ledger.accepted, ledger.failed, ledger.completed), (4, 3, 1));
    assert!(ledger.is_exact());
    assert_eq!(store.kept(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_can_t_be_written_is_waited_for_and_nothing_runs_twice() {
    let (setup, store) = (Setup::new(), Slow::new(99));
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    store.only(1);
    let ticket = pipeline.submit(intent("x")).await.unwrap();
    store.fails(true);
    store.only(99);
    tokio::time::sleep(ms(5_000)).await;
    assert_eq!(setup.log.take(), ["a(x)"]);
    let failed = pipeline.snapshot().checkpoints.unwrap().failed;
    assert!((3..20).contains(&failed), "{failed}: it tries again, ever later");
    store.fails(false);
    assert_eq!(*ticket.await.unwrap().output, "xabcd");
    assert_eq!(setup.log.take(), ["b(xa)", "c(xab)", "d(xabc)"]);
    settle().await;

    // Until its deadline, if it has one.
    store.only(1);
    let ticket = pipeline.submit(intent("y").within(ms(500))).await.unwrap();
    store.fails(true);
    store.only(99);
    assert_eq!(ticket.await.unwrap_err().ending(), Ending::Expired);
    assert_eq!(setup.log.take(), ["a(y)"]);
    // What no other try can mend ends it.
    store.fails(false);
    tokio::time::sleep(ms(60_000)).await;
    assert_eq!(store.kept(), 0, "what failed to be removed was tried again");
    store.only(1);
    let ticket = pipeline.submit(intent("z")).await.unwrap();
    store.0.most.store(100, Ordering::SeqCst);
    store.only(99);
    let ended = ticket.await.unwrap_err();
    let Some(Failure::NotPersisted(error)) = ended.error() else { panic!("{ended:?}") };
    assert!(matches!(**error, CheckpointError::TooLarge { most: 100, .. }));
    assert_eq!(ended.into_intent().unwrap().payload, "z");
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(store.kept(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_is_a_store_that_failed() {
    let (setup, store) = (Setup::new(), Slow::new(99));
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    store.0.panics.store(true, Ordering::SeqCst);
    for n in 0..20 {
        let refused = pipeline.submit(intent(&n.to_string())).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::NotPersisted);
    }
    store.0.panics.store(false, Ordering::SeqCst);
    assert_eq!(*pipeline.submit(intent("x")).await.unwrap().await.unwrap().output, "xabcd");
    assert!(pipeline.shutdown(ms(100)).await.unresponsive.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_leaves_on_disk_what_did_not_finish_and_writes_what_is_done() {
    let (mut setup, store) = (Setup { c: closed_gate(), ..Setup::new() }, Slow::new(99));
    setup.critical = true;
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    let running = pipeline.submit(intent("running").generation(1)).await.unwrap();
    settle().await;
    let behind = pipeline.submit(Intent::new("running", "behind".to_owned()).generation(2));
    let behind = behind.await.unwrap();
    setup.log.take();
    // The critical attempt ends within its grace: what it made is kept, whatever its run ends as.
    let gate = setup.c.clone().unwrap();
    let (report, ()) = tokio::join!(pipeline.shutdown(ms(1_000)), async {
        tokio::time::sleep(ms(700)).await;
        gate.add_permits(1);
    });
    assert_eq!(report.returned.len(), 1);
    assert_eq!(behind.await.unwrap_err().ending(), Ending::Returned);
    assert_eq!(running.await.unwrap_err().ending(), Ending::Cancelled);
    assert_eq!(store.kept(), 1);

    setup.c = None;
    let pipeline = setup.build(store.clone());
    let restored = pipeline.restore().await.unwrap();
    let found: Vec<_> = restored.resumed.iter().map(|it| (it.generation, it.phase)).collect();
    assert_eq!(found, [(Some(1), Some("d")), (Some(2), Some("a"))]);
    for resumed in restored.resumed {
        resumed.ticket.await.unwrap();
    }
    let report = pipeline.shutdown(ms(1_000)).await;
    assert!(report.returned.is_empty());
    assert_eq!(store.kept(), 0, "a shutdown waits for the last removal");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_not_held_up_by_a_store_that_hangs() {
    let (setup, store) = (Setup::new(), Slow::new(0));
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    let ticket = pipeline.try_submit(intent("x")).unwrap();
    settle().await;
    let start = Instant::now();
    let report = pipeline.shutdown(ms(1_000)).await;
    assert!(start.elapsed() <= ms(1_100), "{:?}", start.elapsed());
    assert_eq!(report.returned.len(), 1);
    assert!(matches!(ticket.persisted().await, Err(NotPersisted::Ended)));
    assert_eq!(ticket.await.unwrap_err().ending(), Ending::Returned);
    assert!(setup.log.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn after_a_restore_what_has_input_and_output_is_undone() {
    let store = MemoryCheckpoints::new();
    let mut setup = Setup { d: closed_gate(), ..Setup::new() };
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    drop(pipeline.submit(intent("x")).await.unwrap());
    settle().await;
    dropped_at_once(pipeline).await;
    setup.log.take();
    (setup.d, setup.d_fails) = (None, true);
    let pipeline = setup.build(store.clone());
    let resumed = pipeline.restore().await.unwrap().resumed.pop().unwrap();
    let ended = resumed.ticket.await.unwrap_err();
    assert_eq!(ended.ending(), Ending::Failed);
    // Not c, whose input was b's and is lost, nor b.
    assert_eq!(setup.log.take(), ["d(xabc)", "undo a(x->xa)"]);
    assert!(ended.trace().undone().eq(["a"]));
    settle().await;
    assert!(store.is_empty());
}

#[tokio::test(start_paused = true)]
async fn deadlines_pass_between_two_lives() {
    let store = MemoryCheckpoints::new();
    let mut setup = Setup { d: closed_gate(), ..Setup::new() };
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    drop(pipeline.submit(intent("soon").within(ms(5_000))).await.unwrap());
    let later = intent("later").within(ms(60_000)).priority(Priority::Urgent);
    drop(pipeline.submit(later).await.unwrap());
    settle().await;
    dropped_at_once(pipeline).await;
    tokio::time::sleep(ms(10_000)).await;
    setup.d = None;
    let pipeline = setup.build(store.clone());
    let mut restored = pipeline.restore().await.unwrap();
    restored.resumed.sort_by_key(|resumed| Arc::clone(&resumed.key));
    let soon = restored.resumed.pop().unwrap();
    let later = restored.resumed.pop().unwrap();
    assert_eq!(soon.ticket.await.unwrap_err().ending(), Ending::Expired);
    assert_eq!(*later.ticket.await.unwrap().output, "laterabcd");
}

#[tokio::test(start_paused = true)]
async fn a_durable_last_phase_is_not_told_before_its_end_is_kept() {
    let store = Slow::new(1);
    let log = Log::default();
    let build = || {
        let step = Step1 { name: "only", log: log.clone(), gate: None, fails: false };
        IntentPipeline::builder::<String>(PipelineConfig::default())
            .checkpoints(store.clone())
            .durable_phase("only", 1, PhaseConfig::remote(), step)
            .build()
            .unwrap()
    };
    let pipeline = build();
    pipeline.restore().await.unwrap();
    let mut ticket = pipeline.submit(intent("x").generation(1)).await.unwrap();
    settle().await;
    assert_eq!(log.take().len(), 1);
    assert!(poll_once(&mut ticket).is_pending());
    // Somebody newer waits behind it and does not take its place.
    let newer = pipeline.try_submit(intent("x").generation(2)).unwrap();
    settle().await;
    store.let_through(1);
    assert_eq!(*ticket.await.unwrap().output, "xonly");
    store.let_through(9);
    assert_eq!(*newer.await.unwrap().output, "xonly");
    settle().await;
    assert_eq!(store.kept(), 0);

    // A cancel and a deadline come too late for what is done, and tell it no sooner.
    store.only(1);
    let mut ticket = pipeline.submit(intent("y").within(ms(500))).await.unwrap();
    settle().await;
    ticket.cancel();
    tokio::time::sleep(ms(5_000)).await;
    assert!(poll_once(&mut ticket).is_pending());
    store.let_through(1);
    assert_eq!(*ticket.await.unwrap().output, "yonly");
    assert_eq!(store.kept(), 0);

    // A shutdown waits for the disk as long as it can.
    store.only(1);
    let mut ticket = pipeline.submit(intent("z")).await.unwrap();
    settle().await;
    let (report, ()) = tokio::join!(pipeline.shutdown(ms(1_000)), async {
        tokio::time::sleep(ms(900)).await;
        assert!(poll_once(&mut ticket).is_pending());
        store.let_through(1);
    });
    assert_eq!((report.ledger.completed, report.ledger.live), (4, 0));
    assert_eq!(*ticket.await.unwrap().output, "zonly");
    assert_eq!(store.kept(), 0);

    store.only(1);
    let pipeline = build();
    pipeline.restore().await.unwrap();
    let ticket = pipeline.submit(intent("z")).await.unwrap();
    settle().await;
    let report = pipeline.shutdown(ms(1_000)).await;
    assert_eq!((report.ledger.completed, report.ledger.live), (1, 0));
    assert_eq!(*ticket.await.unwrap().output, "zonly");
}

/// A run of generation 1 whose first checkpoint waits for the disk, and a newer one in its place that
/// waits there, too.
async fn overtaken(setup: &Setup, store: &Slow) -> [(Pipeline, Ticket<String, String>); 2] {
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    let first = pipeline.submit(intent("x").generation(1)).await.unwrap();
    settle().await;
    assert_eq!(setup.log.take(), ["a(x)"]);
    let newer = pipeline.try_submit(Intent::new("x", "new".to_owned()).generation(2)).unwrap();
    settle().await;
    [(pipeline.clone(), first), (pipeline, newer)]
}

#[tokio::test(start_paused = true)]
async fn a_newer_one_that_is_not_kept_has_superseded_nobody() {
    for fails in [true, false] {
        let (setup, store) = (Setup::new(), Slow::new(1));
        let [(pipeline, mut first), (_, newer)] = overtaken(&setup, &store).await;
        assert!(poll_once(&mut first).is_pending());
        let snapshot = pipeline.snapshot();
        assert!(snapshot.ledger.is_exact() && snapshot.runs.is_exact(), "{}", snapshot.runs);
        assert_eq!((snapshot.ledger.live, snapshot.runs.live), (2, 2));
        if fails {
            // The page that is under way is the first one's; the next one is the newer one's.
            store.let_through(1);
            settle().await;
            store.fails(true);
            store.let_through(1);
            let ended = newer.await.unwrap_err();
            assert!(matches!(ended.error(), Some(Failure::NotPersisted(_))));
            assert_eq!(ended.into_intent().unwrap().payload, "new");
            store.fails(false);
        } else {
            newer.cancel();
            assert_eq!(newer.await.unwrap_err().ending(), Ending::Cancelled);
        }
        assert!(poll_once(&mut first).is_pending());
        store.let_through(9);
        assert_eq!(*first.await.unwrap().output, "xabcd");
        assert_eq!(setup.log.take(), ["b(xa)", "c(xab)", "d(xabc)"], "where it was");
        let report = pipeline.shutdown(ms(1_000)).await;
        assert!(report.ledger.is_exact() && report.runs.is_exact());
        assert_eq!((report.ledger.superseded, report.ledger.live), (0, 0));
        assert_eq!(store.kept(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_held_for_a_newer_one_can_be_cancelled_and_returned() {
    let (setup, store) = (Setup::new(), Slow::new(1));
    let [(pipeline, first), (_, newer)] = overtaken(&setup, &store).await;
    first.cancel();
    assert_eq!(first.await.unwrap_err().ending(), Ending::Cancelled);
    store.let_through(9);
    assert_eq!(*newer.await.unwrap().output, "newabcd");
    let report = pipeline.shutdown(ms(1_000)).await;
    assert!(report.ledger.is_exact() && report.runs.is_exact());
    assert_eq!((report.ledger.cancelled, report.ledger.completed), (1, 1));

    let (mut setup, store) = (Setup { c: closed_gate(), ..Setup::new() }, Slow::new(1));
    let [(pipeline, first), (_, newer)] = overtaken(&setup, &store).await;
    let report = pipeline.shutdown(ms(1_000)).await;
    assert!(report.ledger.is_exact() && report.runs.is_exact());
    let mut back: Vec<_> = report.returned.iter().map(|it| it.intent.generation).collect();
    back.sort_unstable();
    assert_eq!(back, [Some(1), Some(2)]);
    for ticket in [first, newer] {
        assert_eq!(ticket.await.unwrap_err().ending(), Ending::Returned);
    }
    // On disk is what was there, and only that.
    store.let_through(99);
    settle().await;
    setup.c = None;
    let restored = setup.build(store.clone()).restore().await.unwrap();
    let found: Vec<_> = restored.resumed.iter().map(|it| it.generation).collect();
    assert_eq!(found, [Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn who_makes_a_page_too_large_fails_and_undoes_and_who_waits_behind_it_does_not() {
    let (setup, store) = (Setup { c: closed_gate(), ..Setup::new() }, Slow::new(99));
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    let long = "x".repeat(2_000);
    let large = |class| Intent::new("k", long.clone()).generation(1).content(1).priority(class);
    let first = pipeline.submit(large(Priority::Low)).await.unwrap();
    settle().await;
    setup.log.take();
    // A page is under way; what comes meanwhile is on the next one.
    store.only(0);
    let joined = pipeline.try_submit(large(Priority::High)).unwrap();
    settle().await;
    let behind = pipeline.try_submit(Intent::new("k", "n".to_owned()).generation(2)).unwrap();
    setup.c.clone().unwrap().add_permits(9);
    settle().await;
    store.0.most.store(5_000, Ordering::SeqCst);
    store.let_through(99);
    for ticket in [first, joined] {
        let ended = ticket.await.unwrap_err();
        let Some(Failure::NotPersisted(error)) = ended.error() else { panic!("{ended:?}") };
        assert!(matches!(**error, CheckpointError::TooLarge { most: 5_000, .. }));
        assert!(ended.trace().undone().eq(["c", "b", "a"]));
        assert_eq!(ended.trace().phases.last().unwrap().attempts, 1, "undoing is no attempt");
    }
    assert_eq!(*behind.await.unwrap().output, "nabcd");
    let undone = setup.log.take();
    let undone: Vec<_> = undone.iter().filter(|line| line.starts_with("undo")).collect();
    assert_eq!(undone.len(), 3, "{undone:?}");
    let report = pipeline.shutdown(ms(1_000)).await;
    assert!(report.ledger.is_exact() && report.runs.is_exact());
    assert_eq!((report.ledger.failed, report.ledger.completed), (2, 1));
    assert_eq!(store.kept(), 0);
}

/// One whose second checkpoint can't be kept, and which waits for a seat to undo in.
#[tokio::test(start_paused = true)]
async fn what_is_to_be_undone_has_failed_whatever_comes() {
    for drops in [true, false] {
        let (setup, store) = (Setup::new(), Slow::new(1));
        let pipeline = setup.build(store.clone());
        pipeline.restore().await.unwrap();
        let text = "y".repeat(1_000);
        let ticket = pipeline.submit(Intent::new("k", text).within(ms(500))).await.unwrap();
        settle().await;
        assert_eq!(setup.log.take().len(), 1);
        pipeline.pause();
        store.0.most.store(2_000, Ordering::SeqCst);
        store.let_through(99);
        settle().await;
        ticket.cancel();
        tokio::time::sleep(ms(1_000)).await;
        assert_eq!(pipeline.snapshot().ledger.live, 1, "its end is settled, and not yet told");
        if drops {
            dropped_at_once(pipeline).await;
        } else {
            pipeline.resume();
            settle().await;
            assert_eq!(pipeline.snapshot().ledger.failed, 1);
        }
        let ended = ticket.await.unwrap_err();
        assert_eq!(ended.ending(), Ending::Failed);
        assert!(matches!(ended.error(), Some(Failure::NotPersisted(_))));
        assert_eq!(ended.trace().undone().count(), usize::from(!drops));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_kept_at_the_end_is_not_kept_after_it() {
    let (setup, store) = (Setup::new(), Slow::new(0));
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    // More than are written at once.
    let tickets: Vec<_> =
        (0..20).map(|n| pipeline.try_submit(intent(&n.to_string())).unwrap()).collect();
    settle().await;
    dropped_at_once(pipeline).await;
    for ticket in tickets {
        assert!(matches!(ticket.persisted().await, Err(NotPersisted::Ended)));
        assert!(ticket.await.unwrap_err().into_intent().is_some(), "it is with its submitter");
    }
    store.let_through(999);
    settle().await;
    assert_eq!(store.kept(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_costs_no_more_than_so_much() {
    let (setup, store) = (Setup::new(), Slow::new(99_999));
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    store.fails(true);
    for n in 0..50 {
        let refused = pipeline.submit(intent(&n.to_string())).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::NotPersisted);
    }
    settle().await;
    // The store says that it has nothing of them.
    assert_eq!(pipeline.snapshot().checkpoints.unwrap().waiting, 0);
    // Now it does not know: each is remembered, to be removed, but not for ever more of them.
    store.fails(false);
    store.0.doubts.store(true, Ordering::SeqCst);
    for n in 0..2_000 {
        let refused = pipeline.submit(intent(&n.to_string())).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::NotPersisted);
    }
    let checkpoints = pipeline.snapshot().checkpoints.unwrap();
    assert_eq!(checkpoints.waiting, 1_024);
    store.0.doubts.store(false, Ordering::SeqCst);
    tokio::time::sleep(ms(20_000)).await;
    assert_eq!(pipeline.snapshot().checkpoints.unwrap().waiting, 0);
    assert_eq!(*pipeline.submit(intent("x")).await.unwrap().await.unwrap().output, "xabcd");
    settle().await;
    assert_eq!(store.kept(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_has_failed_after_its_time() {
    let (setup, store) = (Setup::new(), Slow::new(0));
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    let start = Instant::now();
    let refused = pipeline.submit(intent("x")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::NotPersisted);
    assert!((ms(30_000)..ms(30_010)).contains(&start.elapsed()), "{:?}", start.elapsed());
    // Perhaps it is there: it is removed when that can be.
    assert_eq!(pipeline.snapshot().checkpoints.unwrap().waiting, 1);
    store.let_through(9);
    settle().await;
    assert_eq!(pipeline.snapshot().checkpoints.unwrap().waiting, 0);
    assert_eq!(*pipeline.submit(intent("y")).await.unwrap().await.unwrap().output, "yabcd");
}

/// Two shutdowns that cut at once, and a drop behind them: nothing twice, nothing lost.
#[tokio::test(start_paused = true)]
async fn two_cuts_give_everything_back_once() {
    let (mut setup, store) = (Setup { c: closed_gate(), ..Setup::new() }, Slow::new(999));
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    let mut tickets = Vec::new();
    for n in 0..5 {
        tickets.push(pipeline.submit(intent(&n.to_string()).generation(1)).await.unwrap());
        settle().await;
        let behind = intent(&n.to_string()).generation(2);
        tickets.push(pipeline.submit(behind).await.unwrap());
    }
    settle().await;
    let (one, other) = tokio::join!(pipeline.shutdown(ms(10)), pipeline.shutdown(ms(10)));
    let third = pipeline.shutdown(ms(10)).await;
    assert_eq!(one.returned.len() + other.returned.len() + third.returned.len(), 5);
    for ledger in [one.ledger, other.ledger, third.ledger] {
        assert!(ledger.is_exact(), "{ledger}");
        assert_eq!((ledger.accepted, ledger.returned, ledger.cancelled), (10, 5, 5));
    }
    dropped_at_once(pipeline).await;
    for ticket in tickets {
        assert!(ticket.await.is_err());
    }
    setup.c = None;
    let pipeline = setup.build(store.clone());
    let restored = pipeline.restore().await.unwrap();
    assert_eq!(restored.resumed.len(), 10, "each once, as it was");
    for resumed in restored.resumed {
        resumed.ticket.await.unwrap();
    }
}

/// Restores that overlap, also with one that is dropped on the way: everything once.
#[tokio::test(start_paused = true)]
async fn restores_that_overlap_bring_everything_back_once() {
    let store = MemoryCheckpoints::new();
    let mut setup = Setup { d: closed_gate(), ..Setup::new() };
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    for n in 0..5 {
        drop(pipeline.submit(intent(&n.to_string())).await.unwrap());
    }
    settle().await;
    dropped_at_once(pipeline).await;
    setup.log.take();
    setup.d = None;
    let pipeline = setup.build(store.clone());
    let _ = poll_once(async { pipeline.clone().restore().await.map(drop) });
    let all = tokio::join!(pipeline.restore(), pipeline.restore(), pipeline.restore());
    let all = [all.0.unwrap(), all.1.unwrap(), all.2.unwrap()];
    let resumed: usize = all.iter().map(|restored| restored.resumed.len()).sum();
    settle().await;
    let begun = setup.log.take().len();
    assert!(begun == 5 && (resumed == 5 || resumed == 0), "{begun} begun, {resumed} told");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_heavy_now_is_told_and_stays() {
    let store = MemoryCheckpoints::new();
    let setup = Setup { d: closed_gate(), ..Setup::new() };
    let pipeline = setup.build(store.clone());
    pipeline.restore().await.unwrap();
    let heavy = intent("x").weight(60.try_into().unwrap());
    drop(pipeline.submit(heavy).await.unwrap());
    dropped_at_once(pipeline).await;
    let pipeline = setup.build(store.clone());
    pipeline.set_concurrency("d", 10).unwrap();
    let mut restored = pipeline.restore().await.unwrap();
    assert!(restored.resumed.is_empty());
    let refused = restored.refused.pop().unwrap();
    assert_eq!((refused.reason(), &*refused.into_inner().payload), (Reason::TooLarge, "x"));
    assert_eq!(store.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_fails_or_is_dropped_can_be_called_again() {
    let (setup, store) = (Setup::new(), Slow::new(99));
    let pipeline = setup.build(store.clone());
    drop(pipeline.restore());
    let _ = poll_once(pipeline.restore());
    let pipeline = setup.build(store.clone());
    store.fails(true);
    assert!(matches!(pipeline.restore().await, Err(RestoreError::Store(_))));
    assert_eq!(pipeline.try_submit(intent("x")).unwrap_err().reason(), Reason::Paused);
    store.fails(false);
    pipeline.restore().await.unwrap();
    assert_eq!(*pipeline.submit(intent("x")).await.unwrap().await.unwrap().output, "xabcd");

    let closed = setup.build(store.clone());
    closed.close();
    assert!(matches!(closed.restore().await, Err(RestoreError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn without_checkpoints_nothing_is_kept_and_a_durable_phase_needs_them() {
    let step = || phase_fn(|n: &u32, _| std::future::ready(Ok(*n)));
    let pipeline = IntentPipeline::builder::<u32>(PipelineConfig::default())
        .phase("only", PhaseConfig::local(), step())
        .build()
        .unwrap();
    assert!(pipeline.restore().await.unwrap().resumed.is_empty());
    let ticket: Ticket<u32, u32> = pipeline.submit(Intent::new("x", 1)).await.unwrap();
    assert!(matches!(ticket.persisted().await, Err(NotPersisted::NoCheckpoints)));
    assert!(pipeline.snapshot().checkpoints.is_none());
    assert_eq!(*ticket.await.unwrap().output, 1);
    let wrong = IntentPipeline::builder::<u32>(PipelineConfig::default())
        .durable_phase("only", 1, PhaseConfig::local(), step())
        .build();
    assert!(wrong.unwrap_err().to_string().contains("pipeline.checkpoints"));
}
