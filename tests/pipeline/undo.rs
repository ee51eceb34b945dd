//! What is taken back when a later phase fails for good, how long an attempt may take of the
//! deadline, and phases chosen at run time.

use std::time::Duration;

use headworks::pipeline::DynPhase;

use super::*;

type Book = Arc<Mutex<Vec<String>>>;

/// Appends its name; undone, it says what it takes back from what.
struct Appends {
    name: &'static str,
    book: Book,
    undo: Undo,
}

#[derive(Clone, Copy, PartialEq)]
enum Undo {
    Says,
    Panics,
    Hangs,
}

impl Phase<String> for Appends {
    type Out = String;

    async fn run(&self, input: &String, _: &PhaseContext) -> Result<Step<String>, PhaseError> {
        Ok(Step::Done(format!("{input}{}", self.name)))
    }

    async fn undo(&self, input: &String, output: &String, cx: &PhaseContext) {
        tokio::task::yield_now().await;
        self.book.lock().unwrap().push(format!("{}: {output} back to {input}", cx.key()));
        match self.undo {
            Undo::Says => {}
            Undo::Panics => std::panic::panic_any("undo"),
            Undo::Hangs => std::future::pending().await,
        }
    }
}

/// Ends as it is told.
#[derive(Clone, Copy)]
enum End {
    Permanent,
    Panic,
    PanicBeforeTheFuture,
    Retryable,
    Hang,
    Done,
}

struct Ends(End);

impl Phase<String> for Ends {
    type Out = ();

    fn run(
        &self,
        _: &String,
        cx: &PhaseContext,
    ) -> impl Future<Output = Result<Step<()>, PhaseError>> + Send {
        let (end, attempt) = (self.0, cx.attempt());
        if matches!(end, End::PanicBeforeTheFuture) {
            std::panic::panic_any("at once");
        }
        async move {
            tokio::task::yield_now().await;
            match end {
                End::Panic => std::panic::panic_any("later"),
                End::Retryable if attempt < 3 => Err(PhaseError::retryable("down")),
                End::Hang => std::future::pending().await,
                End::Retryable | End::Done => Ok(Step::Done(())),
                End::Permanent | End::PanicBeforeTheFuture => Err(PhaseError::permanent("no")),
            }
        }
    }
}

/// Three that append and one that ends; the middle one undoes as it is told.
fn saga(end: End, middle: Undo, last: PhaseConfig) -> (IntentPipeline<String, ()>, Book) {
    let book = Book::default();
    let appends = |name, undo| Appends { name, book: Arc::clone(&book), undo };
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("a", PhaseConfig::remote(), appends("a", Undo::Says))
        .phase("b", PhaseConfig::remote().with_timeout(ms(500)), appends("b", middle))
        .phase("c", PhaseConfig::remote(), DynPhase::new(appends("c", Undo::Says)))
        .phase("end", last, Ends(end))
        .build()
        .unwrap();
    (pipeline, book)
}

async fn said(end: End, middle: Undo) -> (Vec<String>, Vec<&'static str>, Option<Ending>) {
    let (pipeline, book) = saga(end, middle, PhaseConfig::remote());
    let ended = pipeline.try_submit(intent("k", ">")).unwrap().await;
    let undone = match &ended {
        Ok(done) => done.trace.undone().collect::<Vec<_>>(),
        Err(ended) => ended.trace().undone().collect(),
    };
    assert!(pipeline.shutdown(ms(100)).await.ledger.is_exact());
    let book = book.lock().unwrap().clone();
    (book, undone, ended.err().map(|ended| ended.ending()))
}

