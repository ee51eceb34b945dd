//! The ledger beside the history of eight submitters on eight threads, exactly: at quiet points, at
//! the end of a shutdown in their midst, and never wrong or backwards in between.
//!
//! `HEADWORKS_SEEDS=100` runs more histories.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use headworks::worker_pool::{Task, TaskHandle, WorkerPoolSnapshot};
use headworks::{Ending, Priority, Reason, Refused, TaskError, WorkerPool};
use tokio::sync::{Barrier, Notify};
use tokio::task::yield_now;

use super::config;

const SUBMITTERS: usize = 8;
const ROUNDS: usize = 6;
const STEPS: u64 = 250;

/// What all submitters saw together. Of tasks whose handle was dropped, the task itself tells.
#[derive(Debug, Default)]
struct History {
    accepted: u64,
    endings: HashMap<Ending, u64>,
    refused: HashMap<Reason, u64>,
    /// Dropped unread, and their futures never came to an end.
    unheard: u64,
}

impl History {
    fn ended(&mut self, ending: Ending) {
        *self.endings.entry(ending).or_default() += 1;
    }

    fn is_told_by(&self, look: &WorkerPoolSnapshot) {
        let ledger = look.ledger;
        assert!(ledger.is_exact() && ledger.live == 0, "{ledger}");
        assert_eq!(ledger.accepted, self.accepted, "{ledger}");
        let mut rest = 0;
        for ending in Ending::ALL {
            let seen = self.endings.get(&ending).copied().unwrap_or(0);
            let told = ledger.count(ending);
            match ending {
                Ending::Completed | Ending::Failed => assert_eq!(told, seen, "{ending}: {self:?}"),
                _ => rest += told.checked_sub(seen).expect("no more seen than counted"),
            }
        }
        assert_eq!(rest, self.unheard, "{ledger}, {self:?}");
        for (reason, told) in [
            (Reason::QueueFull, look.refused.queue_full),
            (Reason::DeadlineInfeasible, look.refused.deadline_infeasible),
            (Reason::TooLarge, look.refused.too_large),
            (Reason::Evicted, look.refused.evicted),
            (Reason::Expired, look.refused.expired),
            (Reason::Closed, look.refused.closed),
        ] {
            assert_eq!(told, self.refused.get(&reason).copied().unwrap_or(0), "{reason:?}");
        }
    }
}

/// What one observer has seen of the pool: it never goes backwards.
struct Observer(WorkerPoolSnapshot);

impl Observer {
    fn look(&mut self, pool: &WorkerPool) {
        let look = pool.snapshot();
        assert!(look.ledger.is_exact(), "{}", look.ledger);
        assert!(look.queued() <= look.capacity && look.busy <= look.limit, "{look:?}");
        assert!(look.room <= look.capacity, "{look:?}");
        let before = std::mem::replace(&mut self.0, look);
        let look = &self.0;
        assert!(look.ledger.accepted >= before.ledger.accepted);
        assert!(look.refused.total() >= before.refused.total());
        for ending in Ending::ALL {
            assert!(look.ledger.count(ending) >= before.ledger.count(ending), "{ending}");
        }
    }
}

/// How far a task came, for when its handle is gone.
#[derive(Default)]
struct Witness {
    completed: AtomicBool,
    panicked: AtomicBool,
}

struct Submitter {
    pool: WorkerPool,
    history: Arc<Mutex<History>>,
    observer: Observer,
    chance: u64,
    held: Vec<(Option<Arc<Witness>>, TaskHandle<()>)>,
    /// Of tasks whose handles were dropped.
    dropped: Vec<Arc<Witness>>,
}

