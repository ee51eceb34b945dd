//! Drives a pool or a pipeline with arrivals that do not wait for it, and writes down what became of
//! each.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headworks::pipeline::{Intent, PhaseContext, PhaseError, Step};
use headworks::worker_pool::{Task, WorkerPoolSnapshot};
use headworks::{Ending, IntentPipeline, Ledger, Phase, Reason, WorkerPool};
use tokio::time::{Instant, sleep, sleep_until};

use super::load::Arrival;

/// What became of one arrival.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub(crate) arrival: Arrival,
    pub(crate) refused: Option<Reason>,
    pub(crate) ending: Option<Ending>,
    /// Tasks that had been started when this one came.
    pub(crate) starts_before: u64,
    /// Which start it was, counted over all.
    pub(crate) start: Option<u64>,
    pub(crate) done: Option<Duration>,
    /// When its future was dropped.
    pub(crate) gone: Duration,
}

impl Fate {
    /// From the instant it was meant for to its end, if it came to one.
    pub(crate) fn latency(&self) -> Option<Duration> {
        self.done.map(|done| done.saturating_sub(self.arrival.at))
    }

    /// Done, and not too late to be of use.
    pub(crate) fn is_good(&self) -> bool {
        self.done.is_some_and(|done| self.arrival.due.is_none_or(|due| done <= due))
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.refused.is_none()
    }
}

/// The latencies of those that were done.
pub(crate) fn latencies<'a>(fates: impl IntoIterator<Item = &'a Fate>) -> Vec<Duration> {
    fates.into_iter().filter_map(Fate::latency).collect()
}

/// The share of those that were done in time; 1 of none.
pub(crate) fn success<'a>(fates: impl IntoIterator<Item = &'a Fate>) -> f64 {
    let (mut all, mut good) = (0_u64, 0_u64);
    for fate in fates {
        all += 1;
        good += u64::from(fate.is_good());
    }
    if all == 0 { 1.0 } else { good as f64 / all as f64 }
}

/// Written by the tasks as they go.
struct Log {
    epoch: Instant,
    starts: Mutex<u64>,
    fates: Mutex<Vec<Fate>>,
}

impl Log {
    fn note(&self, index: usize, what: impl FnOnce(&mut Fate, Duration)) {
        what(&mut self.fates.lock().unwrap()[index], self.epoch.elapsed());
    }
}

/// One task's entry; its drop is the end of its future.
struct Mark {
    log: Arc<Log>,
    index: usize,
}

impl Mark {
    fn start(&self) {
        let mut starts = self.log.starts.lock().unwrap();
        *starts += 1;
        self.log.note(self.index, |fate, _| fate.start = Some(*starts));
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.log.note(self.index, |fate, now| fate.gone = now);
    }
}

/// Submits every arrival at its time, waits for all of them, ends the pool, and checks what must
/// hold whatever the load: the queue within its limit, and the ledger equal to what was heard.
pub(crate) async fn drive(subject: impl Subject, arrivals: &[Arrival]) -> Vec<Fate> {
    let log = Arc::new(Log {
        epoch: Instant::now(),
        starts: Mutex::new(0),
        fates: Mutex::new(arrivals.iter().map(expected).collect()),
    });
    let mut handles = Vec::with_capacity(arrivals.len());
    for (index, arrival) in arrivals.iter().enumerate() {
        sleep_until(log.epoch + arrival.at).await;
        let starts = *log.starts.lock().unwrap();
        log.note(index, |fate, _| fate.starts_before = starts);
        let work = Work { mark: Mark { log: Arc::clone(&log), index }, service: arrival.service };
        match subject.offer(work, arrival) {
            Ok(ended) => handles.push((index, ended)),
            Err(reason) => log.note(index, |fate, _| fate.refused = Some(reason)),
        }
        subject.check();
    }
    let seen = hear(&log, handles).await;
    let (ledger, refused) = subject.end().await;
    compare(ledger, &seen);
    assert_eq!(refused, arrivals.len() as u64 - ledger.accepted);
    let fates = log.fates.lock().unwrap();
    fates.clone()
}

/// What an arrival asks for.
pub(crate) struct Work {
    mark: Mark,
    service: Duration,
}

impl Work {
    async fn done(&self) {
        self.mark.start();
        sleep(self.service).await;
        self.mark.log.note(self.mark.index, |fate, now| fate.done = Some(now));
    }

    /// When it is due, if whoever does it is told.
    fn deadline(&self, arrival: &Arrival) -> Option<std::time::Instant> {
        let due = arrival.due.filter(|_| arrival.says_due)?;
        Some((self.mark.log.epoch + due).into_std())
    }
}

/// How what was accepted has ended.
type Ended = Pin<Box<dyn Future<Output = Ending>>>;

/// Who does the work.
pub(crate) trait Subject {
    fn offer(&self, work: Work, arrival: &Arrival) -> Result<Ended, Reason>;

    /// That it keeps its limits, now.
    fn check(&self);

