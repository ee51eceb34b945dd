//! The cell between a run's coroutine, the worker that polls it and the core that judges it.
//!
//! A run is one future through all its phases, polled only while it has a seat. It hands control
//! back in two ways: `Pending` with a report in this cell means that the attempt is over and the
//! seat is free; `Pending` without one means that the attempt waits for something of its own.
//!
//! Whoever polls the coroutine is the only one who grants it a turn or takes its report, and it goes
//! from one to the next by way of the core's lock. So what is passed between the two needs no
//! order of its own: those accesses are `Relaxed`. Only the deadline and the stop come from elsewhere.

use std::any::Any;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::Notify;

use super::checkpoints::{Checkpoint, Past};
use super::intent::Intent;
use super::phase::PhaseError;
use crate::Priority;
use crate::ground::primitives::Mutex;
use crate::ground::primitives::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::ground::quiet::drop_quietly;
use crate::ground::time::Instant;

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Report {
    /// The phase is done. (After the last one the coroutine itself ends with the output.)
    Done,
    Again(std::time::Duration),
    Failed(PhaseError),
    TimedOut,
    /// It panicked, and said so.
    Panicked(String),
    /// Dropped, because the core asked for it.
    Stopped,
    /// The phases before it are undone, as far as they could be.
    Undone,
}

/// What a run's coroutine may do when it is polled.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(super) enum Turn {
    Go(Go),
    /// The attempt failed for good: undo what went before.
    Undo,
}

/// One attempt's permission to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Go {
    pub(super) attempt: u32,
    pub(super) class: Priority,
    pub(super) started: Instant,
}

/// `T` is what was asked for, which the core and the phases' context need not know: to them it is
/// a tail without a type.
#[derive(Debug)]
pub(super) struct Control<T: ?Sized = dyn Any + Send + Sync> {
    pub(super) key: Arc<str>,
    pub(super) generation: Option<u64>,
    pub(super) span: tracing::Span,
    /// What it had done before a restart.
    past: Option<Box<Past>>,
    /// The next turn, [packed](Turn::packed), until it is taken; else 0.
    turn: AtomicU64,
    /// When the attempt of that turn began.
    started: AtomicU64,
    /// Whether the attempt has a report: nothing, [`DONE`], or what lies in the cell.
    reported: AtomicU64,
    /// In the clock's nanoseconds; 0: never.
    deadline: AtomicU64,
    /// `None` until there is something seldom to say.
    cell: Mutex<Option<Box<Cell>>>,
    stopped: AtomicBool,
    /// Made by who waits to be stopped. Apart, so that who rings it after the core's lock does not
    /// hold what was asked for: that is given back by value.
    bell: Mutex<Option<Arc<Notify>>>,
    asked: T,
}

/// A run's cell with its type: what was asked for is there.
pub(super) type Asked<P> = Arc<Control<Intent<P>>>;

/// The attempt is done: by far the most frequent report, and one that has nothing else to say.
const DONE: u64 = 1;
/// The report is in the cell.
const SAID: u64 = 2;

#[derive(Debug, Default)]
struct Cell {
    report: Option<Report>,
    undone: Vec<&'static str>,
    checkpoint: Option<Checkpoint>,
}

impl Turn {
    /// In one word, never 0: what it is, the class, the attempt's number.
    fn packed(self) -> u64 {
        match self {
            Self::Undo => 1,
            Self::Go(Go { attempt, class, .. }) => {
                2 | (class.index() as u64) << 8 | u64::from(attempt) << 32
            }
        }
    }

    fn unpacked(word: u64, started: u64) -> Option<Self> {
        match word & 0xFF {
            0 => None,
            1 => Some(Self::Undo),
            _ => {
                let class = Priority::ALL[(word >> 8) as usize % Priority::ALL.len()];
                let attempt = (word >> 32) as u32;
                Some(Self::Go(Go { attempt, class, started: Instant::of(started) }))
            }
        }
    }
}

fn nanos(at: Option<Instant>) -> u64 {
    at.map_or(0, Instant::nanos)
}

impl<P> Control<Intent<P>> {
    pub(super) fn new(intent: Intent<P>, span: tracing::Span) -> Self {
        let word = || AtomicU64::new(0);
        Self {
            key: Arc::clone(&intent.key),
            generation: intent.generation,
            span,
            past: None,
            turn: word(),
            started: word(),
            reported: word(),
            deadline: AtomicU64::new(nanos(intent.deadline)),
            cell: Mutex::new(None),
            stopped: AtomicBool::new(false),
            bell: Mutex::new(None),
            asked: intent,
        }
    }

    /// What was asked for, by value. The rest is dropped: its span closes in a subscriber's code.
    pub(super) fn into_asked(self) -> Intent<P> {
        let Self { span, past, cell, asked, .. } = self;
        drop_quietly((span, past, cell));
        asked
    }