impl Submitter {
    fn below(&mut self, n: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance >> 11) % n
    }

    /// With a witness, unless a deadline may end it without one.
    fn task(&mut self) -> (Option<Arc<Witness>>, Task<impl Future<Output = ()> + use<>>) {
        let witness = Arc::new(Witness::default());
        let (mine, kind) = (Arc::clone(&witness), self.below(12));
        let body = async move {
            match kind {
                0 => {
                    mine.panicked.store(true, Ordering::SeqCst);
                    panic();
                }
                1..4 => yield_now().await,
                4 => tokio::time::sleep(Duration::from_micros(200)).await,
                _ => {}
            }
            mine.completed.store(true, Ordering::SeqCst);
        };
        let task = Task::new(body)
            .priority(Priority::ALL[self.below(4) as usize])
            .tenant(&self.below(3))
            .weight(NonZeroU32::MIN.saturating_add(self.below(2) as u32));
        if self.below(3) == 0 {
            return (None, task.within(Duration::from_micros(self.below(1_500))));
        }
        (Some(witness), task)
    }

    async fn step(&mut self) {
        match self.below(10) {
            0..3 => {
                let (witness, task) = self.task();
                let verdict = self.pool.try_submit(task);
                self.verdict(witness, verdict);
            }
            3 => self.submit().await,
            4 => self.run().await,
            5 => self.many(),
            6 => {
                let at = self.below(self.held.len().max(1) as u64) as usize;
                self.held.get(at).into_iter().for_each(|(_, handle)| handle.cancel());
            }
            7 => self.drop_a_handle(),
            8 => self.hear_one().await,
            _ => self.observer.look(&self.pool),
        }
    }

    fn verdict<F>(
        &mut self,
        witness: Option<Arc<Witness>>,
        verdict: Result<TaskHandle<()>, Refused<F>>,
    ) {
        let mut history = self.history.lock().unwrap();
        match verdict {
            Ok(handle) => {
                history.accepted += 1;
                self.held.push((witness, handle));
            }
            Err(no) => *history.refused.entry(no.reason()).or_default() += 1,
        }
    }

    /// To its end, or given up in the room after one look.
    async fn submit(&mut self) {
        let (witness, task) = self.task();
        let pool = self.pool.clone();
        let mut submit = Box::pin(pool.submit(task));
        let verdict = match self.below(2) {
            0 => Poll::Ready(submit.as_mut().await),
            _ => poll_fn(|cx| Poll::Ready(submit.as_mut().poll(cx))).await,
        };
        if let Poll::Ready(verdict) = verdict {
            self.verdict(witness, verdict);
        }
    }

    /// To its end, or given up once it has begun: then it was accepted, and ends cancelled.
    async fn run(&mut self) {
        let pool = self.pool.clone();
        let class = Priority::ALL[self.below(4) as usize];
        let what = self.below(4);
        let (begun, stays) = (Notify::new(), what == 0);
        let body = async {
            if what == 1 {
                panic();
            }
            begun.notify_one();
            if stays {
                std::future::pending::<()>().await;
            }
        };
        // Gone at the end of this block: what it gives up is counted before it is written down.
        let outcome = {
            let mut run = pin!(pool.run(Task::new(body).priority(class)));
            let caught =
                poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(cx))) {
                    Ok(poll) => poll.map(|verdict| Ok(verdict.map_err(|no| no.reason()))),
                    Err(_) => Poll::Ready(Err(())),
                });
            tokio::select! {
                biased;
                outcome = caught => Some(outcome),
                () = begun.notified(), if stays => None,
            }
        };
        let mut history = self.history.lock().unwrap();
        let ending = match outcome {
            Some(Ok(Err(no))) => return *history.refused.entry(no).or_default() += 1,
            Some(Ok(Ok(()))) => Ending::Completed,
            Some(Err(())) => Ending::Failed,
            None => Ending::Cancelled,
        };
        history.accepted += 1;
        history.ended(ending);
    }

    fn many(&mut self) {
        let tasks = (0..self.below(6)).map(|_| self.task()).collect::<Vec<_>>();
        let (witnesses, tasks): (Vec<_>, Vec<_>) = tasks.into_iter().unzip();
        for (witness, verdict) in witnesses.into_iter().zip(self.pool.try_submit_many(tasks)) {
            self.verdict(witness, verdict);
        }
    }

    fn drop_a_handle(&mut self) {
        match self.held.pop() {
            Some((Some(witness), handle)) => {
                self.dropped.push(witness);
                drop(if self.below(2) == 0 { handle.cancel_on_drop() } else { handle });
            }
            kept => self.held.extend(kept),
        }
    }

    async fn hear_one(&mut self) {
        if let Some((_, handle)) = self.held.pop() {
            let result = handle.await;
            self.heard(result);
        }
    }

    /// It was counted before its handle was told: as many were as all submitters have heard of.
    fn heard(&mut self, result: Result<(), TaskError>) {
        let ending = result.map_or_else(|error| error.ending(), |()| Ending::Completed);
        let heard = {
            let mut history = self.history.lock().unwrap();
            history.ended(ending);
            history.endings[&ending]
        };
        self.observer.look(&self.pool);
        let counted = self.observer.0.ledger.count(ending);
        assert!(counted >= heard, "{ending}: {counted} counted, {heard} heard");
    }

    /// Nothing of this submitter's is open any more.
    async fn settle(&mut self) {
        for (_, handle) in std::mem::take(&mut self.held) {
            let result = handle.await;
            self.heard(result);
        }
    }

    /// Of what nobody heard: only when nothing of the pool's lives.
    fn tell_dropped(&mut self) {
        let mut history = self.history.lock().unwrap();
        for witness in self.dropped.drain(..) {
            if witness.completed.load(Ordering::SeqCst) {
                history.ended(Ending::Completed);
            } else if witness.panicked.load(Ordering::SeqCst) {
                history.ended(Ending::Failed);
            } else {
                history.unheard += 1;
            }
        }
    }

    async fn live(mut self, quiet: Arc<Barrier>, closed: Arc<AtomicBool>) -> Self {
        for _ in 0..ROUNDS {
            for _ in 0..STEPS {
                self.step().await;
            }
            self.settle().await;
            quiet.wait().await;
            while self.pool.snapshot().ledger.live > 0 {
                yield_now().await;
            }
            self.tell_dropped();
            if quiet.wait().await.is_leader() {
                self.history.lock().unwrap().is_told_by(&self.pool.snapshot());
            }
            quiet.wait().await;
        }
        // Into the shutdown, and a little beyond.
        while !closed.load(Ordering::SeqCst) {
            self.step().await;
        }
        for _ in 0..20 {
            self.step().await;
        }
        self.settle().await;
        self
    }
}