#[tokio::test(start_paused = true)]
async fn a_late_failure_for_good_undoes_what_went_before_the_last_one_first() {
    let all = ["k: >abc back to >ab", "k: >ab back to >a", "k: >a back to >"];
    for end in [End::Permanent, End::Panic, End::PanicBeforeTheFuture] {
        let (book, undone, ending) = said(end, Undo::Says).await;
        assert_eq!(book, all);
        assert_eq!((undone, ending), (vec!["c", "b", "a"], Some(Ending::Failed)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_repeated_or_well_undoes_nothing() {
    for end in [End::Done, End::Retryable] {
        assert_eq!(said(end, Undo::Says).await, (vec![], vec![], None));
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_panics_or_hangs_ends_alone() {
    for middle in [Undo::Panics, Undo::Hangs] {
        let start = Instant::now();
        let (book, undone, _) = said(End::Permanent, middle).await;
        assert_eq!((book.len(), undone), (3, vec!["c", "a"]));
        let hung = if middle == Undo::Hangs { ms(500)..ms(510) } else { ms(0)..ms(10) };
        assert!(hung.contains(&start.elapsed()), "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_a_cancel_and_an_unknown_end_undo_nothing() {
    let (pipeline, book) = saga(End::Hang, Undo::Says, PhaseConfig::remote());
    let late = pipeline.try_submit(intent("late", ">").within(ms(50))).unwrap();
    let cancelled = pipeline.try_submit(intent("cancelled", ">")).unwrap();
    settled().await;
    cancelled.cancel();
    assert_eq!(cancelled.await.unwrap_err().ending(), Ending::Cancelled);
    assert_eq!(late.await.unwrap_err().ending(), Ending::Failed);
    let config = PhaseConfig::remote().critical().with_timeout(ms(100));
    let (critical, other) = saga(End::Hang, Undo::Says, config);
    let unknown = critical.try_submit(intent("unknown", ">")).unwrap().await.unwrap_err();
    assert!(unknown.is_indeterminate());
    assert!(book.lock().unwrap().is_empty() && other.lock().unwrap().is_empty());
}

/// While it undoes, a run has its key, its seat and its ticket; a cancel comes too late to stop it.
#[tokio::test(start_paused = true)]
async fn an_undo_is_part_of_its_run() {
    let (pipeline, book) = saga(End::Permanent, Undo::Hangs, PhaseConfig::remote());
    let ticket = pipeline.try_submit(intent("k", ">")).unwrap();
    tokio::time::sleep(ms(100)).await;
    assert_eq!(pipeline.snapshot().busy, 1);
    let next = pipeline.try_submit(intent("k", "next >")).unwrap();
    ticket.cancel();
    settled().await;
    assert_eq!(book.lock().unwrap().len(), 2, "the second run waits for the first");
    let first = ticket.await.unwrap_err();
    assert_eq!((first.ending(), first.is_indeterminate()), (Ending::Failed, false));
    assert!(first.trace().undone().eq(["c", "a"]));
    assert!(next.await.unwrap_err().trace().undone().eq(["c", "a"]));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_out_of_time_lists_what_still_undoes() {
    let (pipeline, _book) = saga(End::Permanent, Undo::Hangs, PhaseConfig::remote());
    let ticket = pipeline.try_submit(intent("k", ">")).unwrap();
    settled().await;
    let report = pipeline.shutdown(ms(100)).await;
    assert_eq!(report.unresponsive, ["k".into()]);
    assert!(report.ledger.is_exact(), "{}", report.ledger);
    drop(ticket);
    tokio::time::sleep(ms(1000)).await;
    assert_eq!(alive_tasks(), 0);
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::panic_any("dropped");
    }
}

/// Its first attempt and its undo hang, and panic when they are dropped.
struct Hangs;

impl Phase<String> for Hangs {
    type Out = String;

    async fn run(&self, input: &String, cx: &PhaseContext) -> Result<Step<String>, PhaseError> {
        if cx.attempt() == 1 {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
        }
        Ok(Step::Done(input.clone()))
    }

    async fn undo(&self, _: &String, _: &String, _: &PhaseContext) {
        let _bomb = Bomb;
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_what_is_dropped_changes_no_ending_and_skips_no_undo() {
    let book = Book::default();
    let first = Appends { name: "a", book: Arc::clone(&book), undo: Undo::Says };
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("a", PhaseConfig::remote(), first)
        .phase("hangs", PhaseConfig::remote().with_timeout(ms(100)), Hangs)
        .phase("end", PhaseConfig::remote(), Ends(End::Permanent))
        .build()
        .unwrap();
    let ended = pipeline.try_submit(intent("k", ">")).unwrap().await.unwrap_err();
    assert_eq!(ended.phase(), Some("end"), "a timeout is tried again, also a loud one");
    assert!(ended.trace().undone().eq(["a"]));
    assert_eq!(book.lock().unwrap().len(), 1);
}

struct Slow(Duration);

impl Phase<String> for Slow {
    type Out = u32;

    async fn run(&self, _: &String, cx: &PhaseContext) -> Result<Step<u32>, PhaseError> {
        if cx.attempt() == 1 {
            cx.cancelled().await;
            tokio::time::sleep(self.0).await;
        }
        Ok(Step::Done(cx.attempt()))
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_takes_its_share_of_the_deadline_and_leaves_the_rest_to_the_next() {
    let with = |phase: PhaseConfig| {
        let slow = Slow(ms(3_600_000));
        IntentPipeline::builder::<String>(PipelineConfig::default())
            .phase("slow", phase, slow)
            .build()
            .unwrap()
    };
    let share = PhaseConfig::remote().with_deadline_share(0.25);
    let start = Instant::now();
    let done = with(share.clone()).try_submit(intent("k", "").within(ms(4000))).unwrap().await;
    assert_eq!(*done.unwrap().output, 2, "the first one was dropped at a quarter of its time");
    assert!((ms(1000)..ms(1200)).contains(&start.elapsed()), "{:?}", start.elapsed());
    // The timeout where that is sooner; without a deadline nothing else.
    for (phase, within) in [(share.clone().with_timeout(ms(100)), Some(ms(4000))), (share, None)] {
        let start = Instant::now();
        let asked = match within {
            Some(within) => intent("k", "").within(within),
            None => intent("k", ""),
        };
        let done = with(phase).try_submit(asked).unwrap().await;
        assert_eq!(*done.unwrap().output, 2);
        let expected = if within.is_some() { ms(100) } else { ms(60_000) };
        assert!((expected..expected + ms(200)).contains(&start.elapsed()));
    }
    // A critical attempt is told then.
    let start = Instant::now();
    let critical = PhaseConfig::remote().critical().with_deadline_share(0.5);
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("slow", critical, Slow(ms(10)))
        .build()
        .unwrap();
    let done = pipeline.try_submit(intent("k", "").within(ms(1000))).unwrap().await.unwrap();
    assert_eq!(*done.output, 1);
    assert!((ms(510)..ms(515)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_later_deadline_of_one_who_joins_moves_the_end_of_an_attempt_that_runs() {
    let share = PhaseConfig::remote().with_deadline_share(0.5);
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("slow", share, Slow(ms(3_600_000)))
        .build()
        .unwrap();
    let start = Instant::now();
    let asked = |within| intent("k", "").generation(1).content(7).within(within);
    let first = pipeline.try_submit(asked(ms(1000))).unwrap();
    tokio::time::sleep(ms(100)).await;
    let second = pipeline.try_submit(asked(ms(9900))).unwrap();
    assert_eq!(*first.await.unwrap().output, 2);
    assert!((ms(5000)..ms(5200)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(*second.await.unwrap().output, 2);
}

#[tokio::test(start_paused = true)]
async fn a_share_of_nothing_or_of_more_than_all_is_refused() {
    for share in [0.0, -0.5, 1.5, f64::NAN] {
        let built = IntentPipeline::builder::<String>(PipelineConfig::default())
            .phase("x", PhaseConfig::remote().with_deadline_share(share), Ends(End::Done))
            .build();
        let error = built.unwrap_err().to_string();
        assert!(error.starts_with("pipeline.phase.deadline_share of \"x\" is "), "{error}");
    }
}
