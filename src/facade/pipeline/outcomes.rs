//! What became of every run, for those who write status back.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::ticket::Failure;
use super::trace::Trace;
use crate::Ending;
use crate::ground::primitives::Mutex;
use crate::ground::primitives::atomic::{AtomicU64, Ordering};
use crate::ground::quiet::{drop_quietly, quietly};

/// What became of one run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome<O> {
    /// The object it was about.
    pub key: Arc<str>,
    /// The object's version.
    pub generation: Option<u64>,
    /// How it ended.
    pub ending: Ending,
    /// What the last phase made, if it completed.
    pub output: Option<Arc<O>>,
    /// The phase it was in, or waited for.
    pub phase: Option<&'static str>,
    /// How its last failed attempt failed, if one had.
    pub failure: Option<Arc<Failure>>,
    /// Whether a critical attempt outlived its grace: its effect may still happen, or not.
    pub indeterminate: bool,
    /// Tickets that ended with it.
    pub tickets: usize,
    /// How the time was spent.
    pub trace: Trace,
}

impl<O> Clone for Outcome<O> {
    fn clone(&self) -> Self {
        Self {
            key: Arc::clone(&self.key),
            output: self.output.clone(),
            failure: self.failure.clone(),
            trace: self.trace.clone(),
            ..*self
        }
    }
}

/// The outcomes of a pipeline's runs from the moment of
/// [`outcomes`](super::IntentPipeline::outcomes) on, each once, in the order in which they were
/// told: two workers may tell the endings of two versions of one object the other way round, and
/// [`generation`](Outcome::generation) says which is newer. Ends when the pipeline is closed and its
/// last run has ended.
///
/// Bounded: what finds it full is not kept, and counted in [`missed`](Self::missed). Whoever missed
/// some has to look at the objects themselves.
#[derive(Debug)]
#[must_use = "what nobody reads fills it up"]
pub struct Outcomes<O> {
    inbox: Receiver<Outcome<O>>,
    missed: Arc<AtomicU64>,
}

impl<O> Outcomes<O> {
    /// The next one; `None` when there will be none.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Outcome<O>> {
        self.inbox.recv().await
    }

    /// How many found it full, since it was made.
    #[must_use]
    pub fn missed(&self) -> u64 {
        // Relaxed: a count by itself.
        self.missed.load(Ordering::Relaxed)
    }
}

impl<O> Stream for Outcomes<O> {
    type Item = Outcome<O>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Outcome<O>>> {
        self.inbox.poll_recv(cx)
    }
}

/// Everybody who listens.
#[derive(Debug)]
pub(super) struct Outlets<O>(Mutex<Heard<O>>);

#[derive(Debug)]
struct Heard<O> {
    /// Replaced as a whole: nobody is told under the lock.
    outlets: Arc<[Outlet<O>]>,
    over: bool,
}

#[derive(Debug)]
struct Outlet<O> {
    inbox: Sender<Outcome<O>>,
    missed: Arc<AtomicU64>,
}

impl<O> Clone for Outlet<O> {
    fn clone(&self) -> Self {
        Self { inbox: self.inbox.clone(), missed: Arc::clone(&self.missed) }
    }
}

impl<O> Outlets<O> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Heard { outlets: Arc::new([]), over: false }))
    }

    pub(super) fn listen(&self, capacity: NonZeroUsize) -> Outcomes<O> {
        let capacity = capacity.get().min(Self::MOST);
        let (inbox, outcomes) = mpsc::channel(capacity);
        let missed = Arc::new(AtomicU64::new(0));
        let outlet = Outlet { inbox, missed: Arc::clone(&missed) };
        let mut heard = self.0.lock();
        let old = if heard.over {
            None
        } else {
            let all = heard.outlets.iter().filter(|known| !known.inbox.is_closed()).cloned();
            let all = all.chain([outlet.clone()]).collect();
            Some(std::mem::replace(&mut heard.outlets, all))
        };
        drop(heard);
        drop_quietly((old, outlet));
        Outcomes { inbox: outcomes, missed }
    }

    /// The most that one who listens may leave unread.
    const MOST: usize = 1 << 20;

    /// Tells everybody, if somebody listens.
    pub(super) fn tell(&self, outcome: impl FnOnce() -> Outcome<O>) {
        let outlets = Arc::clone(&self.0.lock().outlets);
        if outlets.is_empty() {
            return;
        }
        let outcome = outcome();
        for outlet in &*outlets {
            quietly(|| match outlet.inbox.try_send(outcome.clone()) {
                Ok(()) => {}
                Err(TrySendError::Full(missed)) => {
                    // Relaxed: a count by itself.
                    outlet.missed.fetch_add(1, Ordering::Relaxed);
                    drop_quietly(missed);
                }
                Err(TrySendError::Closed(unheard)) => drop_quietly(unheard),
            });
        }
        drop_quietly((outcome, outlets));
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        let mut heard = self.0.lock();
        heard.over = true;
        let old = std::mem::replace(&mut heard.outlets, Arc::new([]));
        drop(heard);
        drop_quietly(old);
    }
}