/// Without a line on the terminal.
fn panic() -> ! {
    resume_unwind(Box::new("part of the load"))
}

async fn history(seed: u64) {
    let pool = WorkerPool::new(config(6, 32)).unwrap();
    let history = Arc::new(Mutex::new(History::default()));
    let (quiet, closed) = (Arc::new(Barrier::new(SUBMITTERS)), Arc::new(AtomicBool::new(false)));
    let submitters = (0..SUBMITTERS).map(|number| {
        let submitter = Submitter {
            pool: pool.clone(),
            history: Arc::clone(&history),
            observer: Observer(pool.snapshot()),
            chance: (seed * 8 + number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            held: Vec::new(),
            dropped: Vec::new(),
        };
        tokio::spawn(submitter.live(Arc::clone(&quiet), Arc::clone(&closed)))
    });
    let submitters: Vec<_> = submitters.collect();
    let mut observer = Observer(pool.snapshot());
    let in_rounds = || history.lock().unwrap().accepted < ROUNDS as u64 * STEPS * 4;
    while in_rounds() && submitters.iter().all(|submitter| !submitter.is_finished()) {
        observer.look(&pool);
        yield_now().await;
    }
    let within = Duration::from_millis(seed % 3);
    let report = pool.shutdown(within).await;
    closed.store(true, Ordering::SeqCst);
    assert!(report.ledger.is_exact(), "{}", report.ledger);
    for submitter in submitters {
        submitter.await.unwrap().tell_dropped();
    }
    observer.look(&pool);
    history.lock().unwrap().is_told_by(&pool.snapshot());
}

#[test]
fn eight_submitters_saw_exactly_what_the_ledger_says() {
    let seeds = std::env::var("HEADWORKS_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    for seed in 0..seeds.unwrap_or(2) {
        eprintln!("HEADWORKS_SEEDS: at {seed}");
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(SUBMITTERS).enable_time().build().unwrap().block_on(history(seed));
    }
}
