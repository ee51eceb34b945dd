//! How it ends: dropped futures, panics of the user's, deadlines, shutdowns, dead runtimes.

use std::task::{Wake, Waker};

use headworks::pipeline::Ticket;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_submit_polled_once_and_dropped_leaves_nothing_behind() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat().with_queue_capacity(2));
    let running = pipeline.try_submit(intent("a/0", "r")).unwrap();
    settled().await;
    let queued = ["a/1", "a/5"].map(|key| pipeline.try_submit(intent(key, "q")).unwrap());
    for _ in 0..10 {
        let mut waiting = Box::pin(pipeline.submit(intent("a/2", "w")));
        assert!(poll_once(waiting.as_mut()).await.is_none());
        assert_eq!(pipeline.snapshot().in_room, 1);
        drop(waiting);
        assert_eq!(pipeline.snapshot().in_room, 0);
    }
    let mut gone = Box::pin(pipeline.submit(intent("a/3", "w")));
    assert!(poll_once(gone.as_mut()).await.is_none());
    let next = pipeline.clone();
    let next = tokio::spawn(async move { next.submit(intent("a/4", "w")).await.unwrap().await });
    settled().await;
    turnstile.let_through(1);
    settled().await;
    // The head was woken for the place and is dropped instead: the next one gets it.
    drop(gone);
    turnstile.let_through(9);
    next.await.unwrap().unwrap();
    for ticket in [running].into_iter().chain(queued) {
        ticket.await.unwrap();
    }
    let report = pipeline.shutdown(ms(100)).await;
    assert_eq!((report.ledger.accepted, report.ledger.completed), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_polled_once_and_dropped_has_closed_and_can_be_called_again() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let running = pipeline.try_submit(intent("a/0", "r")).unwrap();
    settled().await;
    let queued = pipeline.try_submit(intent("a/1", "q")).unwrap();
    assert!(poll_once(Box::pin(pipeline.shutdown(ms(100))).as_mut()).await.is_none());
    let refused = pipeline.try_submit(intent("a/2", "l")).unwrap_err();
    assert_eq!(refused.reason(), Reason::Closed);
    let report = pipeline.shutdown(ms(100)).await;
    assert_eq!(report.returned.len(), 1);
    assert!(report.ledger.is_exact());
    assert_eq!(running.await.unwrap_err().ending(), Ending::Cancelled);
    assert!(queued.await.unwrap_err().into_intent().is_none());
    let again = pipeline.shutdown(ms(100)).await;
    assert!(again.returned.is_empty());
    assert_eq!(again.ledger, report.ledger);
}

#[tokio::test(start_paused = true)]
async fn after_a_dropped_shutdown_a_dropped_pipeline_gives_the_intents_to_their_tickets() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let _running = pipeline.try_submit(intent("a/0", "r")).unwrap();
    settled().await;
    let queued = pipeline.try_submit(intent("a/1", "q")).unwrap();
    assert!(poll_once(Box::pin(pipeline.shutdown(ms(100))).as_mut()).await.is_none());
    drop(pipeline);
    let ended = queued.await.unwrap_err();
    assert_eq!(ended.ending(), Ending::Returned);
    assert_eq!(ended.into_intent().unwrap().payload, "q");
}

#[tokio::test(start_paused = true)]
async fn a_ticket_polled_once_and_dropped_detaches() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let mut ticket = pipeline.try_submit(intent("a/0", "r")).unwrap();
    assert!(poll_once(std::pin::Pin::new(&mut ticket)).await.is_none());
    drop(ticket);
    turnstile.let_through(1);
    settled().await;
    assert_eq!(pipeline.shutdown(ms(100)).await.ledger.completed, 1);
}

#[tokio::test(start_paused = true)]
async fn joiners_that_are_dropped_stay_interested_and_counted() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let _running = pipeline.try_submit(intent("a/0", "r")).unwrap();
    settled().await;
    let of = || pipeline.try_submit(intent("a/1", "q").generation(1).content(1)).unwrap();
    let held: Vec<_> = (0..1000).map(|i| (i, of())).filter(|(i, _)| i % 100 == 0).collect();
    held[0].1.cancel();
    assert_eq!(pipeline.snapshot().parked + pipeline.snapshot().queued[1], 1);
    let report = pipeline.shutdown(ms(0)).await;
    assert_eq!((report.returned.len(), report.returned[0].tickets), (1, 999));
    assert_eq!((report.ledger.returned, report.ledger.cancelled), (999, 2));
    for (i, ticket) in held {
        let ending = if i == 0 { Ending::Cancelled } else { Ending::Returned };
        assert_eq!(ticket.await.unwrap_err().ending(), ending);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_inside_an_attempt_drops_it_and_says_so() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let deadline = (Instant::now() + ms(500)).into_std();
    let ended = pipeline.try_submit(intent("a/0", "r").deadline(deadline)).unwrap().await;
    let ended = ended.unwrap_err();
    assert_eq!(ended.ending(), Ending::Failed);
    assert!(matches!(ended.error(), Some(Failure::TimedOut)), "{ended:?}");
    assert_eq!(pipeline.snapshot().busy, 0);
}