    pub(super) fn asked(&self) -> &Intent<P> {
        &self.asked
    }

    #[cfg(feature = "json")]
    pub(super) fn with_past(self, past: Past) -> Self {
        Self { past: Some(Box::new(past)), ..self }
    }
}

impl<T: ?Sized> Control<T> {
    /// What it had done before a restart, if that includes the phase at this place.
    pub(super) fn past(&self, place: usize) -> Option<&Past> {
        self.past.as_deref().filter(|past| past.covers(place))
    }

    /// The coroutine: a durable phase is done.
    #[cfg(feature = "json")]
    pub(super) fn checkpoint(&self, checkpoint: Checkpoint) {
        self.say(|cell| cell.checkpoint = Some(checkpoint));
    }

    /// The worker: the last one that is.
    pub(super) fn take_checkpoint(&self) -> Option<Checkpoint> {
        self.cell.lock().as_mut()?.checkpoint.take()
    }

    /// The core: the next poll may start an attempt.
    pub(super) fn go(&self, go: Go) {
        self.started.store(go.started.nanos(), Ordering::Relaxed);
        self.turn.store(Turn::Go(go).packed(), Ordering::Relaxed);
    }

    /// The worker: the next poll undoes.
    pub(super) fn undo(&self) {
        self.turn.store(Turn::Undo.packed(), Ordering::Relaxed);
    }

    /// The coroutine: this phase was undone.
    pub(super) fn undone(&self, phase: &'static str) {
        self.say(|cell| cell.undone.push(phase));
    }

    /// The worker: which phases were, in that order.
    pub(super) fn take_undone(&self) -> Vec<&'static str> {
        self.cell.lock().as_mut().map(|cell| std::mem::take(&mut cell.undone)).unwrap_or_default()
    }

    /// The coroutine: waits for a seat.
    pub(super) async fn turn(&self) -> Turn {
        std::future::poll_fn(|_| {
            let word = self.turn.load(Ordering::Relaxed);
            match Turn::unpacked(word, self.started.load(Ordering::Relaxed)) {
                Some(turn) => {
                    self.turn.store(0, Ordering::Relaxed);
                    Poll::Ready(turn)
                }
                // Whoever grants the seat polls: no waker is needed.
                None => Poll::Pending,
            }
        })
        .await
    }

    /// The coroutine: the attempt is over.
    pub(super) fn report(&self, report: Report) {
        let word = if matches!(report, Report::Done) {
            DONE
        } else {
            self.say(|cell| cell.report = Some(report));
            SAID
        };
        self.reported.store(word, Ordering::Relaxed);
    }

    /// The worker: whether it is.
    pub(super) fn take_report(&self) -> Option<Report> {
        let word = self.reported.load(Ordering::Relaxed);
        if word == 0 {
            return None;
        }
        self.reported.store(0, Ordering::Relaxed);
        if word == DONE { Some(Report::Done) } else { self.cell.lock().as_mut()?.report.take() }
    }

    fn say(&self, put: impl FnOnce(&mut Cell)) {
        put(self.cell.lock().get_or_insert_default());
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        // Relaxed, as its partner: an instant, and nothing besides.
        match self.deadline.load(Ordering::Relaxed) {
            0 => None,
            at => Some(Instant::of(at)),
        }
    }

    /// A ticket that joined brought a later one.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        self.deadline.store(nanos(deadline), Ordering::Relaxed);
    }

    /// The core: end the attempt at its next await point; a critical one is only told. What is to be
    /// rung after the lock, if somebody waits for it.
    #[must_use]
    pub(super) fn stop(&self) -> Option<Arc<Notify>> {
        // Release: pairs with the Acquire below. Before the bell: who hangs one up later sees it.
        self.stopped.store(true, Ordering::Release);
        self.bell.lock().clone()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Until it is stopped.
    pub(super) async fn stopped(&self) {
        let bell = self.bell();
        rung(&bell, || self.is_stopped().then_some(())).await;
    }

    /// What rings when it is stopped and, if somebody follows it, when it moves.
    pub(super) fn bell(&self) -> Arc<Notify> {
        Arc::clone(self.bell.lock().get_or_insert_default())
    }
}

/// Until somebody sees what he looks for. Hangs up the bell before, and listens before he looks: who
/// stops or moves a run either finds the bell, or has set what is looked at.
pub(super) async fn rung<R>(bell: &Notify, look: impl Fn() -> Option<R>) -> R {
    loop {
        let mut rings = std::pin::pin!(bell.notified());
        rings.as_mut().enable();
        if let Some(seen) = look() {
            return seen;
        }
        rings.await;
    }
}
