//! The cell between a run's coroutine, the worker that polls it and the core that judges it.
//!
//! A run is one future through all its phases, polled only while it has a seat. It hands control
//! back in two ways: `Pending` with a report in this cell means that the attempt is over and the
//! seat is free; `Pending` without one means that the attempt waits for something of its own.

use std::sync::Arc;
use std::task::Poll;

use tokio::sync::Notify;

use super::checkpoints::{Checkpoint, Past};
use super::phase::PhaseError;
use crate::Priority;
use crate::ground::primitives::Mutex;
use crate::ground::primitives::atomic::{AtomicBool, Ordering};
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

#[derive(Debug)]
pub(super) struct Control {
    pub(super) key: Arc<str>,
    pub(super) generation: Option<u64>,
    pub(super) span: tracing::Span,
    /// What it had done before a restart.
    past: Option<Past>,
    cell: Mutex<Cell>,
    stopped: AtomicBool,
    stop: Notify,
}

#[derive(Debug, Default)]
struct Cell {
    turn: Option<Turn>,
    report: Option<Report>,
    deadline: Option<Instant>,
    undone: Vec<&'static str>,
    checkpoint: Option<Checkpoint>,
}

impl Control {
    pub(super) fn new(
        key: Arc<str>,
        generation: Option<u64>,
        deadline: Option<Instant>,
        span: tracing::Span,
    ) -> Self {
        let cell = Mutex::new(Cell { deadline, ..Cell::default() });
        let (stopped, stop) = (AtomicBool::new(false), Notify::new());
        Self { key, generation, span, past: None, cell, stopped, stop }
    }

    #[cfg(feature = "json")]
    pub(super) fn with_past(self, past: Past) -> Self {
        Self { past: Some(past), ..self }
    }

    /// What it had done before a restart, if that includes the phase at this place.
    pub(super) fn past(&self, place: usize) -> Option<&Past> {
        self.past.as_ref().filter(|past| past.covers(place))
    }

    /// The coroutine: a durable phase is done.
    #[cfg(feature = "json")]
    pub(super) fn checkpoint(&self, checkpoint: Checkpoint) {
        self.cell.lock().checkpoint = Some(checkpoint);
    }

    /// The worker: the last one that is.
    pub(super) fn take_checkpoint(&self) -> Option<Checkpoint> {
        self.cell.lock().checkpoint.take()
    }

    /// The core: the next poll may start an attempt.
    pub(super) fn go(&self, go: Go) {
        self.cell.lock().turn = Some(Turn::Go(go));
    }

    /// The worker: the next poll undoes.
    pub(super) fn undo(&self) {
        self.cell.lock().turn = Some(Turn::Undo);
    }

    /// The coroutine: this phase was undone.
    pub(super) fn undone(&self, phase: &'static str) {
        self.cell.lock().undone.push(phase);
    }

    /// The worker: which phases were, in that order.
    pub(super) fn take_undone(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.cell.lock().undone)
    }

    /// The coroutine: waits for a seat.
    pub(super) async fn turn(&self) -> Turn {
        std::future::poll_fn(|_| match self.cell.lock().turn.take() {
            Some(turn) => Poll::Ready(turn),
            // Whoever grants the seat polls: no waker is needed.
            None => Poll::Pending,
        })
        .await
    }

    /// The coroutine: the attempt is over.
    pub(super) fn report(&self, report: Report) {
        self.cell.lock().report = Some(report);
    }

    /// The worker: whether it is.
    pub(super) fn take_report(&self) -> Option<Report> {
        self.cell.lock().report.take()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.cell.lock().deadline
    }

    /// A ticket that joined brought a later one.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        self.cell.lock().deadline = deadline;
    }

    /// The core: end the attempt at its next await point; a critical one is only told.
    pub(super) fn stop(&self) {
        // Release: pairs with the Acquire below; the flag stands before the waiters look.
        self.stopped.store(true, Ordering::Release);
        self.stop.notify_waiters();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Until it is stopped. Registers before it looks, so that a stop in between is not lost.
    pub(super) async fn stopped(&self) {
        let mut notified = std::pin::pin!(self.stop.notified());
        notified.as_mut().enable();
        if !self.is_stopped() {
            notified.await;
        }
    }
}