#[tokio::test(start_paused = true)]
async fn a_later_deadline_that_joins_a_critical_attempt_moves_the_end_of_its_grace() {
    let go = Arc::new(Semaphore::new(0));
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("commit", PhaseConfig::remote().critical(), Stubborn(Arc::clone(&go)))
        .build()
        .unwrap();
    let start = Instant::now();
    let by = |after| {
        let deadline = (start + ms(after)).into_std();
        intent("ns/x", "1").generation(1).content(1).deadline(deadline)
    };
    let first = pipeline.try_submit(by(1000)).unwrap();
    settled().await;
    let second = pipeline.try_submit(by(20_000)).unwrap();
    for ticket in [first, second] {
        assert!(ticket.await.unwrap_err().is_indeterminate());
        assert!((ms(30_000)..ms(30_010)).contains(&start.elapsed()), "{:?}", start.elapsed());
    }
    go.add_permits(1);
}

/// Says when it was told to come to its end, and goes on until it is let go.
struct Listens(Arc<Semaphore>, Arc<Mutex<Vec<Duration>>>);

impl Phase<String> for Listens {
    type Out = ();

    async fn run(&self, _: &String, cx: &PhaseContext) -> Result<Step<()>, PhaseError> {
        let start = Instant::now();
        assert!(!cx.is_cancelled());
        cx.cancelled().await;
        assert!(cx.is_cancelled());
        self.1.lock().unwrap().push(start.elapsed());
        self.0.acquire().await.unwrap().forget();
        Ok(Step::Done(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_critical_attempt_is_told_at_its_timeout_its_deadline_and_its_cancel() {
    let told = Arc::<Mutex<Vec<Duration>>>::default();
    let go = Arc::new(Semaphore::new(10));
    let commit = Listens(Arc::clone(&go), Arc::clone(&told));
    let phase = PhaseConfig::remote().critical().with_timeout(ms(5000));
    let after = PhaseConfig::remote().critical().with_timeout(ms(1000));
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("commit", phase, commit)
        .phase(
            "after",
            after,
            phase_fn(|(): &(), cx: &PhaseContext| std::future::ready(Ok(cx.is_cancelled()))),
        )
        .build()
        .unwrap();
    let by = |ms_ahead| (Instant::now() + ms(ms_ahead)).into_std();

    let done = pipeline.try_submit(intent("ns/x", "timeout")).unwrap().await.unwrap();
    assert!(!*done.output, "what one attempt was told is not said to the next");
    let versioned = || intent("ns/x", "deadline").generation(1).content(1);
    let late = pipeline.try_submit(versioned().deadline(by(1000))).unwrap();
    let ended = late.await.unwrap_err();
    assert_eq!(ended.ending(), Ending::Expired, "before the phase after");
    let first = pipeline.try_submit(versioned().deadline(by(1000))).unwrap();
    settled().await;
    let later = pipeline.try_submit(versioned().deadline(by(2000))).unwrap();
    assert_eq!(first.await.unwrap_err().ending(), Ending::Expired);
    assert_eq!(later.await.unwrap_err().ending(), Ending::Expired);
    let cancelled = pipeline.try_submit(intent("ns/x", "cancel")).unwrap();
    tokio::time::sleep(ms(500)).await;
    cancelled.cancel();
    assert_eq!(cancelled.await.unwrap_err().ending(), Ending::Cancelled);

    let told: Vec<_> = told.lock().unwrap().iter().map(Duration::as_secs_f64).collect();
    for (at, expected) in told.iter().zip([5.0, 1.0, 2.0, 0.5]) {
        assert!((expected..expected + 0.01).contains(at), "{told:?}");
    }
    assert_eq!(told.len(), 4);
    assert!(pipeline.shutdown(ms(100)).await.ledger.is_exact());
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_cannot_be_in_time_leaves_the_one_it_would_replace() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let _running = pipeline.try_submit(intent("a/0", "r")).unwrap();
    settled().await;
    let queued = pipeline.try_submit(intent("a/1", "old")).unwrap();
    let late = intent("a/1", "late").deadline(Instant::now().into_std());
    let refused = pipeline.try_submit(late).unwrap_err();
    assert_eq!(refused.reason(), Reason::DeadlineInfeasible);
    turnstile.let_through(2);
    assert_eq!(*queued.await.unwrap().output, "old");
}

#[tokio::test(start_paused = true)]
async fn huge_durations_mean_never() {
    let phase = PhaseConfig::remote().with_timeout(Duration::MAX);
    let config = PipelineConfig::default().with_critical_grace(Duration::MAX);
    struct Patient;
    impl Phase<String> for Patient {
        type Out = ();
        async fn run(&self, input: &String, cx: &PhaseContext) -> Result<Step<()>, PhaseError> {
            match (input.as_str(), cx.attempt()) {
                ("again", _) => Ok(Step::Again { after: Duration::MAX }),
                ("busy", 1) => Err(PhaseError::overloaded("busy", Some(Duration::MAX))),
                _ => Ok(Step::Done(())),
            }
        }
    }
    let pipeline = IntentPipeline::builder::<String>(config)
        .phase("patient", phase.clone(), Patient)
        .phase("commit", phase.critical(), Stubborn(Arc::new(Semaphore::new(100))))
        .build()
        .unwrap();
    let far = Instant::now().into_std() + Duration::from_secs(1 << 40);
    pipeline.try_submit(intent("", "fine").deadline(far)).unwrap().await.unwrap();
    pipeline.submit(intent("a/", "busy").deadline(far)).await.unwrap().await.unwrap();
    let again = pipeline.try_submit(intent("/", "again").deadline(far)).unwrap();
    tokio::time::sleep(ms(100_000)).await;
    assert_eq!(pipeline.snapshot().parked, 1);
    again.cancel();
    assert_eq!(again.await.unwrap_err().ending(), Ending::Cancelled);
    let report = pipeline.shutdown(Duration::MAX).await;
    assert!(report.ledger.is_exact());
}

/// The last instant but a second that the clock can say.
fn last_instant() -> std::time::Instant {
    let (mut last, mut step) = (Instant::now().into_std(), Duration::from_secs(1 << 62));
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
    let far = last - Instant::now().into_std();
    let go = Arc::new(Semaphore::new(0));
    let config = one_seat().with_queue_capacity(1).with_critical_grace(far);
    let pipeline = IntentPipeline::builder::<String>(config)
        .phase(
            "listen",
            PhaseConfig::remote().with_timeout(far),
            phase_fn(|_: &String, _: &PhaseContext| async {
                tokio::time::sleep(ms(1)).await;
                Ok(())
            }),
        )
        .phase(
            "commit",
            PhaseConfig::remote().critical().with_timeout(far),
            Stubborn(Arc::clone(&go)),
        )
        .build()
        .unwrap();
    let by = |key| intent(key, "x").deadline(last);
    let running = pipeline.try_submit(by("a/0")).unwrap();
    settled().await;
    let queued = pipeline.try_submit(by("a/1")).unwrap();
    let mut waits = std::pin::pin!(pipeline.submit(by("a/2")));
    assert!(poll_once(waits.as_mut()).await.is_none());
    tokio::time::sleep(ms(5)).await;
    go.add_permits(3);
    running.await.unwrap();
    queued.await.unwrap();
    waits.await.unwrap().await.unwrap();
    assert!(pipeline.shutdown(far).await.ledger.is_exact());
}

/// Panics when it is dropped.
struct Bomb(bool);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 && !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

impl std::fmt::Debug for Bomb {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("shown");
    }
}

impl std::fmt::Display for Bomb {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("shown");
    }
}

impl std::error::Error for Bomb {}

#[tokio::test(start_paused = true)]
async fn values_that_panic_when_dropped_cost_no_worker_and_no_count() {
    let gate = Arc::new(Semaphore::new(0));
    let turn = Arc::clone(&gate);
    let phase = phase_fn(move |payload: &(Bomb, u64), _: &PhaseContext| {
        let (turn, kind) = (Arc::clone(&turn), payload.1);
        async move {
            turn.acquire().await.unwrap().forget();
            match kind {
                0 => Ok(Bomb(true)),
                1 => Err(PhaseError::permanent(Bomb(true))),
                2 => std::panic::panic_any(Bomb(true)),
                _ => Ok(Bomb(false)),
            }
        }
    });
    let pipeline = IntentPipeline::builder::<(Bomb, u64)>(one_seat())
        .phase("only", PhaseConfig::remote(), phase)
        .build()
        .unwrap();
    let idle = alive_tasks();
    for round in 0..20 {
        for kind in 0..3 {
            let key = format!("a/{round}.{kind}");
            drop(pipeline.try_submit(Intent::new(key, (Bomb(true), kind))).unwrap());
            drop(pipeline.try_submit(Intent::new("same", (Bomb(true), 0))).unwrap());
        }
    }
    gate.add_permits(1000);
    settled().await;
    let fine = pipeline.try_submit(Intent::new("a/fine", (Bomb(false), 9))).unwrap();
    fine.await.unwrap();
    assert_eq!(alive_tasks(), idle);
    let ledger = pipeline.shutdown(ms(100)).await.ledger;
    assert!(ledger.is_exact(), "{ledger}");
    assert_eq!((ledger.failed, ledger.live), (40, 0));
    assert_eq!(ledger.accepted, 121);
}

struct Loud;

impl Wake for Loud {
    fn wake(self: Arc<Self>) {
        panic!("woken");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_costs_no_worker_and_no_other_ticket() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let of = || intent("ns/x", "x").generation(1).content(1);
    let mut loud = pipeline.try_submit(of()).unwrap();
    let waker = Waker::from(Arc::new(Loud));
    let mut cx = std::task::Context::from_waker(&waker);
    assert!(std::pin::Pin::new(&mut loud).poll(&mut cx).is_pending());
    let joined = pipeline.try_submit(of()).unwrap();
    turnstile.let_through(2);
    joined.await.unwrap();
    loud.await.unwrap();
    pipeline.try_submit(intent("ns/y", "y")).unwrap().await.unwrap();
}

/// What a phase waits with may be the user's own, and looks at the pipeline when it is woken.
struct Curious(IntentPipeline<String, ()>);

impl Wake for Curious {
    fn wake(self: Arc<Self>) {
        assert!(self.0.snapshot().ledger.is_exact());
    }
}

#[derive(Default)]
struct Nested(Arc<Mutex<Option<Waker>>>);

impl Phase<String> for Nested {
    type Out = ();

    async fn run(&self, _: &String, cx: &PhaseContext) -> Result<Step<()>, PhaseError> {
        let inner = self.0.lock().unwrap().clone().unwrap();
        let mut cancelled = Box::pin(cx.cancelled());
        std::future::poll_fn(|_| {
            cancelled.as_mut().poll(&mut std::task::Context::from_waker(&inner))
        })
        .await;
        Ok(Step::Done(()))
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_the_users_is_woken_under_the_lock() {
    let waker = Arc::new(Mutex::new(None));
    let pipeline = IntentPipeline::builder::<String>(one_seat())
        .phase("nested", PhaseConfig::remote(), Nested(Arc::clone(&waker)))
        .build()
        .unwrap();
    *waker.lock().unwrap() = Some(Waker::from(Arc::new(Curious(pipeline.clone()))));
    let ticket = pipeline.try_submit(intent("a/1", "x")).unwrap();
    settled().await;
    ticket.cancel();
    assert_eq!(ticket.await.unwrap_err().ending(), Ending::Cancelled);
    *waker.lock().unwrap() = None;
}

/// Blocks its thread until it is told to go on.
struct Blocking {
    begun: Arc<Semaphore>,
    go_on: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Phase<String> for Blocking {
    type Out = ();

    async fn run(&self, input: &String, _: &PhaseContext) -> Result<Step<()>, PhaseError> {
        if input == "blocks" {
            self.begun.add_permits(1);
            self.go_on.lock().unwrap().recv().unwrap();
        }
        Ok(Step::Done(()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_never_yields_is_listed_and_delays_nobody() {
    let begun = Arc::new(Semaphore::new(0));
    let (go, go_on) = std::sync::mpsc::channel();
    let phase = Blocking { begun: Arc::clone(&begun), go_on: Mutex::new(go_on) };
    let pipeline = IntentPipeline::builder::<String>(one_seat())
        .phase("blocking", PhaseConfig::remote(), phase)
        .build()
        .unwrap();
    let blocked = pipeline.try_submit(intent("a/blocked", "blocks")).unwrap();
    begun.acquire().await.unwrap().forget();
    let queued = pipeline.try_submit(intent("a/queued", "x")).unwrap();
    let report = pipeline.shutdown(ms(20)).await;
    assert_eq!(report.unresponsive.iter().map(|key| &**key).collect::<Vec<_>>(), ["a/blocked"]);
    assert!(report.indeterminate.is_empty());
    assert!(report.ledger.is_exact());
    assert_eq!((report.ledger.live, report.ledger.returned), (1, 1));
    assert_eq!(queued.await.unwrap_err().ending(), Ending::Returned);
    go.send(()).unwrap();
    blocked.await.unwrap();
    let again = pipeline.shutdown(ms(5000)).await;
    assert!(again.unresponsive.is_empty());
    assert_eq!((again.ledger.live, again.ledger.completed), (0, 1));
}

#[test]
fn the_end_of_its_runtime_ends_everything() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (home, away) = (runtime(), runtime());
    let turnstile = Turnstile::default();
    let (pipeline, running, critical, queued): (_, Ticket<_, _>, _, Vec<_>) =
        home.block_on(async {
            let pipeline =
                IntentPipeline::builder::<String>(PipelineConfig::default().with_seats(2))
                    .phase("turnstile", PhaseConfig::remote(), turnstile.clone())
                    .phase(
                        "commit",
                        PhaseConfig::remote().critical(),
                        Stubborn(Arc::new(Semaphore::new(0))),
                    )
                    .build()
                    .unwrap();
            let critical = pipeline.try_submit(intent("a/critical", "c")).unwrap();
            settled().await;
            turnstile.let_through(1);
            settled().await;
            let running = pipeline.try_submit(intent("a/running", "r")).unwrap();
            settled().await;
            let queued = |i| pipeline.try_submit(intent(&format!("a/{i}"), "q")).unwrap();
            let queued = (0..5).map(queued).collect();
            (pipeline, running, critical, queued)
        });
    drop(home);
    away.block_on(async {
        let running = running.await.unwrap_err();
        assert_eq!(running.ending(), Ending::Cancelled);
        assert_eq!(running.into_intent().unwrap().payload, "r", "nobody else has it any more");
        assert!(critical.await.unwrap_err().is_indeterminate());
        for ticket in queued {
            let ended = ticket.await.unwrap_err();
            assert_eq!(ended.ending(), Ending::Returned);
            assert_eq!(ended.into_intent().unwrap().payload, "q");
        }
        let refused = pipeline.try_submit(intent("a/late", "l")).unwrap_err();
        assert_eq!(refused.reason(), Reason::Closed);
        let report = pipeline.shutdown(ms(10)).await;
        assert!(report.ledger.is_exact(), "{}", report.ledger);
        assert_eq!(report.ledger.live, 0);
    });
}

/// Whoever of them takes the intents: each comes back once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_shutdowns_at_once_return_every_intent_between_them() {
    for _ in 0..200 {
        let pipeline = Arc::new(through(&Turnstile::default(), one_seat()));
        for i in 0..50 {
            drop(pipeline.try_submit(intent(&format!("k/{i}"), "x")).unwrap());
        }
        let other = Arc::clone(&pipeline);
        let other = tokio::spawn(async move { other.shutdown(ms(1000)).await });
        let one = pipeline.shutdown(ms(0)).await;
        let both = [one, other.await.unwrap()];
        let returned: usize = both.iter().map(|report| report.returned.len()).sum();
        let ledger = both[1].ledger;
        assert_eq!((returned as u64, ledger.live), (ledger.returned, 0), "{ledger}");
        assert!(ledger.returned >= 49, "{ledger}");
    }
}

/// Who stops an attempt holds nothing of it: whatever ends first, the intent comes back by value.
#[test]
fn an_intent_comes_back_when_its_cancel_crosses_its_end() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (begun, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (begins, opens) = (Arc::clone(&begun), Arc::clone(&gate));
        let fails = phase_fn(move |_: &String, _: &PhaseContext| {
            begins.add_permits(1);
            let opens = Arc::clone(&opens);
            async move {
                opens.acquire().await.unwrap().forget();
                Err::<(), _>(PhaseError::permanent("no"))
            }
        });
        let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
            .phase("fails", PhaseConfig::remote(), fails)
            .build()
            .unwrap();
        for i in 0..3_000 {
            let ticket = pipeline.try_submit(intent(&format!("a/{i}"), "x")).unwrap();
            begun.acquire().await.unwrap().forget();
            let opens = Arc::clone(&gate);
            let opener = tokio::spawn(async move { opens.add_permits(1) });
            ticket.cancel();
            let ended = ticket.await.unwrap_err();
            assert!(matches!(ended.ending(), Ending::Cancelled | Ending::Failed), "{ended:?}");
            assert_eq!(ended.into_intent().unwrap().payload, "x", "{i}");
            opener.await.unwrap();
            // Nobody may have come through it.
            gate.forget_permits(1);
        }
    });
}
