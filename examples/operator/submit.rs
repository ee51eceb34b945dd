//! Submits documents as the pipeline has room for them, and hears how each ends.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headworks::pipeline::{Done, DrainReport, Ended};
use headworks::{Intent, IntentPipeline, Reason, Refused};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::clock::now;
use crate::git::CommitId;
use crate::intent::NetworkIntent;
use crate::progress::Progress;
use crate::reader::{Read, Reader};
use crate::tally::Tally;

/// An intent as the pipeline takes it.
type Order = Intent<Arc<NetworkIntent>>;

/// Intents in, commits out.
pub(crate) type Pipeline = IntentPipeline<Arc<NetworkIntent>, CommitId>;

/// How long between two looks at the progress.
const TICK: Duration = Duration::from_millis(200);

/// What submitting is bounded by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Intents in hand at once. Below the pipeline's lowest threshold, no class is ever refused,
    /// and none evicts another: what the operator has accepted, it carries out.
    pub(crate) window: usize,
    pub(crate) deadline: Duration,
    pub(crate) drain: Duration,
}

/// Carries every document to its end. An `interrupt` closes the pipeline: work in progress gets
/// the time of a drain, and what wasn't accepted by then is refused, by name.
pub(crate) async fn carry_out(
    pipeline: &Pipeline,
    mut reader: Reader,
    limits: Limits,
    interrupt: impl Future<Output = ()>,
    progress: &mut Progress,
) -> (Tally, DrainReport<Arc<NetworkIntent>>) {
    let mut interrupt = pin!(interrupt);
    let mut hands = Hands::new(pipeline.clone(), limits);
    let mut drain: Option<JoinHandle<DrainReport<_>>> = None;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut has_more = true;
    while has_more || !hands.are_empty() {
        tokio::select! { biased;
            () = &mut interrupt, if drain.is_none() => {
                let pipeline = pipeline.clone();
                hands.closing.cancel();
                pipeline.close();
                drain = Some(tokio::spawn(async move { pipeline.shutdown(limits.drain).await }));
                reader.interrupt();
            }
            finished = hands.finished(), if !hands.are_empty() => hands.put_down(finished),
            read = reader.next(), if has_more && hands.have_room() => match read {
                Some(read) => hands.take(read),
                None => has_more = false,
            },
            _ = ticks.tick() => {
                let known = if has_more { reader.total() } else { Some(hands.seen()) };
                progress.show(&pipeline.snapshot(), &hands.tally, known);
            }
        }
    }
    let mut tally = hands.tally;
    tally.not_submitted = reader.total().map_or(0, |total| total.saturating_sub(tally.documents()));
    tally.sort();
    reader.stop().await;
    let report = match drain {
        Some(drain) => drain.await.expect("a shutdown does not panic and is not aborted"),
        None => pipeline.shutdown(limits.drain).await,
    };
    (tally, report)
}

/// The documents between being read and having ended.
struct Hands {
    pipeline: Pipeline,
    limits: Limits,
    running: JoinSet<Finished>,
    /// For every key in `running`, what comes after it: the next one is submitted when the one
    /// before has ended, so that it does not supersede it.
    behind: HashMap<String, VecDeque<Arc<NetworkIntent>>>,
    waiting: usize,
    /// Wakes those who wait to come again: there is nothing to wait for any more.
    closing: CancellationToken,
    tally: Tally,
}

/// An intent and its end.
struct Finished {
    intent: Arc<NetworkIntent>,
    end: End,
}

enum End {
    Committed(Done<CommitId>),
    Failed(Ended<Arc<NetworkIntent>>),
    Refused(Reason),
}

impl Hands {
    fn new(pipeline: Pipeline, limits: Limits) -> Self {
        Self {
            pipeline,
            limits,
            running: JoinSet::new(),
            behind: HashMap::new(),
            waiting: 0,
            closing: CancellationToken::new(),
            tally: Tally::default(),
        }
    }

    fn are_empty(&self) -> bool {
        self.running.is_empty()
    }

    fn have_room(&self) -> bool {
        self.running.len() + self.waiting < self.limits.window
    }

    /// Every document that has come so far.
    fn seen(&self) -> u64 {
        self.tally.documents() + (self.running.len() + self.waiting) as u64
    }

    fn take(&mut self, read: Read) {
        match read {
            Read::Skipped { origin, kind } => self.tally.skip(&origin, kind),
            Read::Invalid(problem) => self.tally.invalid(&problem),
            Read::Intent(intent, warnings) => {
                self.tally.warnings.extend(warnings);
                self.queue_up(Arc::from(intent));
            }
        }
    }

    fn queue_up(&mut self, intent: Arc<NetworkIntent>) {
        match self.behind.get_mut(&intent.key()) {
            Some(behind) => {
                behind.push_back(intent);
                self.waiting += 1;
            }
            None => {
                self.behind.insert(intent.key(), VecDeque::new());
                self.submit(intent);
            }
        }
    }

    fn submit(&mut self, intent: Arc<NetworkIntent>) {
        let (pipeline, closing) = (self.pipeline.clone(), self.closing.clone());
        let order = order(&intent, self.limits.deadline);
        self.running.spawn(async move {
            let end = end_of(&pipeline, order, &closing).await;
            Finished { intent, end }
        });
    }

    async fn finished(&mut self) -> Option<Finished> {
        match self.running.join_next().await? {
            Ok(finished) => Some(finished),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    fn put_down(&mut self, finished: Option<Finished>) {
        let Some(Finished { intent, end }) = finished else { return };
        match end {
            End::Committed(done) => self.tally.complete(&intent, &done),
            End::Failed(ended) => self.tally.fail(&intent, &ended),
            End::Refused(reason) => self.tally.refuse(&intent, reason),
        }
        let key = intent.key();
        match self.behind.get_mut(&key).and_then(VecDeque::pop_front) {
            Some(next) => {
                self.waiting -= 1;
                self.submit(next);
            }
            None => _ = self.behind.remove(&key),
        }
    }
}

/// What the pipeline is asked to do.
fn order(intent: &Arc<NetworkIntent>, deadline: Duration) -> Order {
    let order = Intent::new(intent.key(), Arc::clone(intent))
        .tenant(intent.tenant())
        .priority(intent.priority)
        .content(intent.content)
        .deadline(now() + deadline);
    match intent.generation {
        Some(generation) => order.generation(generation),
        None => order,
    }
}

/// Submits until it is accepted, or there is no hope of that, and hears how it ends.
async fn end_of(pipeline: &Pipeline, mut order: Order, closing: &CancellationToken) -> End {
    loop {
        let deadline = order.deadline;
        let refused = match pipeline.submit(order).await {
            Ok(ticket) => return ticket.await.map_or_else(End::Failed, End::Committed),
            Err(refused) => refused,
        };
        let Some(patience) = patience(&refused, deadline) else {
            return End::Refused(refused.reason());
        };
        tokio::select! { biased;
            () = closing.cancelled() => {}
            () = sleep(patience) => {}
        }
        order = refused.into_inner();
    }
}

/// How long to wait before coming again: a breaker that is open now may be closed then. `None`
/// when the refusal is final, or the deadline comes first.
fn patience(refused: &Refused<Order>, deadline: Option<Instant>) -> Option<Duration> {
    let after = refused.retry_after()?;
    let in_time = deadline.is_none_or(|deadline| now() + after < deadline);
    (refused.reason() != Reason::Closed && in_time).then_some(after)
}