    /// Its ledger, and how many it refused.
    fn end(self) -> impl Future<Output = (Ledger, u64)>;
}

impl Subject for WorkerPool {
    fn offer(&self, work: Work, arrival: &Arrival) -> Result<Ended, Reason> {
        let deadline = work.deadline(arrival);
        let mut task = Task::new(async move { work.done().await }).priority(arrival.class);
        if let Some(tenant) = arrival.tenant {
            task = task.tenant(&tenant);
        }
        if let Some(deadline) = deadline {
            task = task.deadline(deadline);
        }
        let handle = self.try_submit(task).map_err(|no| no.reason())?;
        Ok(Box::pin(async move {
            handle.await.map_or_else(|error| error.ending(), |()| Ending::Completed)
        }))
    }

    fn check(&self) {
        within_limits(&self.snapshot());
    }

    async fn end(self) -> (Ledger, u64) {
        let refused = self.snapshot().refused.total();
        (self.shutdown(Duration::from_secs(60)).await.ledger, refused)
    }
}

/// The one phase of a pipeline that does the work.
pub(crate) struct Does;

impl Phase<Work> for Does {
    type Out = ();

    async fn run(&self, work: &Work, _: &PhaseContext) -> Result<Step<()>, PhaseError> {
        work.done().await;
        Ok(Step::Done(()))
    }
}

impl Subject for IntentPipeline<Work, ()> {
    fn offer(&self, work: Work, arrival: &Arrival) -> Result<Ended, Reason> {
        let deadline = work.deadline(arrival);
        let key = work.mark.index.to_string();
        let tenant = arrival.tenant.unwrap_or_default().to_string();
        let mut intent = Intent::new(key, work).priority(arrival.class).tenant(tenant);
        if let Some(deadline) = deadline {
            intent = intent.deadline(deadline);
        }
        let ticket = self.try_submit(intent).map_err(|no| no.reason())?;
        Ok(Box::pin(async move {
            ticket.await.map_or_else(|ended| ended.ending(), |_| Ending::Completed)
        }))
    }

    fn check(&self) {
        let look = self.snapshot();
        let waiting = look.queued.iter().sum::<usize>() + look.parked;
        assert!(waiting <= look.capacity + look.seats && look.busy <= look.seats, "{look:?}");
        assert!(look.ledger.is_exact(), "{}", look.ledger);
    }

    async fn end(self) -> (Ledger, u64) {
        let refused = self.snapshot().refused.iter().map(|(_, refused)| refused).sum();
        (self.shutdown(Duration::from_secs(60)).await.ledger, refused)
    }
}

fn expected(arrival: &Arrival) -> Fate {
    Fate {
        arrival: *arrival,
        refused: None,
        ending: None,
        starts_before: 0,
        start: None,
        done: None,
        gone: Duration::ZERO,
    }
}

pub(crate) fn within_limits(look: &WorkerPoolSnapshot) {
    assert!(look.queued() <= look.capacity, "{look:?}");
    assert!(look.busy <= look.limit, "{look:?}");
    assert!(look.ledger.is_exact(), "{}", look.ledger);
}

async fn hear(log: &Log, handles: Vec<(usize, Ended)>) -> HashMap<Ending, u64> {
    let mut seen = HashMap::new();
    for (index, ended) in handles {
        let ending = ended.await;
        log.note(index, |fate, _| fate.ending = Some(ending));
        *seen.entry(ending).or_default() += 1;
    }
    seen
}

/// The ledger of a pool that has ended, beside what its submitters heard.
pub(crate) fn compare(ledger: Ledger, seen: &HashMap<Ending, u64>) {
    assert!(ledger.is_exact() && ledger.live == 0, "{ledger}");
    assert_eq!(ledger.accepted, seen.values().sum::<u64>(), "{ledger}");
    for ending in Ending::ALL {
        assert_eq!(ledger.count(ending), seen.get(&ending).copied().unwrap_or(0), "{ending}");
    }
}

/// Tasks a second that such a pool does when there is always another one: closed loop, with twice
/// as many submitters as seats.
pub(crate) async fn capacity(
    pool: WorkerPool,
    seats: usize,
    services: impl IntoIterator<Item = Duration>,
) -> f64 {
    let start = Instant::now();
    let services = Arc::new(Mutex::new(services.into_iter().collect::<Vec<_>>()));
    let tasks = services.lock().unwrap().len();
    let submitter = || {
        let (pool, services) = (pool.clone(), Arc::clone(&services));
        tokio::spawn(async move {
            while let Some(service) = next(&services) {
                let task = async move { sleep(service).await };
                pool.submit(task).await.unwrap().await.unwrap();
            }
        })
    };
    for submitter in (0..2 * seats).map(|_| submitter()).collect::<Vec<_>>() {
        submitter.await.unwrap();
    }
    tasks as f64 / start.elapsed().as_secs_f64()
}

fn next(services: &Mutex<Vec<Duration>>) -> Option<Duration> {
    services.lock().unwrap().pop()
}
