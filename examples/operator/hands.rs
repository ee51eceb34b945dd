//! The documents in hand: submitted, or waiting for the one before them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use headworks::pipeline::{Done, Ended};
use headworks::{Instant, Reason, Refused};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::now;
use crate::git::CommitId;
use crate::intent::{NetworkIntent, Order};
use crate::reader::Read;
use crate::submit::{Limits, Pipeline};
use crate::tally::Tally;

/// The documents between being read and having ended.
pub(crate) struct Hands {
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
pub(crate) struct Finished {
    intent: Arc<NetworkIntent>,
    end: End,
}

enum End {
    Committed(Done<CommitId>),
    Failed(Ended<Arc<NetworkIntent>>),
    Refused(Reason),
}

impl Hands {
    pub(crate) fn new(pipeline: Pipeline, limits: Limits) -> Self {
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

    /// Lets nobody wait to come again.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(crate) fn into_tally(self) -> Tally {
        self.tally
    }

    pub(crate) fn are_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub(crate) fn have_room(&self) -> bool {
        self.running.len() + self.waiting < self.limits.window
    }

    /// Every document that has come so far.
    pub(crate) fn seen(&self) -> u64 {
        self.tally.documents() + (self.running.len() + self.waiting) as u64
    }

    pub(crate) fn take(&mut self, read: Read) {
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
        let order = intent.order(self.limits.deadline);
        self.running.spawn(async move {
            let end = end_of(&pipeline, order, &closing).await;
            Finished { intent, end }
        });
    }

    pub(crate) async fn finished(&mut self) -> Option<Finished> {
        match self.running.join_next().await? {
            Ok(finished) => Some(finished),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    pub(crate) fn put_down(&mut self, finished: Option<Finished>) {
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
    let in_time = deadline.is_none_or(|deadline| Instant::from(now()) + after < deadline);
    (refused.reason() != Reason::Closed && in_time).then_some(after)
}
